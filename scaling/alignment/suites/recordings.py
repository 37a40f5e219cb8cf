"""Published recordings as benchmarks: Brain-Score's public halves, Kriegeskorte et al. (2008)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.metrics.behavior import Trials
from scaling.alignment.metrics.results import CeilingKind
from scaling.alignment.metrics.rsa import RsaKind
from scaling.alignment.suites.suite import Shown
from scaling.data.recordings import brainscore, kriegeskorte

KRIEGESKORTE = {"monkey-IT": "IT", "human-IT": "IT", "behavior": "behavior"}
RSA_KINDS = ("rsa", *(f"rsa-{kind}" for kind in get_args(RsaKind) if kind != "spearman"))


def build_kriegeskorte(data_dir: Path | None) -> list[Benchmark]:
    """Monkey IT, human IT and similarity judgments by RSA on 92 object images.

    The monkey RDM is a single published one, without a ceiling; the others have a ceiling over subjects.

    Raises:
        StudyError: as `load_kriegeskorte`.
    """
    data = kriegeskorte.load_kriegeskorte(data_dir)
    rdms: dict[str, tuple[Any, CeilingKind]] = {
        "monkey-IT": (data.monkey_it, "none"),
        "human-IT": (data.human_it, "subjects"),
        "behavior": (data.judgments, "subjects"),
    }
    return [
        Benchmark(f"{kriegeskorte.NAME}.{part}{_suffix(kind)}", region, kind, data.stimuli, *rdms[part])
        for kind in RSA_KINDS
        for part, region in KRIEGESKORTE.items()
    ]


def other_kinds(regions: Mapping[str, str]) -> dict[str, str]:
    """Benchmarks of RDMs by the kinds of RSA that are not the default: 'human-IT-whitened'."""
    return {f"{part}{_suffix(kind)}": region for kind in RSA_KINDS[1:] for part, region in regions.items()}


def _suffix(kind: str) -> str:
    return kind.removeprefix("rsa")


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
    """Consistency of a model's choices with people's (i2n; i1, i2 by name), by a readout of the last layer but one.

    As in Brain-Score's public benchmark, the readout is fitted on the images that are then shown. The score is
    raw / √(correlation between halves of the trials), its `r/c`.

    Raises:
        StudyError: as `brainscore.read_rajalingham`.
    """
    stimuli, trials = brainscore.read_rajalingham(shown.data_dir, shown.model_degrees)
    choices = Trials.of(trials.stimulus_id, trials.sample, trials.choice, trials.distractor, stimuli.ids)
    return [
        Benchmark(
            f"{brainscore.RAJALINGHAM}.{kind}", "behavior", kind, stimuli, choices, "split_half", readout_only=True
        )
        for kind in ("i2n", "i1", "i2")
    ]
