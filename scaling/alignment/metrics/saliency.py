"""Human alignment of saliency: do a model's gradients rise where people look? Float64, no I/O, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from scaling.alignment.numerics import Array, mean_ranks, pearson
from scaling.errors import StudyError

HUMAN_CEILING = 0.65753  # Spearman rho between people's ClickMe maps (Fel et al. 2022, serre-lab/Harmonization)

ChannelReduction = Literal["max_abs", "abs_mean"]
REDUCTIONS: dict[str, str] = {"max_abs": "max over channels of |g|", "abs_mean": "|mean over channels of g|"}


@dataclass(frozen=True, eq=False)
class HumanAlignment:
    """How well saliency ranks pixels as people do.

    score: raw / ceiling. raw: mean rho over images. error: its standard error, std (ddof 1) / sqrt(n); NaN for one.
    correlations: (n,) Spearman rho of each image; NaN where the map is flat, and such images are left out of raw.
    """

    score: float
    raw: float
    error: float
    correlations: Array


def reduce_channels(gradients: ArrayLike, reduction: ChannelReduction = "max_abs") -> Array:
    """Saliency maps of input gradients: (n, channels, h, w) -> (n, h, w).

    Args:
        reduction: 'max_abs', max over channels of |g|; 'abs_mean', |mean over channels of g|.

    Raises:
        StudyError: an unknown reduction, another shape.
    """
    g = np.asarray(gradients, dtype=np.float64)
    if g.ndim != 4:
        raise StudyError(f"gradients of shape {g.shape}; give (n, channels, height, width)")
    if reduction not in REDUCTIONS:
        raise StudyError(f"unknown channel reduction '{reduction}'; known: {', '.join(REDUCTIONS)}")
    return np.abs(g).max(1) if reduction == "max_abs" else np.abs(g.mean(1))


def human_alignment(saliency: ArrayLike, maps: ArrayLike, ceiling: float = HUMAN_CEILING) -> HumanAlignment:
    """Mean over images of Spearman's rho over all pixels, divided by the ceiling between people.

    rho is Pearson's r of ranks, ties at their mean rank. A flat saliency explains nothing (0); an image whose map is
    flat has nothing to explain (NaN) and is left out.

    Args:
        saliency: (n, h, w), see `reduce_channels`. maps: (n, h, w) human importance maps, blurred as the benchmark is.

    Raises:
        StudyError: shapes that differ, values that are not finite, no map that varies, a ceiling outside (0, 1].

    Source: Fel et al. (2022), arXiv 2211.04533, and its code.
    """
    s, h = (np.asarray(x, dtype=np.float64) for x in (saliency, maps))
    if s.ndim != 3 or s.shape != h.shape or s.size == 0:
        raise StudyError(f"saliency of shape {s.shape} beside maps of {h.shape}; give both as (n, height, width)")
    for name, x in (("saliency", s), ("maps", h)):
        if not np.isfinite(x).all():
            bad = int(x.size - np.count_nonzero(np.isfinite(x)))
            raise StudyError(f"{name}: {bad:,} of {x.size:,} values are not finite; correct it")
    if not 0 < ceiling <= 1:
        raise StudyError(f"ceiling={ceiling} of the human alignment is outside (0, 1]; ClickMe's is {HUMAN_CEILING}")
    ranks = (np.stack([mean_ranks(one.ravel()) for one in x]).T for x in (s, h))
    correlations = pearson(*ranks)
    valid = correlations[~np.isnan(correlations)]
    if valid.size == 0:
        raise StudyError(f"all {len(h):,} human maps are flat; there is nothing to rank")
    raw = float(valid.mean())
    error = float(valid.std(ddof=1) / np.sqrt(valid.size)) if valid.size > 1 else float("nan")
    return HumanAlignment(raw / ceiling, raw, error, correlations)
