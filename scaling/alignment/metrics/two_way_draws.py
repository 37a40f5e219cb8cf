"""Bootstrap of a mapping's score over stimuli and units, which counts nothing twice. Seeded, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from scaling.alignment.metrics.error_bars import Over, bootstrap_scores
from scaling.alignment.metrics.splits import StimulusSplit
from scaling.alignment.numerics import Array


def two_way_draws(
    predictions: Sequence[Array], responses: Array, splits: Sequence[StimulusSplit], raw: float, n_boot: int, seed: int
) -> Array:
    """(n_boot,) scores of draws of stimuli and of units, centred on `raw`, that vary as raw does between recordings.

    A score over stimuli and units varies by `V_s + V_u + V_su`, V_su what is a unit's own response to a stimulus.
    Draws of stimuli alone vary by V_s + V_su, of units alone by V_u + V_su, and draws of both at once by V_su twice
    more: of few stimuli nearly all variance is V_su, and intervals are too wide. So the deviations d_s and d_u, each
    drawn alone, are added and multiplied by `√((V(d_s) + V(d_u) − V_su) / (V(d_s) + V(d_u)))`, with V_su the variance
    of what draws of both at once deviate by beyond d_s + d_u; no less than the larger of V(d_s) and V(d_u) remains.

    Args:
        predictions, responses, splits, n_boot, seed: as `bootstrap_scores`. raw: the score itself.

    Source: two-way resampling counts the interaction three times: McCullagh (2000), Bernoulli 6:285; Owen (2007),
    Annals of Applied Statistics 1:386. The correction follows from their variances; its coverage is shown by simulation
    in `tests/benchmarks/bench_mapping_intervals.py`.
    """
    drawn = {over: bootstrap_scores(predictions, responses, splits, over, n_boot, seed) for over in get_args(Over)}
    stimuli, units, both = (drawn[over] - np.nanmean(drawn[over]) for over in ("stimuli", "neuroids", "both"))
    parts = np.nanvar(stimuli), np.nanvar(units)
    whole = max(sum(parts) - np.nanvar(both - stimuli - units), *parts)
    share = np.sqrt(whole / sum(parts)) if whole > 0 else 0.0
    return np.asarray(raw + share * (stimuli + units))
