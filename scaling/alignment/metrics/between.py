"""One population predicts another: neurons a layer's units (reverse predictivity), one animal's neurons another's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from numpy.typing import ArrayLike

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.error_bars import split_score
from scaling.alignment.metrics.pls import pls_predictions
from scaling.alignment.metrics.splits import StimulusSplit, split_correlations
from scaling.alignment.numerics import Array, as_responses
from scaling.errors import StudyError


class Predict(Protocol):
    """Held-out predictions of responses from a representation, an array a split: `pls_predictions`, ridge."""

    def __call__(self, rep: Representation, responses: Array, splits: Sequence[StimulusSplit], /) -> list[Array]: ...


class Predictivity(NamedTuple):
    """raw: median r over the predicted units, mean over splits; error: over splits, see `fold_error`."""

    raw: float
    error: float | None


def predictivity(
    sources: Representation | ArrayLike,
    targets: ArrayLike,
    splits: Sequence[StimulusSplit],
    predict: Predict = pls_predictions,
) -> Predictivity:
    """How well a population's responses predict each unit of another, on held-out stimuli.

    Args:
        sources: (n_stimuli, n_units) or a Representation. targets: (n_stimuli, n_units) of the other population.

    Raises:
        StudyError: other numbers of stimuli, responses that are not finite, as `predict`.

    Sources: one animal from another, as a reference for models: Cadena et al. (2019); Thobani et al. (2025).
    """
    y = as_responses(targets)
    rep = sources if isinstance(sources, Representation) else Representation.of(sources)
    score = split_score(split_correlations(predict(rep, y, splits), y, splits))
    return Predictivity(score.score, score.error)


def reverse_predictivity(
    responses: ArrayLike,
    features: Representation,
    splits: Sequence[StimulusSplit],
    predict: Predict = pls_predictions,
) -> Predictivity:
    """How well neurons predict a layer's units: what of the model the brain has, where scores say the converse.

    Median r over the units of the layer, mean over splits; constant units are left out of the median.

    Args:
        responses: (n_stimuli, n_neuroids), means over repetitions. features: of a layer that is kept whole.

    Raises:
        StudyError: a layer whose features are not kept (more than `GramAccumulator.MAX_KEPT` and than the stimuli).

    Source: Muzellec & Kar (2025); Brain-Score's `MajajHong2015public.{V4,IT}-reverse_pls` takes its ten stratified
    splits and PLS, and divides r² by the neurons' reliability, which bounds the other side: here r stands alone.
    """
    if features.features is None:
        raise StudyError(
            f"reverse predictivity: the layer has {features.n_features:,} units, which are not kept one by one; name a "
            "narrower layer, or reduce it (scoring.reduction)"
        )
    return predictivity(responses, features.features, splits, predict)
