"""Our own files of arrays: NetCDF4 (.nc) or NumPy (.npz), the same names in both, nothing pickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling.data.recordings.netcdf import open_file
from scaling.errors import StudyError
from scaling.foreign import what_else

SUFFIXES = (".nc", ".npz")


class Plain(NamedTuple):
    """What a file holds: name → array, and name → text or number."""

    variables: dict[str, NDArray[Any]]
    attributes: dict[str, Any]


Variables = Mapping[str, tuple[tuple[str, ...], NDArray[Any]]]


def write_plain(path: Path, variables: Variables, attributes: Mapping[str, str | float]) -> None:
    """Write arrays, name → (dimensions, values), and attributes; the file appears when it is complete.

    In an npz the attributes are arrays without dimensions.

    Raises:
        StudyError: another suffix than .nc and .npz, lengths along a dimension that differ, a folder that cannot be
            written.
    """
    import xarray as xr

    path = Path(path)
    _check_suffix(path)
    _check_lengths(path, variables)
    part = path.with_name(path.name + ".part")
    try:
        if path.suffix == ".nc":
            xr.Dataset(dict(variables), attrs=dict(attributes)).to_netcdf(part, engine="h5netcdf")
        else:
            with part.open("wb") as file:
                arrays: dict[str, Any] = {name: values for name, (_, values) in variables.items()}
                arrays |= {name: np.array(value) for name, value in attributes.items()}
                np.savez_compressed(file, **arrays)
        part.replace(path)
    except OSError as error:
        raise StudyError(f"cannot write {path}: {error}; give a path in a folder that can be written") from error


def read_plain(path: Path, dimensions: Mapping[str, tuple[str, ...]], required: tuple[str, ...]) -> Plain:
    """Read what `write_plain` wrote.

    Args:
        dimensions: variable → its dimensions; other names in the file are attributes, or left out. required: the
            variables and attributes that have to be there.

    Raises:
        StudyError: a file that is missing, damaged, pickled, or of another suffix; a name that is not there, lengths
            along a dimension that differ.
    """
    path = Path(path)
    _check_suffix(path)
    plain = _read_netcdf(path, dimensions) if path.suffix == ".nc" else _read_npz(path, dimensions)
    found = {**plain.variables, **plain.attributes}
    absent = [name for name in required if name not in found]
    if absent:
        raise StudyError(f"{path} has no {', '.join(absent)}; it has {', '.join(found) or 'nothing'}: add them")
    _check_lengths(path, {name: (dimensions[name], values) for name, values in plain.variables.items()})
    return plain


def read_some(path: Path, names: Collection[str]) -> tuple[frozenset[str], dict[str, Any]]:
    """Every name in a file, and the arrays or attributes of some names, where they are there; no other is read.

    Raises:
        StudyError: a file that is missing, damaged, pickled, or of another suffix.
    """
    path = Path(path)
    _check_suffix(path)
    if path.suffix == ".nc":
        with open_file(path, "write it again") as dataset:
            values = {str(name): value for name, value in dataset.attrs.items()}
            values |= {str(name): dataset[name].values for name in dataset.variables if name in names}
            return frozenset([*map(str, dataset.variables), *values]), {n: values[n] for n in names if n in values}
    with _open_npz(path) as file:
        arrays = {name: file[name] for name in names if name in file.files}
        return frozenset(file.files), {n: v if v.ndim else v.item() for n, v in arrays.items()}


def _read_netcdf(path: Path, dimensions: Mapping[str, tuple[str, ...]]) -> Plain:
    with open_file(path, "write it again") as dataset:
        for name, expected in dimensions.items():
            if name in dataset.variables and set(dataset[name].dims) != set(expected):
                raise StudyError(f"{path}: {name} has the dimensions {dataset[name].dims}; give {expected}")
        variables = {n: dataset[n].transpose(*d).values for n, d in dimensions.items() if n in dataset.variables}
        return Plain(variables, {str(name): value for name, value in dataset.attrs.items()})


def _read_npz(path: Path, dimensions: Mapping[str, tuple[str, ...]]) -> Plain:
    with _open_npz(path) as file:
        arrays = {name: file[name] for name in file.files}
    attributes = {name: values.item() for name, values in arrays.items() if values.ndim == 0}
    return Plain({name: arrays[name] for name in dimensions if name in arrays}, attributes)


@contextmanager
def _open_npz(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """An npz whose arrays are read when they are asked for; damage found then is said as damage found at once."""
    if not path.is_file():
        raise StudyError(f"{path} does not exist; write it again")
    damaged = f"{path} ({path.stat().st_size:,} bytes) is no whole npz of plain arrays"
    if not zipfile.is_zipfile(path):
        what = what_else(path)
        raise StudyError(f"{damaged}: {f'it is {what}' if what else 'not a zip'}; write it again")
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise StudyError(f"{damaged}: {error}; write it again") from error


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise StudyError(f"{path}: suffix {path.suffix or 'missing'}; name it {' or '.join(SUFFIXES)}")


def _check_lengths(path: Path, variables: Variables) -> None:
    lengths: dict[str, tuple[int, str]] = {}
    for name, (dimensions, values) in variables.items():
        if values.ndim != len(dimensions):
            raise StudyError(f"{path}: {name} of shape {values.shape}; give {' × '.join(dimensions)}")
        for dimension, length in zip(dimensions, values.shape, strict=True):
            first, by = lengths.setdefault(dimension, (length, name))
            if first != length:
                raise StudyError(f"{path}: {name} has {length} along {dimension}, {by} {first}; give one length")
