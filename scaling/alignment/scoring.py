"""How a study has its checkpoints scored: from its settings to what scores one, all files read on the driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scaling.alignment.commitment import Commitment, read_commitment
from scaling.alignment.features.cache import RepresentationCache
from scaling.alignment.features.passes import FeatureBudget
from scaling.alignment.features.reduction import PrincipalComponents, Reduction, SparseProjection
from scaling.alignment.pooled import AnyBenchmark
from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError
from scaling.place import is_uri, shown
from scaling.specs.scoring import ScoringSpec

FIT_IMAGES = 2  # images a principal component that it is fitted on; assumption


@dataclass(frozen=True)
class ScoringOptions:
    """How representations are made and layers chosen; see `specs.scoring.ScoringSpec`.

    Maps of layers are never reduced or cached, but bounded by the budget's memory; so are gradients of the input.
    """

    commitment: Commitment = field(default_factory=Commitment)
    budget: FeatureBudget = field(default_factory=FeatureBudget)
    reduction: Reduction = field(default_factory=Reduction)
    cache: RepresentationCache | None = None
    resamples: int = 200
    progress: Callable[[str, int, int], None] | None = None


def scoring_options(spec: ScoringSpec, others: Callable[[int], Stimuli]) -> ScoringOptions:
    """Options of the scoring pool. others: at most so many images that are not scored, for principal components.

    Raises:
        StudyError: an unreadable commitment file, too few images for principal components, a cache that is a URI.
    """
    reduction = Reduction()
    if spec.reduction == "random_projection":
        reduction = SparseProjection(spec.components)
    elif spec.reduction == "pca":
        reduction = PrincipalComponents(others(FIT_IMAGES * spec.components), spec.components)
    return ScoringOptions(
        commitment=read_commitment(spec.commitment),
        budget=FeatureBudget(memory_gb=spec.memory_gb, spill_gb=spec.spill_gb),
        reduction=reduction,
        cache=None if spec.cache is None else _cache(spec.cache),
        resamples=spec.resamples,
    )


def _cache(folder: str) -> RepresentationCache:
    if is_uri(folder):
        raise StudyError(
            f"scoring.cache='{shown(folder)}' is a URI; give a folder on the nodes' own disks, or leave it out"
        )
    return RepresentationCache(folder)


def with_convention(benchmarks: Sequence[AnyBenchmark], spec: ScoringSpec) -> list[AnyBenchmark]:
    """The benchmarks, ceiled as the study says."""
    return [b if spec.ceiled is None else b.with_convention(spec.ceiled) for b in benchmarks]
