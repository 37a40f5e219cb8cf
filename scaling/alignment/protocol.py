"""What a score depends on beside checkpoint and benchmark: its protocol, one a benchmark."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scaling.alignment.commitment import Commitment, read_commitment
from scaling.alignment.suites.registry import benchmark_regions, benchmark_suites, file_benchmarks
from scaling.data.recordings.recording import image_digest
from scaling.protocol_text import MAPPINGS, digest, protocol_settings
from scaling.specs.scoring import ScoringSpec

IMAGES = "images "  # before the digest of a file's images
MAPPING = "; mapping "  # before the mapping sizes that a score has a curve of
_SETTINGS = 4  # parts of a protocol before those of files


@dataclass(frozen=True)
class Protocol:
    """How one benchmark is scored, as text that its scores carry; equal texts, equal numbers.

    former: the settings as versions before wrote them, alike for all benchmarks of a study and followed by every file
    that the study named. alike: other texts of the same numbers: versions before named degrees where they place
    nothing, and no images of a file. Of mappings (`MAPPINGS`) no earlier text says the same numbers.
    """

    text: str
    former: str
    alike: frozenset[str] = frozenset()

    def made(self, stored: str) -> bool:
        """Whether a score that carries `stored` was made by this protocol."""
        if stored == self.text or stored in self.alike:
            return True
        theirs, former = stored.split("; "), self.former.split("; ")
        if any(part.startswith(IMAGES) for part in theirs):  # no version wrote both
            return False
        files = [set(text.split("; ")[_SETTINGS:]) for text in (self.text, *self.alike)]
        return theirs[:_SETTINGS] == former and any(own <= set(theirs[_SETTINGS:]) for own in files)


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
    content = {path: f"; {path.name} {_file_digest(path)}" for path in set(files.values())}
    images = {path: f"; {IMAGES}{image_digest(path)}" for path in content}
    suites, found = benchmark_suites(benchmarks), {}
    for name, region in benchmark_regions(benchmarks).items():
        suite, layer = suites[name], commitment.fixed(name, region)
        convention = suite.convention(spec.ceiled)
        how = commitment.scored_on if layer is None else f"layer {layer}"
        file = content[files[name]] if name in files else ""
        as_written = protocol_settings(spec, how, convention) + file
        made_by = MAPPINGS.get(suite.mapped.get(name.rpartition(".")[2], ""), "")
        degrees = None if suite.placed else ScoringSpec().degrees  # no setting changes what has no size
        text = protocol_settings(spec, how, convention, degrees) + made_by + file
        text += images[files[name]] if name in files else ""
        text += f"; {spec.mapping.text()}" if spec.mapping is not None and suite.of_units else ""
        former = protocol_settings(spec, _former_commitment(commitment), convention)
        alike = frozenset() if text.count(MAPPING) or made_by else frozenset({as_written})
        found[name] = Protocol(text, former, alike)
    return found


def _former_commitment(commitment: Commitment) -> str:
    if not commitment.layers:
        return commitment.name
    return f"{commitment.name} {digest(json.dumps(sorted(commitment.layers.items())).encode())}"


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]
