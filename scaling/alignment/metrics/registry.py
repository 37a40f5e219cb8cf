"""How each kind of assembly is compared with a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Protocol, get_args

import numpy as np

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics import behavior, ceilings
from scaling.alignment.metrics.choices import CHOICE_METRICS
from scaling.alignment.metrics.cka import linear_cka
from scaling.alignment.metrics.geometry import procrustes_similarity
from scaling.alignment.metrics.mappings import (
    pls_of_all_units,
    published_splits,
    reverse_by_pls,
    ridge_of_all_units,
    up_to_25,
    whole_folds,
)
from scaling.alignment.metrics.odd_one_out import OddOneOutMetric
from scaling.alignment.metrics.results import (
    CeilingKind,
    Evaluation,
    FoldEvaluation,
    Index,
    MappingEvaluation,
    Needs,
    PlainEvaluation,
    RDMEvaluation,
    Strata,
    SubjectRDMEvaluation,
)
from scaling.alignment.metrics.ridge import ALPHAS, ridge_cv_predictions
from scaling.alignment.metrics.rsa import RsaKind, rdm, rsa
from scaling.alignment.metrics.saliency import HUMAN_CEILING, ChannelReduction, human_alignment, reduce_channels
from scaling.alignment.metrics.shared_ridge import BRAIN_SCORE_ALPHAS, EEG_ALPHAS
from scaling.alignment.metrics.spatial import MIN_IMAGES, N_COMPONENTS, map_ceiling, spatial_score
from scaling.alignment.metrics.splits import StimulusSplit
from scaling.alignment.metrics.subjects import SubjectMetric
from scaling.alignment.numerics import Array
from scaling.errors import StudyError

MIN_HALF = 20  # stimuli in the smaller half: 5 folds of 4 for ridge, 190 pairs for RSA


class Metric(Protocol):
    """How a kind of assembly is compared with a layer.

    Attributes:
        needs: what of a layer. A 'representation', and assemblies with repetitions or subjects first: the layer is
            chosen on half of the stimuli. Or 'maps' (n, height, width, channels) of few stimuli, each of which is
            held out in turn: evaluations are `FoldEvaluation`s, and the layer is chosen stimulus by stimulus. Or the
            model's 'saliency', gradients (n, channels, height, width) at its input, where there is no layer to choose.
        min_stimuli: the fewest that layers can be chosen and scored on.
    """

    needs: ClassVar[Needs]
    min_stimuli: ClassVar[int]

    def check(self, assembly: Any, n_stimuli: int) -> str | None:
        """What is wrong with an assembly of `n_stimuli` (shape or values, and the remedy), or None."""

    def n_repetitions(self, assembly: Any) -> int:
        """Repetitions, subjects or whatever a ceiling is taken over."""

    def n_neuroids(self, assembly: Any) -> int | None:
        """Neuroids recorded; None where the assembly has none."""

    def take(self, assembly: Any, index: Index) -> Any:
        """The assembly of some of the stimuli."""

    def ceiling(self, assembly: Any, kind: CeilingKind) -> float: ...

    def evaluate(self, rep: Any, assemblies: Sequence[Any], strata: Strata) -> Sequence[Evaluation]:
        """The Representation or the maps on each assembly of the same stimuli; what can be shared is computed once."""


@dataclass(frozen=True)
class NeuroidMetric:
    """Assemblies (n_repetitions, n_stimuli, n_neuroids); NaN: that repetition is missing. Target: mean over them.

    Attributes:
        predict: (representation, responses, splits) → held-out predictions; None: a layer is compared as a whole, by
            compare: (representation, responses) → a similarity that no neuroid's reliability bounds.
        splits: (n_stimuli, strata) → splits. by_column: neuroids are predicted one by one, so that assemblies of the
            same stimuli may be predicted together.
    """

    predict: Callable[[Representation, Array, Sequence[StimulusSplit]], list[Array]] | None
    splits: Callable[[int, Strata], list[StimulusSplit]]
    by_column: bool = False
    compare: Callable[[Representation, Array], float] = linear_cka
    needs: ClassVar[Needs] = "representation"
    min_stimuli: ClassVar[int] = 2 * MIN_HALF

    def check(self, assembly: Any, n_stimuli: int) -> str | None:
        if np.ndim(assembly) != 3 or 0 in assembly.shape or assembly.shape[1] != n_stimuli:
            return f"of shape {np.shape(assembly)}; give (repetitions, {n_stimuli} stimuli, neuroids)"
        missing = ~np.isfinite(assembly).any(axis=0)
        if missing.any() or np.isinf(assembly).any():
            n = int(missing.sum())
            return f"with {n:,} stimuli × neuroids that are in no repetition, or infinite values; drop those neuroids"
        return None

    def n_repetitions(self, assembly: Any) -> int:
        return int(assembly.shape[0])

    def n_neuroids(self, assembly: Any) -> int | None:
        return int(assembly.shape[2])

    def take(self, assembly: Any, index: Index) -> Any:
        return assembly[:, index]

    def ceiling(self, assembly: Any, kind: CeilingKind) -> float:
        if kind == "brain_score":
            return ceilings.split_half_ceiling(assembly).score
        return ceilings.neuroid_ceiling(assembly)

    def evaluate(self, rep: Representation, assemblies: Sequence[Any], strata: Strata) -> list[Evaluation]:
        if self.predict is None:
            return [PlainEvaluation(self.compare(rep, mean_response(assembly))) for assembly in assemblies]
        return self.evaluate_splits(rep, assemblies, self.splits(len(rep), strata))

    def evaluate_splits(
        self, rep: Representation, assemblies: Sequence[Any], splits: list[StimulusSplit]
    ) -> list[Evaluation]:
        """As `evaluate`, by given splits of a mapping."""
        assert self.predict is not None
        targets = [mean_response(assembly) for assembly in assemblies]
        if not self.by_column:
            return [MappingEvaluation(self.predict(rep, target, splits), target, splits) for target in targets]
        together = self.predict(rep, np.concatenate(targets, axis=1), splits)
        edges = np.cumsum([0, *(target.shape[1] for target in targets)])
        parts = [[p[:, a:b] for p in together] for a, b in pairwise(edges)]
        return [MappingEvaluation(part, target, splits) for part, target in zip(parts, targets, strict=True)]


@dataclass(frozen=True)
class RDMMetric:
    """Assemblies (n_subjects, n_stimuli, n_stimuli) of RDMs; target: the mean RDM."""

    kind: RsaKind
    needs: ClassVar[Needs] = "representation"
    min_stimuli: ClassVar[int] = 2 * MIN_HALF

    def check(self, assembly: Any, n_stimuli: int) -> str | None:
        if np.ndim(assembly) != 3 or assembly.shape[1:] != (n_stimuli, n_stimuli) or not len(assembly):
            return f"of shape {np.shape(assembly)}; give (subjects, {n_stimuli}, {n_stimuli} stimuli)"
        bad = int(np.count_nonzero(~np.isfinite(assembly)))
        return f"with {bad:,} of {assembly.size:,} values not finite; drop those subjects" if bad else None

    def n_repetitions(self, assembly: Any) -> int:
        return len(assembly)

    def n_neuroids(self, assembly: Any) -> int | None:
        return None

    def take(self, assembly: Any, index: Index) -> Any:
        return assembly[:, index[:, None], index]

    def ceiling(self, assembly: Any, kind: CeilingKind) -> float:
        return ceilings.rdm_ceiling(assembly)

    def evaluate(self, rep: Representation, assemblies: Sequence[Any], strata: Strata) -> list[Evaluation]:
        model = rdm(rep)
        return [RDMEvaluation(model, assembly, self.kind) for assembly in assemblies]


@dataclass(frozen=True)
class SubjectRDMMetric(RDMMetric):
    """As `RDMMetric`, but against each subject's RDM, not their mean. raw: mean over subjects.

    The ceiling is what the noiseless mean of all people would reach with one of them; `bounds` are the correlation of
    each subject with the others' mean, and with everyone's.
    """

    def ceiling(self, assembly: Any, kind: CeilingKind) -> float:
        return ceilings.single_rdm_ceiling(assembly)

    def bounds(self, assembly: Any) -> tuple[float, float] | None:
        lower, upper = ceilings.intersubject_ceilings(assembly, rsa)
        return float(lower.mean()), float(upper.mean())

    def evaluate(self, rep: Representation, assemblies: Sequence[Any], strata: Strata) -> list[Evaluation]:
        model = rdm(rep)
        return [SubjectRDMEvaluation(model, assembly) for assembly in assemblies]


@dataclass(frozen=True)
class TrialMetric:
    """Assemblies are `behavior.Trials`: choices of people. A linear readout of the layer makes the model's choices."""

    kind: behavior.SignatureKind
    needs: ClassVar[Needs] = "representation"
    min_stimuli: ClassVar[int] = 2 * MIN_HALF

    def check(self, assembly: Any, n_stimuli: int) -> str | None:
        if not isinstance(assembly, behavior.Trials) or len(assembly.truth) != n_stimuli:
            return f"of {type(assembly).__name__}; give behavior.Trials on {n_stimuli} stimuli"
        return None

    def n_repetitions(self, assembly: Any) -> int:
        return 2  # the halves of its trials

    def n_neuroids(self, assembly: Any) -> int | None:
        return None

    def take(self, assembly: Any, index: Index) -> Any:
        """Trials on some of the images, in their order."""
        at = np.full(len(assembly.truth), -1)
        at[index] = np.arange(len(index))
        kept = at[assembly.image] >= 0
        trials = (column[kept] for column in (assembly.image, assembly.choice, assembly.distractor))
        image, choice, distractor = trials
        return behavior.Trials(at[image], choice, distractor, assembly.truth[index], assembly.classes)

    def ceiling(self, assembly: Any, kind: CeilingKind) -> float:
        """√ of the mean correlation between halves: what a perfect model reaches against one half.

        Scores are ceiled halving by halving (`behavior.ceiled_behavior`), which differs in the third digit at most.
        """
        reliability = float(np.mean(behavior.behavior_ceilings(behavior.human_halves(assembly, self.kind))))
        return float(np.sqrt(max(reliability, 0.0)))

    def evaluate(self, rep: Representation, assemblies: Sequence[Any], strata: Strata) -> list[Evaluation]:
        if rep.features is None:
            raise StudyError(
                f"behavior: a readout of {rep.n_features:,} features is not fitted; give a layer of at most "
                "4,096 features, or reduce it (scoring.reduction)"
            )
        return [self._evaluate(rep.features, trials) for trials in assemblies]

    def _evaluate(self, features: Array, trials: behavior.Trials) -> Evaluation:
        """As published: fitted on the images that are then shown."""
        p = behavior.readout_probabilities(features, trials.truth, features)
        model = behavior.signature(behavior.model_responses(p, trials.truth), trials.truth, self.kind)
        halves = behavior.human_halves(trials, self.kind)
        r = behavior.behavior_correlations(model, halves)
        ceiled, _ = behavior.ceiled_behavior(r, behavior.behavior_ceilings(halves))
        return PlainEvaluation(float(r.mean()), of_splits=float(r.std()), by_split=ceiled)


