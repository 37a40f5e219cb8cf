"""Suites of Hénaff et al. (2021), macaque V1, and of Cichy et al. (2014), human EVC and IT."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.metrics.subjects import SubjectAssembly
from scaling.alignment.pooled import PooledBenchmark
from scaling.alignment.suites.suite import Shown
from scaling.data.recordings import cichy, henaff, kriegeskorte
from scaling.data.recordings.henaff import Population


def build_henaff(shown: Shown) -> list[PooledBenchmark]:
    """V1 of four monkeys to frames of natural movies: each movie held out in turn, both zooms of it together.

    Frames of a movie resemble each other: split at random, a model would be asked for what it has nearly seen. Ridge
    regression with one penalty for a population; the ceiling by halves of the repetitions, within each movie.

    Raises:
        StudyError: as `henaff.read_henaff`.

    Source: Hénaff, Bai, Charlton, Nauhaus, Simoncelli & Goris (2021), Nat. Commun. 12:5982.
    """
    frames = henaff.read_henaff(shown.data_dir)
    parts = [
        Benchmark(
            f"{henaff.NAME}.V1", "V1", "ridge_units", frames.stimuli, _assembly(one, frames.movies), "split_half",
            part=one.name,
        )
        for one in frames.populations
    ]  # fmt: skip
    return [PooledBenchmark(tuple(parts))]


def _assembly(population: Population, movies: np.ndarray) -> SubjectAssembly:
    mean = np.asarray(np.nanmean(population.counts, axis=0, dtype=np.float64))
    return SubjectAssembly(population.monkey, mean, population.counts, groups=movies)


def build_cichy(shown: Shown) -> list[Benchmark]:
    """EVC and IT by RSA with each of 15 people, mean over people; ceilings from people as `rsa-subjects` has them.

    Raises:
        StudyError: as `cichy.read_cichy` and `load_kriegeskorte`, whose images these are.

    Source: Cichy, Pantazis & Oliva (2014), Nat. Neurosci. 17:455; Cichy et al. (2019), arXiv 1905.05675.
    """
    stimuli = kriegeskorte.load_kriegeskorte(shown.data_dir).stimuli
    return [
        Benchmark(f"{cichy.NAME}.{region}", region, "rsa-subjects", stimuli, rdms, "single_subject")
        for region, rdms in cichy.read_cichy(shown.data_dir).items()
    ]


def check_cichy(data_dir: Path | None) -> None:
    """Refuse files that are missing or wrong, the images' too."""
    cichy.read_cichy(data_dir)
    kriegeskorte.load_kriegeskorte(data_dir)
