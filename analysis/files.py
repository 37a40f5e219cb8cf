"""Tables from files of the user's own: CSV and its kin, packed or not, and Parquet, read plainly.

A file is told by what it holds as much as by its name: what is no table is refused with what it is.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from analysis.delimited import parse

TEXT, PACKED, PARQUET = (".csv", ".tsv", ".txt"), (".gz", ".bz2", ".xz", ".zip"), (".parquet", ".pq")
TAKEN = f"CSV ({', '.join(TEXT)}; also packed: {', '.join(PACKED)}) or Parquet ({', '.join(PARQUET)})"

MAGIC_PARQUET = b"PAR1"
UNPACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
    b"PK\x03\x04": lambda content: _only_member(content),
}
NOT_TABLES = {
    MAGIC_PARQUET: "it is Parquet; give it a name that ends in .parquet",
    b"\xd0\xcf\x11\xe0": "it is an Excel workbook; save the sheet as CSV",
    b"\x28\xb5\x2f\xfd": "it is packed by zstd; unpack it",
    b"version https://git-lfs": "it is a Git LFS pointer and not the file itself; run `git lfs pull`",
    b"<!doctype html": "it is a web page, perhaps an error's; download the file itself",
    b"<html": "it is a web page, perhaps an error's; download the file itself",
}


def is_text(name: str) -> bool:
    """Whether a file's name says CSV or its kin, in any case, packed or not."""
    plain = name.lower()
    packed = next((suffix for suffix in PACKED if plain.endswith(suffix)), "")
    return plain.removesuffix(packed).endswith(TEXT)


def is_parquet(name: str) -> bool:
    """Whether a file's name says Parquet, in any case."""
    return name.lower().endswith(PARQUET)


def read_csv(path: str | Path) -> pd.DataFrame:
    """Rows of text as a frame: CSV, tabs, semicolons, bars or blanks; what is none is refused.

    Packed files are unpacked, and text is UTF-8, or UTF-16 with its mark; see `delimited.parse` for the rest.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no table at {path}; give the path of a CSV file")
    try:
        text = _decoded(_unpacked(Path(path).read_bytes()))
        return parse(text, tabs=".tsv" in str(path).lower())
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path} is not a CSV: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not a CSV that can be read: {error}") from error


def _unpacked(content: bytes) -> bytes:
    """The bytes of the table itself."""
    unpack = next((unpack for magic, unpack in UNPACKERS.items() if content.startswith(magic)), None)
    if unpack is not None:
        try:
            content = unpack(content)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            raise ValueError(f"it is packed, and damaged or cut short ({error}); pack or fetch it again") from error
    start = content.lstrip()[:100].lower()
    for magic, what in NOT_TABLES.items():
        if content.startswith(magic) or start.startswith(magic):
            raise ValueError(what)
    return content


def _only_member(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]
        if any(name.startswith("xl/") for name in names):
            raise ValueError("it is an Excel workbook; save the sheet as CSV")
        if len(names) != 1:
            raise ValueError(f"it is a zip of {len(names)} files ({', '.join(names[:3])}, …); give one of them")
        return archive.read(names[0])


def _decoded(content: bytes) -> str:
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text ({error}); save it as UTF-8") from error
    if "\0" in text:
        raise ValueError("it holds zero bytes, as no text does")
    return text


def read_parquet(path: str | Path) -> pd.DataFrame:
    """A Parquet file, or a folder of alike ones, as a frame; local or a URI that pyarrow knows."""
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no Parquet file or folder at {path}") from error
    except (ValueError, OSError) as error:  # Arrow raises either on damage
        raise ValueError(f"{path} is not Parquet: {error}") from error
