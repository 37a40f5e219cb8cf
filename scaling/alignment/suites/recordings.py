"""Published recordings as benchmarks: Brain-Score's public halves, Kriegeskorte et al. (2008)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.metrics.behavior import Trials
from scaling.alignment.suites.suite import Shown
from scaling.data.recordings import brainscore, kriegeskorte


def build_kriegeskorte(data_dir: Path | None) -> list[Benchmark]:
    """Monkey IT, human IT and similarity judgments by RSA on 92 object images.

    The monkey RDM is a single published one, without a ceiling; the others have a ceiling over subjects.

    Raises:
        StudyError: as `load_kriegeskorte`.
    """
    data = kriegeskorte.load_kriegeskorte(data_dir)
    name = kriegeskorte.NAME
    return [
        Benchmark(f"{name}.monkey-IT", "IT", "rsa", data.stimuli, data.monkey_it, "none"),
        Benchmark(f"{name}.human-IT", "IT", "rsa", data.stimuli, data.human_it, "subjects"),
        Benchmark(f"{name}.behavior", "behavior", "rsa", data.stimuli, data.judgments, "subjects"),
    ]


def build_neural(name: str, shown: Shown) -> list[Benchmark]:
    """One region each of a data set that Brain-Score publishes, by PLS, ceiled as Brain-Score does since 2026.

    Raises:
        StudyError: as `brainscore.read_neural`.
    """
    stimuli, assemblies = brainscore.read_neural(name, shown.data_dir, shown.model_degrees)
    return [
        Benchmark(
            f"{name}.{assembly.region}", assembly.region, "pls", stimuli, assembly.responses, "brain_score", "r2/c",
            strata=None if assembly.strata is None else np.array(assembly.strata),
        )
        for assembly in assemblies
    ]  # fmt: skip


def build_rajalingham(shown: Shown) -> list[Benchmark]:
    """Consistency of a model's choices with people's (i2n), by a readout of the penultimate layer.

    As in Brain-Score's public benchmark, the readout is fitted on the images that are then shown. The score is
    raw / √(correlation between halves of the trials), its `r/c`.

    Raises:
        StudyError: as `brainscore.read_rajalingham`.
    """
    stimuli, trials = brainscore.read_rajalingham(shown.data_dir, shown.model_degrees)
    choices = Trials.of(trials.stimulus_id, trials.sample, trials.choice, trials.distractor, stimuli.ids)
    name = f"{brainscore.RAJALINGHAM}.i2n"
    return [Benchmark(name, "behavior", "i2n", stimuli, choices, "split_half", readout_only=True)]
