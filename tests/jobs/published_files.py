"""Small files as Brain-Score publishes them: names, columns, coordinates and zips; every value is simulated."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from scaling.data.recordings.catalogue import FREEMANZIEMBA, MAJAJHONG, PUBLISHED, RAJALINGHAM

N_STIMULI, SIDE = 80, 32
OBJECTS = ("bear", "car", "face", "apple")
N_REPETITIONS = {MAJAJHONG: 6, FREEMANZIEMBA: 4}
REGIONS = {MAJAJHONG: ["V4"] * 4 + ["IT"] * 5, FREEMANZIEMBA: ["V1"] * 4 + ["V2"] * 5}
TIMES_MS = {MAJAJHONG: (70, 170, 100), FREEMANZIEMBA: (0, 300, 50)}  # first, last, width of a bin


def images(name: str, n_stimuli: int = N_STIMULI) -> np.ndarray:
    """Coarse coloured patterns, (n, 32, 32, 3) uint8."""
    rng = np.random.default_rng(list(name.encode()))
    return rng.integers(0, 256, (n_stimuli, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)


def stimulus_table(n_stimuli: int = N_STIMULI) -> pd.DataFrame:
    """The CSV; ids do not sort as the rows do."""
    rows = np.arange(n_stimuli)
    return pd.DataFrame(
        {
            "stimulus_id": [f"{37 * row % 101:03d}a" for row in rows],
            "object_name": [OBJECTS[row % 4] for row in rows],
            "texture_type": [("noise", "texture")[row % 2] for row in rows],
            "filename": [f"im{row}.png" for row in rows],
        }
    )


def write_stimuli(data_dir: Path, name: str, n_stimuli: int = N_STIMULI) -> Path:
    """CSV and zip of a data set; the path of its NetCDF file."""
    folder, published = data_dir / name, PUBLISHED[name]
    folder.mkdir(parents=True, exist_ok=True)
    stimulus_table(n_stimuli).to_csv(folder / published.table.name, index=False)
    with zipfile.ZipFile(folder / published.archive.name, "w") as archive:
        for row, pixels in enumerate(images(name, n_stimuli)):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            archive.writestr(f"im{row}.png", buffer.getvalue())
    return folder / published.assembly.name


def recording(name: str, n_stimuli: int = N_STIMULI) -> xr.DataArray:
    """neuroid × presentation × time_bin: a linear function of the image a neuroid, noise a presentation and bin."""
    rng = np.random.default_rng(2015)
    regions, n_repetitions = REGIONS[name], N_REPETITIONS[name]
    pixels = images(name, n_stimuli)[:, ::8, ::8].reshape(n_stimuli, -1) / 74 - 1.7
    drive = pixels @ rng.standard_normal((48, len(regions))) / 7
    order = rng.permutation(n_stimuli * n_repetitions)
    stimulus, repetition = order // n_repetitions, order % n_repetitions
    first, last, width = TIMES_MS[name]
    starts = np.arange(first, last, width)
    noise = rng.standard_normal((len(regions), len(order), len(starts)))
    return xr.DataArray(
        (drive[stimulus].T[:, :, None] + 0.8 * noise).astype(np.float32),
        dims=("neuroid", "presentation", "time_bin"),
        coords={
            "neuroid_id": ("neuroid", [f"n{i}" for i in range(len(regions))]),
            "region": ("neuroid", regions),
            "image_id": ("presentation", stimulus_table(n_stimuli)["stimulus_id"].to_numpy()[stimulus]),
            "repetition": ("presentation", repetition),
            "time_bin_start": ("time_bin", starts),
            "time_bin_end": ("time_bin", starts + width),
        },
        name="published.public",
    )


def trials(n_trials: int = 4000) -> xr.DataArray:
    """Choices of people who are right four times in five, and more often on some images than on others."""
    rng = np.random.default_rng(2018)
    table, stimulus = stimulus_table(), rng.integers(0, N_STIMULI, n_trials)
    sample = table["object_name"].to_numpy()[stimulus]
    distractor = np.array([rng.choice([o for o in OBJECTS if o != s]) for s in sample])
    right = rng.random(n_trials) < rng.uniform(0.6, 1.0, N_STIMULI)[stimulus]
    return xr.DataArray(
        np.where(right, sample, distractor).astype(object),
        dims=("presentation",),
        coords={
            "image_id": ("presentation", table["stimulus_id"].to_numpy()[stimulus]),
            "sample_obj": ("presentation", sample),
            "dist_obj": ("presentation", distractor),
        },
        name="published.public",
    )


def write_published(data_dir: Path, name: str, n_stimuli: int = N_STIMULI) -> xr.DataArray:
    """All three files of a data set; returns what the NetCDF file holds."""
    path = write_stimuli(data_dir, name, n_stimuli)
    array = trials() if name == RAJALINGHAM else recording(name, n_stimuli)
    array.to_netcdf(path, engine="h5netcdf")
    return array
