"""Suites of people's choices: labels of CIFAR-10's test images, and edges, silhouettes and cue conflicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.metrics.categories import CATEGORIES, CategoryMap
from scaling.alignment.metrics.choices import UNSEEN, WRONG, Decisions, Judgments
from scaling.alignment.metrics.results import CeilingKind, Index
from scaling.alignment.suites.suite import Shown
from scaling.data.recordings import cifar10h, geirhos, geirhos2021
from scaling.data.recordings.geirhos import Experiment
from scaling.data.recordings.people import NO_RESPONSE, NOT_SHOWN
from scaling.data.recordings.stimuli import StimulusFiles
from scaling.data.recordings.visual_angle import placement_ratio

CIFAR10H: dict[str, CeilingKind] = {"cross-entropy": "between_subjects", "confusions": "halves", "errors": "halves"}
SHAPE_BIAS = "shape-bias"
GEIRHOS = (*geirhos.EXPERIMENTS, SHAPE_BIAS)


def build_cifar10h(shown: Shown) -> list[Benchmark]:
    """A model's class probabilities against about 51 people's labels of each of 2,000 of CIFAR-10's test images.

    - cross-entropy: e^−H(people, model), from chance to certainty (`choices.above_chance`).
    - confusions: r of the 90 off-diagonal shares.
    - errors: rho over images of the probability of everything but the truth.

    Ceilings come from random halves of people's labels.

    Raises:
        StudyError: files that are missing or wrong, a study whose held-out images are others.

    Source: Peterson, Battleday, Griffiths & Russakovsky (2019), ICCV.
    """
    cifar10h.check_heldout(shown.heldout, shown.data_dir)
    labels = cifar10h.read_cifar10h(shown.data_dir)
    assert labels.stimuli.labels is not None
    judged = Judgments(labels.counts, labels.stimuli.labels)
    return [
        Benchmark(f"{cifar10h.NAME}.{kind}", "behavior", kind, labels.stimuli, judged, ceiling)
        for kind, ceiling in CIFAR10H.items()
    ]


def build_geirhos(shown: Shown) -> list[Benchmark]:
    """Error consistency κ with ten people on edges, silhouettes and cue conflicts, mean over people; and shape bias.

    A model decides by its own classes, mapped to the 16 categories or to those that its training set has: on images
    of these alone, which every score says. The ceiling of κ is that between people; of shape bias, theirs.

    Raises:
        StudyError: files that are missing or wrong; classes none of which is a category.

    Source: Geirhos et al. (2019), ICLR; Geirhos, Meding & Wichmann (2020), NeurIPS.
    """
    classes, built = CategoryMap(shown.classes), []
    note = _note(classes.categories)
    for name in geirhos.EXPERIMENTS:
        experiment = geirhos.read_experiment(name, shown.data_dir)
        stimuli, decisions = _decisions(f"{geirhos.NAME} {name}", experiment, shown)
        for kind in ("error-consistency", SHAPE_BIAS) if decisions.texture is not None else ("error-consistency",):
            own = f"{geirhos.NAME}.{SHAPE_BIAS if kind == SHAPE_BIAS else name}"
            built.append(Benchmark(own, "behavior", kind, stimuli, decisions, "between_subjects", note=note))
    return built


def build_geirhos2021(shown: Shown) -> list[Benchmark]:
    """Error consistency κ with four to ten people on each of 17 sets, mean over conditions, then people.

    As Brain-Score has it: images at 3 degrees, conditions at people's ceiling or at chance left out, κ within each
    condition; the ceiling is κ between people, over conditions and pairs. A model decides as on `geirhos2019`.

    Deviations: a κ without errors to compare counts as 0 (there 1), and the sign of the mean is kept.

    Raises:
        StudyError: as `build_geirhos`.

    Source: Geirhos et al. (2021), NeurIPS; brain-score/vision, Geirhos2021 error consistency.
    """
    note, built = _note(CategoryMap(shown.classes).categories), []
    for name in geirhos2021.SETS:
        stimuli, decisions = _decisions(f"{geirhos2021.NAME} {name}", geirhos2021.read_set(name, shown.data_dir), shown)
        own = f"{geirhos2021.NAME}.{name}"
        built.append(Benchmark(own, "behavior", "error-consistency", stimuli, decisions, "between_subjects", note=note))
    return built


def _decisions(name: str, of: Experiment, shown: Shown) -> tuple[StimulusFiles, Decisions]:
    """Images whose categories, of both cues where there are two, the model can choose."""
    number = {category: i for i, category in enumerate(CATEGORIES)} | {NO_RESPONSE: WRONG, NOT_SHOWN: UNSEEN}
    classes, choices = CategoryMap(shown.classes), of.choices
    truth = np.array([number[c] for c in choices.category])
    conflict = name.endswith("cue-conflict")
    texture = np.array([number[geirhos.texture_of(image)] for image in choices.images]) if conflict else None
    kept = np.isin(truth, classes.categories) & (texture is None or np.isin(texture, classes.categories))
    index = np.flatnonzero(kept)
    chosen = np.array([[number[c] for c in row] for row in choices.chosen])
    files = tuple(of.filenames[i] for i in index)
    ratio = 1.0 if of.degrees is None else placement_ratio(of.degrees, shown.model_degrees)
    stimuli = StimulusFiles(of.source, files, files, truth[index], name, ratio)
    cue = None if texture is None else texture[index]
    condition = np.unique(choices.condition[index], return_inverse=True)[1]
    return stimuli, Decisions(chosen[:, index], truth[index], classes, cue, condition)


def _note(there: Index) -> str:
    """What scores are to say where a training set lacks categories."""
    if len(there) == len(CATEGORIES):
        return ""
    absent = ", ".join(name for i, name in enumerate(CATEGORIES) if i not in there)
    return f"images of categories the training set lacks ({absent})"


def check_geirhos(data_dir: Path | None) -> None:
    """Refuse files that are missing or do not fit each other."""
    for name in geirhos.EXPERIMENTS:
        geirhos.read_experiment(name, data_dir)


def check_geirhos2021(data_dir: Path | None) -> None:
    """Refuse files that are missing or do not fit each other."""
    for name in geirhos2021.SETS:
        geirhos2021.read_set(name, data_dir)
