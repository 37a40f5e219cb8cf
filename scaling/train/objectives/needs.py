"""What an objective needs of the images, checked on the driver before anything starts. Imports no torch."""

from __future__ import annotations

import numpy as np

from scaling.data.image_set import ImageData, has_map
from scaling.errors import StudyError
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec


def check_maps(run: RunSpec, data: ImageData, subset: np.ndarray) -> None:
    """Refuse an objective that needs importance maps on images that have none.

    Args:
        subset: indices of the training images that the run sees.

    Raises:
        StudyError: none of them has a map.
    """
    options = objective_spec(run.objective)
    if options.needs_maps and (data.train.maps is None or not has_map(data.train.maps, subset).any()):
        raise StudyError(
            f"objective '{options.name}' needs importance maps and dataset '{data.name}' has none for the "
            f"{len(subset):,} images of {run.label()} (study, objective); pick a dataset with maps, or more images"
        )
