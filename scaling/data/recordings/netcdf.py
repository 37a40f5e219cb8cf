"""NetCDF files of recordings: opened lazily, their coordinates restored, their values read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling.errors import StudyError
from scaling.foreign import what_else

if TYPE_CHECKING:
    import xarray as xr

PRESENTATION, NEUROID, TIME = "presentation", "neuroid", "time_bin"

NETCDF3, CDF5 = (b"CDF\x01", b"CDF\x02"), b"CDF\x05"  # how these files begin

BLOCK_BYTES = 2**25  # read at a time: 32 MiB
_MAX_CHUNK_BYTES = 2**28  # a compressed chunk is read whole, so a block may grow to one


class Slab(NamedTuple):
    """Values of some presentations and neuroids, averaged over the time bins: (n_presentations, n_neuroids)."""

    presentations: slice
    neuroids: slice
    values: NDArray[np.floating]


@contextmanager
def open_array(path: Path, remedy: str) -> Iterator[xr.DataArray]:
    """The one data variable of a NetCDF4 file; its values stay on disk until they are asked for (NetCDF3: in memory).

    Args:
        remedy: the end of every message, e.g. 'run `scaling fetch NAME`'.

    Raises:
        StudyError: a file that is missing, truncated or no NetCDF4, not exactly one data variable; damage found while
            it is read.
    """
    with open_file(path, remedy) as dataset:
        if len(dataset.data_vars) != 1:
            names = ", ".join(map(str, dataset.data_vars)) or "none"
            raise StudyError(f"{path} has {len(dataset.data_vars)} data variables ({names}), expected one; {remedy}")
        yield next(iter(dataset.data_vars.values()))


@contextmanager
def open_file(path: Path, remedy: str) -> Iterator[xr.Dataset]:
    """All variables of a NetCDF4 or NetCDF3 file; as `open_array`."""
    import xarray as xr  # with pandas nearly a second of processor time, which only readers need

    path = Path(path)
    if not path.is_file():
        raise StudyError(f"{path} does not exist; {remedy}")
    damaged = f"{path} ({path.stat().st_size:,} bytes) is no whole NetCDF4 or NetCDF3 file"
    engine, options = _engine(path)
    try:
        dataset = xr.open_dataset(
            path, engine=engine, cache=False, decode_times=False, decode_timedelta=False, decode_coords=True, **options
        )
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError) as error:  # each of damaged files
        what = what_else(path)
        raise StudyError(f"{damaged}: {f'it is {what}' if what else error}; {remedy}") from error
    with dataset:
        try:
            yield dataset
        except (OSError, RuntimeError) as error:
            raise StudyError(f"{damaged}: {error}; {remedy}") from error


def _engine(path: Path) -> tuple[Literal["h5netcdf", "scipy"], dict[str, Any]]:
    """What reads a file, by its first bytes, and its options: NetCDF3 is what xarray writes where netCDF4 is missing.

    Raises:
        StudyError: NetCDF3 of 64-bit data, which SciPy does not read.
    """
    with path.open("rb") as file:
        head = file.read(4)
    if head == CDF5:
        raise StudyError(f"{path} is NetCDF3 of 64-bit data (CDF-5), which is not read; convert it by `nccopy -k nc4`")
    return ("scipy", {"backend_kwargs": {"mmap": False}}) if head in NETCDF3 else ("h5netcdf", {})


def coordinates(array: xr.DataArray, dimension: str) -> dict[str, NDArray[Any]]:
    """Coordinates along one dimension, in the order of the file.

    MultiIndexes are stored as plain coordinates, one a level, and a coordinate named like its dimension has a
    trailing `_`, which is taken off. Bytes become text.
    """
    import pandas as pd

    found: dict[str, NDArray[Any]] = {}
    for name, values in array.coords.items():
        is_multi_index = name == dimension and isinstance(array.indexes.get(dimension), pd.MultiIndex)
        if values.dims == (dimension,) and not is_multi_index:
            found[dimension if name == f"{dimension}_" else str(name)] = _decoded(values.values)
    return found


def check_array_dimensions(array: xr.DataArray) -> None:
    """Refuse arrays that are not presentation × neuroid [× time_bin] of numbers."""
    if {PRESENTATION, NEUROID} - set(array.dims) or set(array.dims) - {PRESENTATION, NEUROID, TIME}:
        raise StudyError(
            f"assembly of dimensions {', '.join(map(str, array.dims))}; needs {PRESENTATION}, {NEUROID} and at most "
            f"{TIME}"
        )
    if array.dtype.kind not in "iufb":
        raise StudyError(f"assembly of {array.dtype} values; needs numbers")


def blocks(array: xr.DataArray, bins: slice | None) -> Iterator[Slab]:
    """All presentations × neuroids, in blocks along the array's first such dimension and of about BLOCK_BYTES.

    Averages over the time bins leave NaN out, are taken in float64, and are NaN where every bin is.

    Args:
        array: presentation, neuroid and perhaps time_bin, in any order. bins: the time bins to average over.

    Raises:
        StudyError: as `check_array_dimensions`.
    """
    check_array_dimensions(array)
    if bins is not None:
        array = array.isel({TIME: bins})
    axis = next(str(dimension) for dimension in array.dims if dimension != TIME)
    whole = {PRESENTATION: slice(0, array.sizes[PRESENTATION]), NEUROID: slice(0, array.sizes[NEUROID])}
    order = [array.dims.index(d) for d in (PRESENTATION, NEUROID, TIME) if d in array.dims]
    rows = _block_rows(array, axis)
    for start in range(0, array.sizes[axis], rows):
        part = whole | {axis: slice(start, min(start + rows, array.sizes[axis]))}
        values = array.isel({axis: part[axis]}).values.transpose(order)  # after reading: a lazy one is slow
        yield Slab(part[PRESENTATION], part[NEUROID], values if values.ndim == 2 else _mean_over_bins(values))


def _block_rows(array: xr.DataArray, axis: str) -> int:
    """Rows of a block: about BLOCK_BYTES, and whole chunks of the file while those are not too large."""
    row_bytes = max(1, array.dtype.itemsize * array.size // max(1, array.sizes[axis]))
    rows = max(1, BLOCK_BYTES // row_bytes)
    sizes = array.encoding.get("chunksizes")
    chunk = sizes[array.dims.index(axis)] if sizes and len(sizes) == array.ndim else 1
    return max(chunk, rows // chunk * chunk) if chunk * row_bytes <= _MAX_CHUNK_BYTES else rows


def _mean_over_bins(values: NDArray[Any]) -> NDArray[np.floating]:
    if values.shape[-1] == 1:
        return values[..., 0]
    missing = np.isnan(values)
    if not missing.any():
        return values.mean(axis=-1, dtype=np.float64)
    n_bins = values.shape[-1] - np.count_nonzero(missing, axis=-1)
    total = np.sum(values, axis=-1, dtype=np.float64, where=~missing)
    return np.divide(total, n_bins, out=np.full(total.shape, np.nan), where=n_bins > 0)


def _decoded(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8")
    if values.dtype.kind == "O":
        return np.array([v.decode() if isinstance(v, bytes) else v for v in values], dtype=object)
    return values
