"""What a score depends on beside checkpoint and benchmark."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from scaling.alignment.commitment import read_commitment
from scaling.alignment.suites.registry import own_files
from scaling.specs.scoring import ScoringSpec


def scoring_protocol(spec: ScoringSpec, benchmarks: Sequence[str] = ()) -> str:
    """What a score depends on beside checkpoint and benchmark; scores of another protocol are computed anew.

    benchmarks: names as in the study file; the contents of own recordings (`file:PATH`) count.
    """
    commitment = read_commitment(spec.commitment)
    parts = [commitment.name, spec.ceiled or "own", spec.reduction, f"{spec.degrees:g} deg"]
    if commitment.layers:
        parts[0] += f" {_digest(json.dumps(sorted(commitment.layers.items())).encode())}"
    if spec.reduction != "none":
        parts[2] += f" {spec.components}"
    own = (f"{path.name} {_digest(path.read_bytes())}" for path in sorted(own_files(benchmarks)))
    return "; ".join([*parts, *own])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
