"""Cichy, Pantazis & Oliva (2014): fMRI RDMs of early visual cortex and IT in 15 people, for the 92 object images.

As the Algonauts challenge 2019 distributes them (GitHub dnn-hvs/Algonauts-Challange, Testing/92/target_fmri.mat); the
images are those of Kriegeskorte et al. (2008), in their order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scaling.data.recordings.folder import DataFolder
from scaling.data.recordings.kriegeskorte import N_STIMULI
from scaling.errors import StudyError

NAME = "cichy2014"
FILES = DataFolder(NAME, "cichy2014_92", "GitHub dnn-hvs/Algonauts-Challange, Testing/92/target_fmri.mat")
N_SUBJECTS = 15
FIELDS = {"EVC": "EVC_RDMs", "IT": "IT_RDMs"}  # region → variable


def read_cichy(data_dir: Path | None) -> dict[str, NDArray[np.float64]]:
    """Region → (15, 92, 92) RDMs, 1 − Pearson r.

    Raises:
        StudyError: no data directory; a file that is missing, damaged or of another shape.
    """
    path, found = FILES.path(data_dir, "target_fmri.mat"), {}
    with FILES.hdf5(path) as file:
        for region, field in FIELDS.items():
            rdms = FILES.shaped(path, np.transpose(file[field][()]), (N_SUBJECTS, N_STIMULI, N_STIMULI))
            if not np.isfinite(rdms).all() or not np.allclose(rdms, rdms.swapaxes(1, 2), atol=1e-6):
                raise StudyError(f"{NAME}: {path}: {field} is not finite or not symmetric; {FILES.remedy}")
            found[region] = rdms.astype(np.float64)
    return found