@dataclass(frozen=True)
class SpatialMetric:
    """Assemblies (n_stimuli, G, G, n_neuroids) of maps; see `spatial_score`. The ceiling is over their neuroids."""

    needs: ClassVar[Needs] = "maps"
    min_stimuli: ClassVar[int] = MIN_IMAGES

    def check(self, assembly: Any, n_stimuli: int) -> str | None:
        if np.ndim(assembly) != 4 or 0 in assembly.shape or assembly.shape[0] != n_stimuli:
            return f"of shape {np.shape(assembly)}; give ({n_stimuli} stimuli, rows, columns, neuroids)"
        if assembly.shape[1] != assembly.shape[2] or not np.isfinite(assembly).all():
            return f"of {assembly.shape[1]} × {assembly.shape[2]} locations; give finite maps, as wide as they are high"
        return None

    def n_repetitions(self, assembly: Any) -> int:
        return int(assembly.shape[3])

    def n_neuroids(self, assembly: Any) -> int | None:
        return int(assembly.shape[3])

    def take(self, assembly: Any, index: Index) -> Any:
        return assembly[index]

    def ceiling(self, assembly: Any, kind: CeilingKind) -> float:
        return map_ceiling(assembly)

    def evaluate(self, rep: Any, assemblies: Sequence[Any], strata: Strata) -> list[FoldEvaluation]:
        """25 components, as published, or as many as the layer has channels."""
        n_components = min(N_COMPONENTS, np.shape(rep)[-1])
        return [FoldEvaluation(spatial_score(rep, maps, n_components).folds) for maps in assemblies]


