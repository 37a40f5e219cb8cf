"""Suites of people's choices: labels of CIFAR-10's test images, and edges, silhouettes and cue conflicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.metrics.categories import CATEGORIES, CategoryMap
from scaling.alignment.metrics.choices import UNSEEN, WRONG, Decisions, Judgments
from scaling.alignment.metrics.results import CeilingKind, Index
from scaling.alignment.suites.suite import Shown
from scaling.data.recordings import cifar10h, geirhos
from scaling.data.recordings.geirhos import Experiment
from scaling.data.recordings.people import NO_RESPONSE, NOT_SHOWN
from scaling.data.recordings.stimuli import StimulusFiles

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
    classes = CategoryMap(shown.classes)
    there = classes.categories
    note = "" if len(there) == len(CATEGORIES) else f"images of categories the training set lacks ({_absent(there)})"
    built = []
    for name in geirhos.EXPERIMENTS:
        experiment = geirhos.read_experiment(name, shown.data_dir)
        stimuli, decisions = _decisions(name, experiment, classes)
        for kind in ("error-consistency", SHAPE_BIAS) if decisions.texture is not None else ("error-consistency",):
            own = f"{geirhos.NAME}.{SHAPE_BIAS if kind == SHAPE_BIAS else name}"
            built.append(Benchmark(own, "behavior", kind, stimuli, decisions, "between_subjects", note=note))
    return built


def _decisions(name: str, of: Experiment, classes: CategoryMap) -> tuple[StimulusFiles, Decisions]:
    """Images whose categories, of both cues where there are two, the model can choose."""
    number = {category: i for i, category in enumerate(CATEGORIES)} | {NO_RESPONSE: WRONG, NOT_SHOWN: UNSEEN}
    truth = np.array([number[c] for c in of.choices.category])
    conflict = name == "cue-conflict"
    texture = np.array([number[geirhos.texture_of(image)] for image in of.choices.images]) if conflict else None
    kept = np.isin(truth, classes.categories) & (texture is None or np.isin(texture, classes.categories))
    index = np.flatnonzero(kept)
    chosen = np.array([[number[c] for c in row] for row in of.choices.chosen])
    files = tuple(of.filenames[i] for i in index)
    stimuli = StimulusFiles(of.source, files, files, truth[index], f"{geirhos.NAME} {name}")
    cue = None if texture is None else texture[index]
    return stimuli, Decisions(chosen[:, index], truth[index], classes, cue)


def _absent(there: Index) -> str:
    return ", ".join(name for i, name in enumerate(CATEGORIES) if i not in there)


def check_geirhos(data_dir: Path | None) -> None:
    """Refuse files that are missing or do not fit each other."""
    for name in geirhos.EXPERIMENTS:
        geirhos.read_experiment(name, data_dir)
