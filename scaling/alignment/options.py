"""From a study's scoring settings to what the scoring actors need, all files read on the driver."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scaling.alignment.benchmark import Benchmark, Commitment
from scaling.alignment.suites import own_files
from scaling.errors import StudyError
from scaling.study import ScoringSpec

if TYPE_CHECKING:
    from scaling.alignment.score import ScoringOptions
    from scaling.data.stimuli import Stimuli

FIT_IMAGES = 2  # images a principal component that it is fitted on; assumption


def read_commitment(value: str) -> Commitment:
    """'split', 'all', or a YAML file with benchmark or region → layer.

    Raises:
        StudyError: a file that is missing, no YAML, or no map of names to layers.
    """
    if value in ("split", "all"):
        return Commitment(value, {}, value)
    import yaml

    path = Path(value).expanduser()
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StudyError(
            f"commitment='{value}' is neither 'split' nor 'all' nor a readable YAML file ({error}); "
            "give a file with one 'benchmark or region: layer' a line"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(word, str) for pair in content.items() for word in pair):
        raise StudyError(f"commitment='{value}' holds no names; write one 'benchmark or region: layer' a line")
    return Commitment("split", content, f"fixed by {path.name}")


def scoring_protocol(spec: ScoringSpec, benchmarks: Sequence[str] = ()) -> str:
    """What a score depends on beside checkpoint and benchmark; scores of another protocol are computed anew.

    benchmarks: names as in the study file; the contents of own recordings (`file:PATH`) count.
    """
    commitment = read_commitment(spec.commitment)
    parts = [commitment.name, spec.ceiled or "own", spec.reduction, f"{spec.degrees:g} deg"]
    if commitment.layers:
        parts[0] += f" {_digest(json.dumps(sorted(commitment.layers.items())).encode())}"
    if spec.reduction != "none":
        parts[2] += f" {spec.components}"
    own = (f"{path.name} {_digest(path.read_bytes())}" for path in sorted(own_files(benchmarks)))
    return "; ".join([*parts, *own])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def scoring_options(spec: ScoringSpec, others: Callable[[int], Stimuli]) -> ScoringOptions:
    """Options of the scoring pool. others: at most so many images that are not scored, for principal components.

    Raises:
        StudyError: an unreadable commitment file, too few images for principal components.
    """
    from scaling.alignment.cache import RepresentationCache
    from scaling.alignment.features import FeatureBudget
    from scaling.alignment.projection import PrincipalComponents, Reduction, SparseProjection
    from scaling.alignment.score import ScoringOptions

    reduction = Reduction()
    if spec.reduction == "random_projection":
        reduction = SparseProjection(spec.components)
    elif spec.reduction == "pca":
        reduction = PrincipalComponents(others(FIT_IMAGES * spec.components), spec.components)
    return ScoringOptions(
        commitment=read_commitment(spec.commitment),
        budget=FeatureBudget(memory_gb=spec.memory_gb, spill_gb=spec.spill_gb),
        reduction=reduction,
        cache=None if spec.cache is None else RepresentationCache(Path(spec.cache).expanduser()),
        resamples=spec.resamples,
    )


def with_convention(benchmarks: Sequence[Benchmark], spec: ScoringSpec) -> list[Benchmark]:
    """The benchmarks, ceiled as the study says."""
    return [b if spec.ceiled is None else replace(b, ceiled=spec.ceiled) for b in benchmarks]