@dataclass(frozen=True)
class SaliencyMetric:
    """Assemblies (n_stimuli, height, width) of human importance maps; see `human_alignment`.

    The ceiling is the published one between people, which a map averaged over them cannot give.
    """

    reduction: ChannelReduction
    needs: ClassVar[Needs] = "saliency"
    min_stimuli: ClassVar[int] = 2

    def check(self, assembly: Any, n_stimuli: int) -> str | None:
        if np.ndim(assembly) != 3 or 0 in assembly.shape or len(assembly) != n_stimuli:
            return f"of shape {np.shape(assembly)}; give ({n_stimuli} stimuli, height, width)"
        flat = ~(np.isfinite(assembly).all(axis=(1, 2)) & (np.ptp(assembly, axis=(1, 2)) > 0))
        return f"with {int(flat.sum()):,} maps that are flat or not finite; drop those stimuli" if flat.any() else None

    def n_repetitions(self, assembly: Any) -> int:
        return 2  # the people behind the published ceiling

    def n_neuroids(self, assembly: Any) -> int | None:
        return None

    def take(self, assembly: Any, index: Index) -> Any:
        return assembly[index]

    def ceiling(self, assembly: Any, kind: CeilingKind) -> float:
        return HUMAN_CEILING

    def evaluate(self, rep: Any, assemblies: Sequence[Any], strata: Strata) -> list[FoldEvaluation]:
        saliency = reduce_channels(rep, self.reduction)
        return [FoldEvaluation(human_alignment(saliency, maps, 1.0).correlations) for maps in assemblies]


