"""Download public data sets with checksums: `scaling fetch NAME`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pooch

from scaling.data import kriegeskorte
from scaling.errors import StudyError, known_names

DATA_DIR_VARIABLE = "SCALING_DATA_DIR"


@dataclass(frozen=True)
class Dataset:
    """Where a data set's files are published, and their SHA-256.

    Attributes:
        base_url: folder of the originals. sha256: file name → hexadecimal digest. source: for people.
    """

    base_url: str
    sha256: dict[str, str]
    source: str


DATASETS: dict[str, Dataset] = {
    kriegeskorte.NAME: Dataset(
        base_url="https://raw.githubusercontent.com/rsagroup/rsatoolbox/main/demos/92imageData/",
        sha256={
            kriegeskorte.STIMULI_FILE: "06f21214399a5d43dc264eed19a7f4b8daf11c8622a59eec3e106064ce5e3504",
            kriegeskorte.BRAIN_FILE: "1743f90a15e895798a94318649e80e1123a7e5943a1703fa1dd7c31ea5780b7c",
            kriegeskorte.JUDGMENTS_FILE: "7a8e118c144c3840adeeeef6ea0706a0be2b3e80df719af15fbb56fc62562f5f",
        },
        source="rsagroup/rsatoolbox, demos/92imageData (MIT); Kriegeskorte et al. 2008, Mur et al. 2013",
    ),
}


def default_data_dir() -> Path:
    """The environment's SCALING_DATA_DIR, else the user's cache folder of this project."""
    given = os.environ.get(DATA_DIR_VARIABLE)
    return Path(given).expanduser() if given else Path(pooch.os_cache("ventral-scaling"))


def fetch(name: str, data_dir: Path | None = None, base_url: str | None = None, progress: bool = True) -> list[Path]:
    """Download a data set's files to `data_dir/name`; files that are there with the right hash stay.

    A file appears under its name only when complete and its SHA-256 is right; a file that is there with another hash
    is replaced only then.

    Args:
        name: key of DATASETS. data_dir: default `default_data_dir()`. base_url: a mirror of the originals' folder.
        progress: show a bar a file.

    Returns:
        The files, in the order of DATASETS.

    Raises:
        StudyError: unknown name, a folder that cannot be written, a failed download, a wrong hash.
    """
    if name not in DATASETS:
        raise StudyError(f"data set {name!r} is unknown to fetch; {known_names(name, DATASETS)}")
    dataset = DATASETS[name]
    folder = (default_data_dir() if data_dir is None else Path(data_dir)) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"fetch {name}: cannot write {folder}: {error}; give another --data-dir") from error
    base = (base_url or dataset.base_url).rstrip("/") + "/"
    return [_fetch_file(base + file, folder / file, sha256, progress) for file, sha256 in dataset.sha256.items()]


def _fetch_file(url: str, path: Path, sha256: str, progress: bool) -> Path:
    """pooch downloads beside `path`, and moves the file there once its hash is right."""
    try:
        pooch.retrieve(url, f"sha256:{sha256}", fname=path.name, path=path.parent, progressbar=progress)
    except OSError as error:  # requests' errors are OSErrors (some also ValueErrors), and so are full disks
        raise StudyError(
            f"fetch: downloading {url} to {path} failed: {error}; check the connection and the folder, then try again"
        ) from error
    except ValueError as error:  # pooch's own: a wrong hash, or an address of no known kind
        raise StudyError(
            f"fetch: {url} was refused and nothing kept: {error} Try again, or give another address as base URL"
        ) from error
    return path
