"""What a suite of benchmarks is, and what a study gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from scaling.alignment.metrics.ceilings import SCALES, Convention, Scale
from scaling.alignment.pooled import AnyBenchmark
from scaling.alignment.suites.human_alignment import MappedStimuli
from scaling.data.recordings.stimuli import Stimuli
from scaling.data.recordings.visual_angle import MODEL_DEGREES


class Shown(NamedTuple):
    """What a study shows: its held-out images, its data directory, the visual angle that a model's input spans.

    mapped: the held-out images that have importance maps, and the maps; None: no image has one. classes: names of
    the classes that models are trained on, by label; () where none are known.
    """

    heldout: Stimuli
    data_dir: Path | None
    model_degrees: float = MODEL_DEGREES
    mapped: MappedStimuli | None = None
    classes: tuple[str, ...] = ()


class About(NamedTuple):
    """What a suite is of, for people: whose, what was shown, the licence as its source states it, where files are.

    folder: below the data directory; '' where no files are needed.
    """

    subjects: str
    stimuli: str
    licence: str
    original: str
    folder: str = ""


@dataclass(frozen=True)
class Suite:
    """Benchmarks that share their stimuli.

    Attributes:
        regions: benchmark → region, in the order that `build` returns them; the benchmark is named 'suite.benchmark'.
        build: setting of the study → benchmarks.
        check: data directory → None, or StudyError for files that are missing or wrong.
        ceilings: the scale of its benchmarks' ceilings (see `ceilings.SCALES`), or 'bound' for one of another kind.
        of_units: its scores are taken over the units of each subject. placed: its stimuli's size is known, so that the
            degrees of a model's input place them. about: None of a file of one's own.
        mapped: benchmark → metric, of those whose mapping the protocol tells of (`protocol_text.MAPPINGS`).
        further: benchmark → region of those that are only scored when they are named, such as other metrics on the same
            recordings.
    """

    regions: dict[str, str]
    build: Callable[[Shown], Sequence[AnyBenchmark]]
    check: Callable[[Path | None], object]
    ceilings: Scale | Literal["bound"] = "correlation"
    of_units: bool = False
    placed: bool = False
    about: About | None = None
    further: Mapping[str, str] = field(default_factory=dict)
    mapped: Mapping[str, str] = field(default_factory=dict)

    def convention(self, asked: Convention | None) -> str:
        """What a protocol says of the convention: the one asked for where the suite has it, else its own.

        Where the suite's own ceilings are on another scale, the text says what they are turned into: versions before
        took them as they were.
        """
        if asked is None or self.ceilings == "bound" or (asked == "mean r/c" and not self.of_units):
            return "own"
        if SCALES[asked] == self.ceilings:
            return asked
        return f"{asked} of {'reliability' if SCALES[asked] == 'reliability' else '√reliability'}"
