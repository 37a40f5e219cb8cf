"""Suite cowley2023: macaque V4 to natural photographs (five sessions of three monkeys), and to objects (one)."""

from __future__ import annotations

import numpy as np

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.metrics.results import CeilingKind
from scaling.alignment.metrics.subjects import SubjectAssembly
from scaling.alignment.pooled import PooledBenchmark
from scaling.alignment.suites.suite import Shown
from scaling.data.recordings import cowley
from scaling.data.recordings.cowley import SessionRecording

FANO = 0.9  # variance of a neuron's count over its mean, with which the measured ceiling of 210325 agrees (.87)
TEST_SHARE, TEST_SEED = 0.2, 2023  # of a session's images, always the same; assumption

V4, OBJECTS = "V4", "V4-objects"
PARTS = {V4: "V4", OBJECTS: "V4"}


def build_cowley(shown: Shown) -> list[PooledBenchmark]:
    """V4 to natural photographs, 295 units; and 50 units' responses to grey objects, by their own repeats' ceiling.

    Ridge regression with one penalty for a session's units, fitted on four fifths of its images. The ceiling of the
    natural sessions is √(1 − FANO · mean count / (repeats · variance over images)), whose repeats are published for
    210325 alone: there it is measured.

    Raises:
        StudyError: as `cowley.read_session`.

    Source: Cowley, Stan, Pillow & Smith (2023), bioRxiv 2023.11.22.568315.
    """
    natural = [_part(V4, cowley.read_session(name, shown.data_dir)) for name in cowley.NATURAL]
    return [
        PooledBenchmark(tuple(natural)),
        PooledBenchmark((_part(OBJECTS, cowley.read_session(cowley.RAW, shown.data_dir)),)),
    ]


def _part(name: str, recorded: SessionRecording) -> Benchmark:
    test = held_out(len(recorded.responses))
    noise = FANO * recorded.responses.mean(axis=0) / recorded.session.repeats
    assembly = SubjectAssembly(
        subject=recorded.session.monkey,
        responses=recorded.responses,
        repetitions=None if recorded.repeats is None else recorded.repeats[:, test],
        test=test,
        noise=noise if recorded.repeats is None else None,
    )
    kind: CeilingKind = "assumed_noise" if recorded.repeats is None else "split_half"
    return Benchmark(
        f"{cowley.NAME}.{name}",
        "V4",
        "ridge_units",
        recorded.stimuli,
        assembly,
        kind,
        part=recorded.name,
    )


def held_out(n_stimuli: int, share: float = TEST_SHARE, seed: int = TEST_SEED) -> np.ndarray:
    """The stimuli of a seeded fixed test set, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(n_stimuli)[: round(share * n_stimuli)])
