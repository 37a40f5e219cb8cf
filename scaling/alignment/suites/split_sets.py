"""Suites of recordings with a fixed split: TVSD, THINGS-fMRI, NSD, THINGS-EEG2, as Brain-Score scores them."""

from __future__ import annotations

import numpy as np

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.metrics.subjects import SubjectAssembly
from scaling.alignment.pooled import PooledBenchmark
from scaling.alignment.suites.suite import Shown
from scaling.data.recordings.split_sets import SETS, SplitRecording, SplitStimuli, read_split_set


def build_split_set(name: str, shown: Shown) -> list[PooledBenchmark]:
    """One benchmark a region: Brain-Score's ridge on each subject's units at once, `r2/c`, mean over subjects.

    Raises:
        StudyError: as `read_split_set`.
    """
    of, (stimuli, recordings) = SETS[name], read_split_set(name, shown.data_dir, shown.model_degrees)
    return [
        PooledBenchmark(tuple(_part(name, of.metric, stimuli, one) for one in recordings if one.region == region))
        for region in of.regions
    ]


def _part(name: str, metric: str, shown: SplitStimuli, of: SplitRecording) -> Benchmark:
    test = np.arange(shown.n_train, len(shown.stimuli))
    responses = np.concatenate([of.train, np.nanmean(of.test, axis=0)])
    assembly = SubjectAssembly(of.subject, responses, of.test, test)
    return Benchmark(
        f"{name}.{of.region}", of.region, metric, shown.stimuli, assembly, "brain_score", "r2/c", part=of.subject
    )
