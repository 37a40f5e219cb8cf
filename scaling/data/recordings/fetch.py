"""Download public data sets with checksums, resuming what broke off: `scaling fetch NAME`."""

from __future__ import annotations

import http.client
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pooch
from tqdm import tqdm  # type: ignore[import-untyped]

from scaling.data.recordings import catalogue, kriegeskorte
from scaling.errors import StudyError, known_names

DATA_DIR_VARIABLE = "SCALING_DATA_DIR"

TIMEOUT_S = 60  # without a byte from the server
_READ_BYTES = 2**20
_PARTIAL, _RANGE_BEYOND_END = 206, 416  # HTTP status


@dataclass(frozen=True)
class Dataset:
    """Where a data set's files are published, and the hashes that they are published with.

    Attributes:
        base_url: folder of the originals. sha256, sha1: file name → hexadecimal digest. source: for people.
    """

    base_url: str
    sha256: Mapping[str, str]
    source: str
    sha1: Mapping[str, str] = field(default_factory=dict)

    def hashes(self) -> dict[str, str]:
        """File name → 'algorithm:digest'."""
        named = {"sha256": self.sha256, "sha1": self.sha1}
        return {file: f"{name}:{digest}" for name, files in named.items() for file, digest in files.items()}


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
} | {
    name: Dataset(catalogue.BASE_URL, {}, f"Brain-Score, public half; {files.selection.source}", files.sha1s())
    for name, files in catalogue.PUBLISHED.items()
}


def default_data_dir() -> Path:
    """The environment's SCALING_DATA_DIR, else the user's cache folder of this project."""
    given = os.environ.get(DATA_DIR_VARIABLE)
    return Path(given).expanduser() if given else Path(pooch.os_cache("ventral-scaling"))


def fetch(name: str, data_dir: Path | None = None, base_url: str | None = None, progress: bool = True) -> list[Path]:
    """Download a data set's files to `data_dir/name`; files that are there with the right hash stay.

    A file appears under its name only when complete and its hash is right; a file that is there with another hash is
    replaced only then. A download that breaks off leaves FILE.part, from which the next call goes on.

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
    return [
        _fetch_file(base + file, folder / file, known_hash, progress) for file, known_hash in dataset.hashes().items()
    ]


def _fetch_file(url: str, path: Path, known_hash: str, progress: bool) -> Path:
    """pooch asks for the file at a temporary place beside `path`, and moves it there once its hash is right."""

    def download(url: str, output_file: str, _: object) -> None:
        part = path.with_name(path.name + ".part")
        _resume(url, part, progress)
        part.replace(output_file)

    try:
        pooch.retrieve(url, known_hash, fname=path.name, path=path.parent, downloader=download)
    except (OSError, http.client.HTTPException) as error:  # urllib's errors are OSErrors, and so are full disks
        raise StudyError(
            f"fetch: downloading {url} to {path} failed: {error}; check the connection and the folder, then try again: "
            "it goes on where it stopped"
        ) from error
    except ValueError as error:  # pooch's, a wrong hash, or ours, an address of no known kind
        raise StudyError(
            f"fetch: {url} was refused and nothing kept: {error} Try again, or give another address as base URL"
        ) from error
    return path


def _resume(url: str, part: Path, progress: bool) -> None:
    """Complete `part` from the server: from its end where the server can, else anew.

    Raises:
        OSError: no connection, an HTTP error, a body that ends early; what came so far stays in `part`.
        ValueError: an address that is not HTTP.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url!r} is no http or https address.")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except HTTPError as error:
        error.close()
        if error.code != _RANGE_BEYOND_END or not have:
            raise
        if error.headers.get("Content-Range") != f"bytes */{have}":  # else all of it is there already
            part.unlink()
            _resume(url, part, progress)
        return
    with response:
        goes_on = response.status == _PARTIAL and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        _append(response, part, have if goes_on else 0, progress)


def _append(response: http.client.HTTPResponse, part: Path, have: int, progress: bool) -> None:
    """Write the body behind the first `have` bytes of `part`."""
    length = response.headers.get("Content-Length")
    total = have + int(length) if length is not None else None
    bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=not progress)
    with bar, part.open("r+b" if have else "wb") as file:
        file.seek(have)
        while chunk := response.read(_READ_BYTES):
            file.write(chunk)
            bar.update(len(chunk))
        size = file.tell()
    if total is not None and size < total:
        raise OSError(f"the connection closed after {size:,} of {total:,} bytes")
