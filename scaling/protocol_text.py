"""The protocol of a score as text, and short names of it; what makes two protocols one is `alignment.protocol`'s."""

from __future__ import annotations

import hashlib

from scaling.specs.scoring import ScoringSpec


def protocol_settings(
    spec: ScoringSpec, commitment: str, convention: str | None = None, degrees: float | None = None
) -> str:
    """The part of a protocol that comes from the settings of scoring; a benchmark's file may follow.

    convention, degrees: in place of the settings', where a benchmark's own differ.
    """
    degrees = spec.degrees if degrees is None else degrees
    reduction = spec.reduction if spec.reduction == "none" else f"{spec.reduction} {spec.components}"
    return "; ".join([commitment, convention or spec.ceiled or "own", reduction, f"{degrees:g} deg"])


# What a mapping's protocol says beyond the settings. Versions before left out layers of fewer features
# than components, dealt folds whatever the labels, and drew stimuli and units at once.
MAPPINGS = {
    "pls": "; at most 25 components, two-way draws",
    "ridge": "; folds by label, two-way draws",
    "pls_split": "; at most 25 components",
}


def default_protocol(text: str) -> bool:
    """Whether a protocol is that of the default settings, and of no file."""
    settings = protocol_settings(ScoringSpec(), ScoringSpec().commitment)
    return text in (settings, *(settings + mapping for mapping in MAPPINGS.values()))


def protocol_digest(text: str) -> str:
    """8 hex digits that tell protocols apart where a name must be short."""
    return digest(text.encode())


def protocol_suffix(text: str) -> str:
    """What follows a benchmark's name where scores by several protocols stand side by side: nothing for the default.

    Nor for a score of versions that wrote no protocol, whose settings were the default.
    """
    return "" if not text or default_protocol(text) else f"/{protocol_digest(text)}"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
