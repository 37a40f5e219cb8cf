"""What each suite is of, for `scaling benchmarks`; licences as the sources state them."""

from __future__ import annotations

from scaling.alignment.suites.human_alignment import SIMULATED_SUITE
from scaling.alignment.suites.human_alignment import SUITE as HUMAN_SUITE
from scaling.alignment.suites.simulated import SUITE
from scaling.alignment.suites.suite import About
from scaling.data.recordings import (
    brainscore,
    catalogue,
    cichy,
    cifar10h,
    cowley,
    geirhos,
    geirhos2021,
    hebart,
    henaff,
    kriegeskorte,
)
from scaling.data.recordings.folder import DataFolder

STUDYS_OWN = "the study's own held-out images"
NONE_STATED = "none stated"
FETCH = "scaling fetch {}"
BRAIN_SCORE = "Brain-Score (S3); the images are each user's own"


def _place(files: DataFolder) -> tuple[str, str]:
    return files.original, files.folder


ABOUT: dict[str, About] = {
    SUITE: About("simulated", STUDYS_OWN, "-", "made here"),
    HUMAN_SUITE: About("people's importance maps", f"{STUDYS_OWN}, those with maps", "the data set's", "the data set"),
    SIMULATED_SUITE: About("simulated", STUDYS_OWN, "-", "made here"),
    kriegeskorte.NAME: About(
        "2 macaques (one RDM), 4 people, 16 people", "92 objects", "MIT", FETCH.format(kriegeskorte.NAME),
        kriegeskorte.NAME,
    ),
    cichy.NAME: About("15 people, fMRI", "the 92 of kriegeskorte2008", NONE_STATED, *_place(cichy.FILES)),
    cowley.NAME: About(
        "3 macaques, 345 units", "6,240 photographs and objects", "GPL-3.0", cowley.ORIGINAL, cowley.FOLDER
    ),
    henaff.NAME: About("4 macaques, 360 units", "400 frames of 10 movies", NONE_STATED, *_place(henaff.FILES)),
    cifar10h.NAME: About(
        "about 51 people an image", "2,000 of CIFAR-10's test images", "CC BY-NC-SA 4.0", *_place(cifar10h.FILES)
    ),
    geirhos.NAME: About(
        "10 people an experiment", "160 edges, 160 silhouettes, 1,280 cue conflicts",
        "stimuli CC BY 4.0; trials none stated", *_place(geirhos.FILES),
    ),
    geirhos2021.NAME: About(
        "4 to 10 people a set", "17 sets: distorted, drawn, stylised", "code MIT; data see its licenses folder",
        *_place(geirhos2021.FILES),
    ),
    hebart.NAME: About(
        "people's odd one of three", "1,854 THINGS images, 453,642 triplets", NONE_STATED, *_place(hebart.FILES)
    ),
    catalogue.MAJAJHONG: About(
        "2 macaques, 256 units", "3,200 objects on backgrounds", NONE_STATED, FETCH.format(catalogue.MAJAJHONG),
        catalogue.MAJAJHONG,
    ),
    catalogue.FREEMANZIEMBA: About(
        "13 macaques, 205 units", "135 textures", NONE_STATED, FETCH.format(catalogue.FREEMANZIEMBA),
        catalogue.FREEMANZIEMBA,
    ),
    brainscore.RAJALINGHAM: About(
        "1,472 people", "2,160 objects on backgrounds", NONE_STATED, FETCH.format(brainscore.RAJALINGHAM),
        brainscore.RAJALINGHAM,
    ),
    "papale2025": About("2 macaques, 1,355 units", "22,348 THINGS images", NONE_STATED, BRAIN_SCORE, "papale2025"),
    "hebart2023_fmri": About("3 people, fMRI", "8,740 THINGS images", NONE_STATED, BRAIN_SCORE, "hebart2023_fmri"),
    "allen2022_fmri": About("8 people, fMRI", "515 NSD images", NONE_STATED, BRAIN_SCORE, "allen2022_fmri"),
    "gifford2022": About("10 people, EEG", "16,740 THINGS images", NONE_STATED, BRAIN_SCORE, "gifford2022"),
}  # fmt: skip