def mean_response(assembly: Any) -> Array:
    """Mean over the repetitions that there are: (n_stimuli, n_neuroids) float64."""
    if not np.isnan(assembly).any():
        return np.asarray(assembly.mean(axis=0, dtype=np.float64))
    return np.asarray(np.nanmean(assembly, axis=0, dtype=np.float64))


METRICS: dict[str, Metric] = {
    "pls": NeuroidMetric(up_to_25, published_splits),
    "ridge": NeuroidMetric(ridge_cv_predictions, whole_folds, by_column=True),
    "cka": NeuroidMetric(None, whole_folds),
    "rsa": RDMMetric("spearman"),
    "rsa-subjects": SubjectRDMMetric("spearman"),
    **{f"rsa-{kind}": RDMMetric(kind) for kind in get_args(RsaKind) if kind != "spearman"},
    **{kind: TrialMetric(kind) for kind in get_args(behavior.SignatureKind)},
    **CHOICE_METRICS,
    "odd-one-out": OddOneOutMetric(),
    "spatial": SpatialMetric(),
    **{f"saliency-{kind}": SaliencyMetric(kind) for kind in get_args(ChannelReduction)},
    "ridge_split": SubjectMetric(ridge_of_all_units(np.array([1.0]), relative=False)),  # Brain-Score's
    "ridgecv_split": SubjectMetric(ridge_of_all_units(BRAIN_SCORE_ALPHAS, relative=False)),
    "ridgecv_split_eeg": SubjectMetric(ridge_of_all_units(EEG_ALPHAS, relative=False)),
    "ridge_units": SubjectMetric(ridge_of_all_units(ALPHAS, relative=True)),
    "pls_split": SubjectMetric(pls_of_all_units),
    "procrustes": NeuroidMetric(None, whole_folds, compare=procrustes_similarity),
    "reverse-pls": NeuroidMetric(None, whole_folds, compare=reverse_by_pls),
}
