"""Which rows are of one configuration: what a bootstrap draws together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import CONFIGURATION, GROWING, OUTCOMES, TRAINED

Codes = npt.NDArray[np.int64]


def configurations(frame: pd.DataFrame, axes: Sequence[str] = ()) -> Codes:
    """Codes (n,) of the configurations: rows that differ in seed, checkpoint or benchmark alone share one.

    Two rows are of one configuration where they agree in CONFIGURATION, in TRAINED and in the axes of the law. Rows of
    one `run_id` are checkpoints of one run, which counts with what its last one has. A run_id that several models or
    datasets share names no run, and a row without one is a run of its own. An outcome, such as the loss, is no axis of
    a configuration where the column `seed` says which runs repeat one.
    """
    named = (*CONFIGURATION, *TRAINED, *axes)
    skipped = OUTCOMES if "seed" in frame else ()
    keys = [name for name in dict.fromkeys(named) if name in frame and name not in skipped]
    if not keys:
        return np.arange(len(frame), dtype=np.int64)
    grouped = frame[keys]
    if "run_id" in frame and frame["run_id"].duplicated().any():
        grouped = _at_the_end(grouped, _runs(frame))
    return _codes(grouped)


def _codes(frame: pd.DataFrame) -> Codes:
    return np.asarray(frame.groupby(list(frame.columns), dropna=False, sort=False).ngroup(), dtype=np.int64)


def _runs(frame: pd.DataFrame) -> Codes:
    """Codes (n,) of the runs; see `configurations`."""
    n = len(frame)
    run = np.asarray(pd.factorize(frame["run_id"])[0], dtype=np.int64)
    fixed = [name for name in CONFIGURATION if name in frame and name not in _growing(frame)]
    model = _codes(frame[fixed]) if fixed else np.zeros(n, dtype=np.int64)
    pairs = np.unique(np.stack([run, model], axis=1), axis=0)
    names, models = np.unique(pairs[:, 0], return_counts=True)
    alone = (run < 0) | np.isin(run, names[models > 1])
    return np.where(alone, n + np.arange(n), run)


def _growing(frame: pd.DataFrame) -> tuple[str, ...]:
    """What the checkpoints of a run may differ in: of one that sees every image once, the images too."""
    once = {"n_samples", "samples_seen"} <= set(frame.columns) and not (
        pd.to_numeric(frame["samples_seen"]) > 1.001 * pd.to_numeric(frame["n_samples"])
    ).any()  # assumption: a last batch that is filled up adds a thousandth at most
    return (*GROWING, "n_samples") if once else GROWING


def _at_the_end(frame: pd.DataFrame, run: Codes) -> pd.DataFrame:
    """The frame with every number of a run at its largest, that of its last checkpoint."""
    counts = [name for name in frame if pd.api.types.is_numeric_dtype(frame[name].dtype)]
    return frame.assign(**frame[counts].groupby(run).transform("max")) if counts else frame
