"""What a score depends on beside checkpoint and benchmark: its protocol, one a benchmark."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scaling.alignment.commitment import Commitment, read_commitment
from scaling.alignment.suites.registry import benchmark_regions, file_benchmarks
from scaling.protocol_text import digest, protocol_settings
from scaling.specs.scoring import ScoringSpec

_SETTINGS = 4  # parts of a protocol before those of files


@dataclass(frozen=True)
class Protocol:
    """How one benchmark is scored, as text that its scores carry; equal texts, equal numbers.

    former: the settings as versions before wrote them, alike for all benchmarks of a study and followed by every file
    that the study named.
    """

    text: str
    former: str

    def made(self, stored: str) -> bool:
        """Whether a score that carries `stored` was made by this protocol."""
        if stored == self.text:
            return True
        theirs, own = stored.split("; "), self.text.split("; ")
        same_settings = theirs[:_SETTINGS] == self.former.split("; ")
        return same_settings and set(own[_SETTINGS:]) <= set(theirs[_SETTINGS:])


def scoring_protocols(spec: ScoringSpec, benchmarks: Sequence[str]) -> dict[str, Protocol]:
    """Each benchmark's own protocol, by its full name.

    A fixed layer stands in the protocol of the benchmark that it is for, the content of a recording (`file:PATH`) in
    its own: another benchmark, or a change of one, leaves the rest as they are.

    Args:
        benchmarks: names as in the study file: suites, benchmarks, files.

    Raises:
        StudyError: as `read_commitment` and `benchmark_regions`.
    """
    commitment, files = read_commitment(spec.commitment), file_benchmarks(benchmarks)
    content = {path: f"{path.name} {_file_digest(path)}" for path in set(files.values())}
    former = protocol_settings(spec, _former_commitment(commitment))
    found = {}
    for name, region in benchmark_regions(benchmarks).items():
        layer = commitment.fixed(name, region)
        text = protocol_settings(spec, commitment.scored_on if layer is None else f"layer {layer}")
        text += f"; {content[files[name]]}" if name in files else ""
        found[name] = Protocol(text, former)
    return found


def _former_commitment(commitment: Commitment) -> str:
    if not commitment.layers:
        return commitment.name
    return f"{commitment.name} {digest(json.dumps(sorted(commitment.layers.items())).encode())}"


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]
