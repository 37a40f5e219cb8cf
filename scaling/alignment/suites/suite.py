"""What a suite of benchmarks is, and what a study gives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.suites.human_alignment import MappedStimuli
from scaling.data.recordings.stimuli import Stimuli
from scaling.data.recordings.visual_angle import MODEL_DEGREES


class Shown(NamedTuple):
    """What a study shows: its held-out images, its data directory, the visual angle that a model's input spans.

    mapped: the held-out images that have importance maps, and the maps; None: no image has one.
    """

    heldout: Stimuli
    data_dir: Path | None
    model_degrees: float = MODEL_DEGREES
    mapped: MappedStimuli | None = None


@dataclass(frozen=True)
class Suite:
    """Benchmarks that share their stimuli.

    Attributes:
        regions: benchmark → region, in the order that `build` returns them; the benchmark is named 'suite.benchmark'.
        build: setting of the study → benchmarks.
        check: data directory → None, or StudyError for files that are missing or wrong.
    """

    regions: dict[str, str]
    build: Callable[[Shown], list[Benchmark]]
    check: Callable[[Path | None], object]
