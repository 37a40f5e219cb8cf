"""Suite hebart2023: people's odd one of three objects, by a model's readout layer."""

from __future__ import annotations

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.metrics.odd_one_out import Triplets
from scaling.alignment.suites.suite import Shown
from scaling.data.recordings import hebart

MATCH = "match"


def build_hebart(shown: Shown) -> list[Benchmark]:
    """How often a model finds the odd one that a person found, from chance (0) to how often people agree (1).

    Raises:
        StudyError: as `hebart.read_hebart`.

    Source: Hebart et al. (2023), eLife 12:e82580; brain-score/vision, Hebart2023-match.
    """
    found = hebart.read_hebart(shown.data_dir, shown.model_degrees)
    triplets = Triplets(found.triplets, hebart.AGREEMENT)
    name = f"{hebart.NAME}.{MATCH}"
    return [Benchmark(name, "behavior", "odd-one-out", found.stimuli, triplets, "published", readout_only=True)]
