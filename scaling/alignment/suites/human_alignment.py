"""Suite human-alignment: does a model's saliency rank pixels as people do? On a study's held-out images with maps.

Simulated maps have a suite of their own, simulated-human-alignment: what is simulated shows in every score's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.metrics.saliency import REDUCTIONS
from scaling.alignment.regions import SALIENCY
from scaling.data.image_set import has_map
from scaling.data.recordings.stimuli import MAX_HELDOUT_STIMULI, Stimuli, choose_balanced, select_stimuli
from scaling.errors import StudyError

if TYPE_CHECKING:
    from scaling.data.image_set import ImageSet

SIMULATED = "simulated"  # in the name of every data set whose maps are
SUITE, SIMULATED_SUITE = "human-alignment", f"{SIMULATED}-human-alignment"

__all__ = ["REDUCTIONS", "SIMULATED_SUITE", "SUITE", "MappedStimuli", "build_human", "select_mapped"]


@dataclass(frozen=True, eq=False)
class MappedStimuli:
    """Images and their importance maps (n, height, width), none of them flat. simulated: nobody made these maps."""

    stimuli: Stimuli
    maps: NDArray[np.floating]
    simulated: bool


def select_mapped(heldout: ImageSet, dataset: str, n: int = MAX_HELDOUT_STIMULI) -> MappedStimuli | None:
    """At most n of the images that have a map, the same number of each class (± 1); None: no image has one.

    A flat map has nothing to rank: such images are left out of those chosen.
    """
    if heldout.maps is None:
        return None
    mapped = np.flatnonzero(has_map(heldout.maps, np.arange(len(heldout))))
    chosen = mapped[choose_balanced(heldout.labels[mapped], n)]
    maps = np.asarray(heldout.maps[chosen])
    varied = np.array([np.ptp(one) > 0 for one in maps], dtype=bool)
    chosen, maps = chosen[varied], maps[varied]
    if not chosen.size:
        return None
    name = f"{dataset} held-out, with maps"
    stimuli = select_stimuli(heldout.images[chosen], heldout.labels[chosen], len(chosen), name=name)
    return MappedStimuli(stimuli, maps, SIMULATED in dataset)


def build_human(suite: str, heldout: Stimuli, mapped: MappedStimuli | None) -> list[Benchmark]:
    """One benchmark for each way to reduce the gradient's channels, by `saliency.human_alignment`.

    score = mean Spearman's rho over 0.65753, ClickMe's ceiling between people; simulated maps have no ceiling.

    Raises:
        StudyError: no maps; maps that are simulated, or are not, as the suite's name says.

    Source: Fel et al. (2022), arXiv 2211.04533.
    """
    if mapped is None:
        raise StudyError(
            f"benchmark {suite} needs importance maps of held-out images whose classes the model was trained on, and "
            f"there are none ({heldout.name}); pick a dataset with maps, such as simulated-clickme, or drop it"
        )
    right = SIMULATED_SUITE if mapped.simulated else SUITE
    if suite != right:
        raise StudyError(
            f"benchmark {suite}: the maps of {mapped.stimuli.name!r} are {'' if mapped.simulated else 'not '}"
            f"simulated; name {right}"
        )
    ceiling = "none" if mapped.simulated else "published"
    return [
        Benchmark(f"{suite}.{kind}", SALIENCY, f"saliency-{kind}", mapped.stimuli, mapped.maps, ceiling)  # type: ignore[arg-type]
        for kind in REDUCTIONS
    ]
