"""How a study has its checkpoints scored: from its settings to what scores one, all files read on the driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scaling.alignment.commitment import Commitment, read_commitment
from scaling.alignment.features.cache import RepresentationCache
from scaling.alignment.features.kept_images import KeptImages
from scaling.alignment.features.passes import FeatureBudget
from scaling.alignment.features.reduction import PrincipalComponents, Reduction, SparseProjection
from scaling.alignment.metrics.mapping_sizes import MappingSizes
from scaling.alignment.pooled import AnyBenchmark, PooledBenchmark
from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError
from scaling.place import is_uri, shown
from scaling.specs.scoring import MappingSpec, ScoringSpec

FIT_IMAGES = 2  # images a principal component that it is fitted on; assumption


@dataclass(frozen=True)
class ScoringOptions:
    """How representations are made and layers chosen; see `specs.scoring.ScoringSpec`.

    kept: prepared images, for as long as these options are, which is a scoring actor's life.
    on_layer: hears of each stimulus set's name, each layer and its Representation, once, before it is scored.

    Maps of layers are never reduced or cached, but bounded by the budget's memory; so are gradients of the input.
    """

    commitment: Commitment = field(default_factory=Commitment)
    budget: FeatureBudget = field(default_factory=FeatureBudget)
    reduction: Reduction = field(default_factory=Reduction)
    cache: RepresentationCache | None = None
    resamples: int = 200
    progress: Callable[[str, int, int], None] | None = None
    on_layer: Callable[[str, str, Any], None] | None = None
    kept: KeptImages = field(default_factory=KeptImages)


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


def with_mapping(benchmarks: Sequence[AnyBenchmark], mapping: MappingSpec | None) -> list[AnyBenchmark]:
    """The benchmarks, those of subjects' units with a curve over the stimuli that the mapping is fitted on.

    Raises:
        StudyError: more stimuli than there are to fit; no benchmark that has units by subject.
    """
    if mapping is None:
        return list(benchmarks)
    sizes = MappingSizes(mapping.samples, mapping.seeds)
    found = [b.with_sizes(sizes) if isinstance(b, PooledBenchmark) else b for b in benchmarks]
    if not any(isinstance(b, PooledBenchmark) for b in found):
        names = ", ".join(b.name for b in benchmarks)
        raise StudyError(
            f"scoring.mapping asks for fewer stimuli, and none of the benchmarks knows its units by subject ({names}); "
            "add one such as cowley2023, or leave it out"
        )
    return found


def with_convention(benchmarks: Sequence[AnyBenchmark], spec: ScoringSpec) -> list[AnyBenchmark]:
    """The benchmarks, ceiled as the study says, and with the mapping sizes that it asks for; as `with_mapping`."""
    ceiled = [b if spec.ceiled is None else b.with_convention(spec.ceiled) for b in benchmarks]
    return with_mapping(ceiled, spec.mapping)
