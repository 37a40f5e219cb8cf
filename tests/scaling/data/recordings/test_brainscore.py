"""Readers of the published files, on small ones in the published schema, against pandas and brute force."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from scaling.data.recordings import netcdf
from scaling.data.recordings.assemblies import Assembly, assemblies_from
from scaling.data.recordings.brainscore import check_published, read_freemanziemba, read_majajhong, read_rajalingham
from scaling.data.recordings.catalogue import FREEMANZIEMBA, MAJAJHONG, PUBLISHED, RAJALINGHAM, Selection
from scaling.data.recordings.netcdf import coordinates, open_array
from scaling.data.recordings.presentations import group_presentations
from scaling.errors import StudyError

N_STIMULI, N_REPETITIONS, N_NEUROIDS = 12, 4, 6
OBJECTS = ("car", "face", "apple")


def image_bytes(seed, size=6):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def stimulus_frame(id_column="stimulus_id"):
    ids = [f"{17 * i % 23:02d}f" for i in range(N_STIMULI)]  # their order is not the file's
    return pd.DataFrame(
        {
            "id": np.arange(N_STIMULI),
            id_column: ids,
            "object_name": [OBJECTS[i % 3] for i in range(N_STIMULI)],
            "texture_type": [("noise", "texture")[i % 2] for i in range(N_STIMULI)],
            "filename": [f"im{i}.png" for i in range(N_STIMULI)],
        }
    )


def write_stimuli(data_dir, name, frame):
    folder = data_dir / name
    folder.mkdir(exist_ok=True, parents=True)
    frame.to_csv(folder / PUBLISHED[name].table.name, index=False)
    with zipfile.ZipFile(folder / PUBLISHED[name].archive.name, "w") as archive:
        for seed in range(N_STIMULI):
            archive.writestr(f"im{seed}.png", image_bytes(seed))
    return folder / PUBLISHED[name].assembly.name


def recording(regions, id_name="image_id", n_bins=1, missing=(), dtype=np.float32, seed=0):
    """A DataArray neuroid × presentation × time_bin with plain coordinates, presentations shuffled."""
    rng = np.random.default_rng(seed)
    frame = stimulus_frame()
    cells = [(s, r) for s in range(N_STIMULI) for r in range(N_REPETITIONS) if (s, r) not in missing]
    cells = [cells[i] for i in rng.permutation(len(cells))]
    stimulus, repetition = np.array(cells).T
    starts = np.array([70]) if n_bins == 1 else np.arange(n_bins)
    return xr.DataArray(
        rng.normal(size=(N_NEUROIDS, len(cells), n_bins)).astype(dtype),
        dims=("neuroid", "presentation", "time_bin"),
        coords={
            "neuroid_id": ("neuroid", [f"Tito_{9 - i}" for i in range(N_NEUROIDS)]),
            "region": ("neuroid", [regions[i % 2] for i in range(N_NEUROIDS)]),
            id_name: ("presentation", frame["stimulus_id"].to_numpy()[stimulus]),
            "repetition": ("presentation", repetition),
            "presentation_": ("presentation", np.arange(len(cells))),
            "object_name": ("presentation", frame["object_name"].to_numpy()[stimulus]),
            "time_bin_start": ("time_bin", starts),
            "time_bin_end": ("time_bin", starts + (100 if n_bins == 1 else 1)),
        },
        name="dicarlo.MajajHong2015.public",
    )


def write_majajhong(data_dir, array=None, frame=None):
    path = write_stimuli(data_dir, MAJAJHONG, stimulus_frame("image_id") if frame is None else frame)
    array = recording(("V4", "IT")) if array is None else array
    array.to_netcdf(path, engine="h5netcdf")
    return array


def brute_force(array, region, bins=slice(None)):
    """(repetition, stimulus, neuroid), stimuli sorted by id, cell by cell."""
    id_name = "image_id" if "image_id" in array.coords else "stimulus_id"
    ids, repetitions = array[id_name].values, array["repetition"].values
    values = array.transpose("presentation", "neuroid", "time_bin").values[..., bins].astype(float)
    neuroids = [i for i, r in enumerate(array["region"].values) if r == region]
    expected = np.full((N_REPETITIONS, N_STIMULI, len(neuroids)), np.nan)
    for p in range(len(ids)):
        for column, neuroid in enumerate(neuroids):
            cell = (repetitions[p], sorted(set(ids)).index(ids[p]), column)
            expected[cell] = np.nanmean(values[p, neuroid]) if not np.isnan(values[p, neuroid]).all() else np.nan
    return expected


def test_majajhong_by_region_stimulus_and_repetition(tmp_path):
    array = write_majajhong(tmp_path, recording(("V4", "IT"), missing={(3, 0), (5, 1), (5, 2)}))
    stimuli, assemblies = read_majajhong(tmp_path)
    frame = stimulus_frame().set_index("stimulus_id").sort_index()
    for assembly, region in zip(assemblies, ("V4", "IT"), strict=True):
        assert (assembly.name, assembly.region) == (f"majajhong2015.{region}", region)
        assert assembly.stimulus_ids == stimuli.ids == tuple(frame.index)
        assert assembly.strata == tuple(frame["object_name"])
        assert assembly.repetitions == (0, 1, 2, 3)
        assert assembly.responses.dtype == np.float32
        np.testing.assert_array_equal(assembly.responses, brute_force(array, region).astype(np.float32))
        assert np.isnan(assembly.responses).any(axis=2).sum() == 3
        np.testing.assert_allclose(assembly.mean(), np.nanmean(brute_force(array, region), axis=0), rtol=1e-12)
    assert assemblies[0].neuroid_ids == ("Tito_9", "Tito_7", "Tito_5")
    assert stimuli.filenames == tuple(frame["filename"])
    np.testing.assert_array_equal(stimuli.labels, [sorted(OBJECTS).index(o) for o in frame["object_name"]])
    assert next(stimuli.batches(2)).shape == (2, 6, 6, 3)


def test_freemanziemba_averages_the_window_and_stands_on_half_the_screen(tmp_path):
    array = recording(("V1", "V2"), "stimulus_id", n_bins=300, dtype=np.float64)
    array.values[1, 7, 60:90] = np.nan
    array.values[2, 8, 50:200] = np.nan
    write_path = write_stimuli(tmp_path, FREEMANZIEMBA, stimulus_frame())
    array.transpose("presentation", "time_bin", "neuroid").to_netcdf(write_path, engine="h5netcdf")
    stimuli, assemblies = read_freemanziemba(tmp_path)
    for assembly, region in zip(assemblies, ("V1", "V2"), strict=True):
        np.testing.assert_allclose(assembly.responses, brute_force(array, region, slice(50, 200)), rtol=1e-12)
    assert sum(int(np.isnan(a.responses).sum()) for a in assemblies) == 1
    assert assemblies[0].strata == tuple(stimulus_frame().set_index("stimulus_id").sort_index()["texture_type"])
    batch = next(stimuli.batches(12))
    assert batch.shape == (12, 12, 12, 3)
    assert (batch[:, :3] == 128).all()


@pytest.mark.parametrize("order", [("neuroid", "presentation", "time_bin"), ("time_bin", "presentation", "neuroid")])
@pytest.mark.parametrize("chunks", [None, (4, 10, 1)])
def test_blocks_and_chunks_change_nothing(tmp_path, monkeypatch, order, chunks):
    array = recording(("V4", "IT"), missing={(0, 0)}).transpose(*order)
    encoding = {}
    if chunks is not None:
        encoding = {"chunksizes": tuple(min(c, s) for c, s in zip(chunks, array.shape, strict=True)), "zlib": True}
    array.to_netcdf(tmp_path / "a.nc", engine="h5netcdf", encoding={array.name: encoding})
    monkeypatch.setattr(netcdf, "BLOCK_BYTES", 500)
    monkeypatch.setattr(netcdf, "_MAX_CHUNK_BYTES", 4000)
    selection = Selection("toy", ("V4", "IT"), (70, 170), None, "test")
    frame = stimulus_frame().set_index("stimulus_id", drop=False)
    with open_array(tmp_path / "a.nc", "again") as lazy:
        n_blocks = len(list(netcdf.blocks(lazy, slice(0, 1))))
        v4, it = assemblies_from(lazy, frame, selection)
    assert n_blocks > 1
    np.testing.assert_array_equal(v4.responses, brute_force(array, "V4").astype(np.float32))
    np.testing.assert_array_equal(it.responses, brute_force(array, "IT").astype(np.float32))


def test_memory_is_one_region_and_a_block(tmp_path, monkeypatch):
    n_presentations, n_neuroids = 4000, 400
    rng = np.random.default_rng(0)
    array = xr.DataArray(
        rng.normal(size=(n_presentations, n_neuroids, 8)).astype(np.float32),
        dims=("presentation", "neuroid", "time_bin"),
        coords={
            "stimulus_id": ("presentation", [f"{i % 1000:04d}" for i in range(n_presentations)]),
            "repetition": ("presentation", np.arange(n_presentations) // 1000),
            "region": ("neuroid", ["IT"] * 40 + ["V4"] * 360),
            "time_bin_start": ("time_bin", np.arange(8) * 10),
            "time_bin_end": ("time_bin", np.arange(8) * 10 + 10),
        },
        name="x",
    )
    array.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    whole = array.nbytes  # 51 MB
    del array
    frame = pd.DataFrame({"stimulus_id": [f"{i:04d}" for i in range(1000)]}).set_index("stimulus_id", drop=False)
    monkeypatch.setattr(netcdf, "BLOCK_BYTES", 2**21)
    tracemalloc.start()
    try:
        with open_array(tmp_path / "a.nc", "again") as lazy:
            (it,) = assemblies_from(lazy, frame, Selection("toy", ("IT",), (10, 60), None, "test"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert it.responses.nbytes == 4000 * 40 * 4
    assert peak < whole / 3


def test_order_is_that_of_grouping_by_the_coordinates_in_the_file():
    """A coordinate before the id decides first, as pandas' sorted grouping has it; repetition and others do not."""
    rng = np.random.default_rng(3)
    stimulus = rng.permutation(np.repeat(np.arange(10), 3))
    coordinate = {
        "family": np.array([f"f{7 * s % 3}" for s in range(10)])[stimulus],
        "repetition": rng.permutation(30),
        "size": np.array([2.5, 1.5])[stimulus % 2],
        "trial": rng.permutation(30),
        "stimulus_id": np.array([f"{3 * s % 10}" for s in range(10)])[stimulus],
    }
    groups = group_presentations(coordinate, "toy")
    keys = ["family", "size", "stimulus_id"]
    expected = [key[-1] for key, _ in pd.DataFrame(coordinate).groupby(keys, sort=True)]
    assert list(groups.stimulus_ids) == expected
    np.testing.assert_array_equal(np.array(groups.stimulus_ids)[groups.stimulus], coordinate["stimulus_id"])
    np.testing.assert_array_equal(np.array(groups.repetitions)[groups.repetition], coordinate["repetition"])


def test_the_file_keeps_the_order_of_its_coordinates(tmp_path):
    array = recording(("V4", "IT"))
    array.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with open_array(tmp_path / "a.nc", "again") as lazy:
        found = coordinates(lazy, "presentation")
    assert list(found) == ["image_id", "repetition", "presentation", "object_name"]


def test_multi_indexes_in_memory_are_taken_apart():
    array = recording(("V4", "IT")).drop_vars("presentation_").set_index(presentation=["image_id", "repetition"])
    found = coordinates(array, "presentation")
    assert sorted(found) == ["image_id", "object_name", "repetition"]
    np.testing.assert_array_equal(found["image_id"], array["image_id"].values)


def test_unnumbered_repetitions_are_counted_in_the_order_of_the_file():
    groups = group_presentations({"stimulus_id": np.array(["b", "a", "b", "b", "a"])}, "toy")
    assert groups.stimulus_ids == ("a", "b")
    assert groups.repetitions == (0, 1, 2)
    np.testing.assert_array_equal(groups.repetition, [0, 0, 1, 2, 1])


def test_trial_numbers_are_no_repetitions():
    ids = np.array([f"{i % 2000:04d}" for i in range(4000)])
    with pytest.raises(StudyError, match="4,000 repetitions of 2,000 stimuli, but only 4,000 presentations"):
        group_presentations({"stimulus_id": ids, "repetition": np.arange(4000)}, "toy")


def rename_id(frame):
    return frame.assign(stimulus_id=["zz", *frame["stimulus_id"][1:]])


@pytest.mark.parametrize(
    ("change", "frame", "words"),
    [
        (None, rename_id, ["1 of 12 stimuli are not in the stimulus table", "'00f'", "fetch both again"]),
        (lambda a: a.assign_coords(region=("neuroid", ["V4"] * 6)), None, ["no neuroid in region 'IT'", "known: V4"]),
        (lambda a: a.drop_vars("region"), None, ["neuroids have no region", "neuroid_id"]),
        (lambda a: a.drop_vars("image_id"), None, ["presentations have no stimulus_id", "repetition"]),
        (lambda a: a.assign_coords(time_bin_end=("time_bin", [150])), None, ["from 70 to 150 ms", "70–170 ms"]),
        (lambda a: a.drop_vars("time_bin_end"), None, ["no time_bin_start and time_bin_end"]),
        (lambda a: a.assign_coords(repetition=("presentation", [0] * 48)), None, ["are all repetition 0"]),
        (lambda a: a.rename(neuroid="channel"), None, ["channel", "needs presentation, neuroid"]),
        (lambda a: a.isel(presentation=[]), None, ["no presentations"]),
        (None, lambda f: f.drop(columns="object_name"), ["no column object_name", "texture_type"]),
        (None, lambda f: f.drop(columns="filename"), ["no column filename"]),
        (None, lambda f: f.assign(stimulus_id="x"), ["'x' comes twice"]),
        (None, lambda f: f.assign(filename=[None, *f["filename"][1:]]), ["1 rows without a filename"]),
        (None, lambda f: f.assign(object_name=[None, *f["object_name"][1:]]), ["1 stimuli have no object_name"]),
        (lambda a: a.where(a["image_id"] != "00f"), None, ["without a response in any repetition", "'00f'"]),
    ],
)
def test_files_that_do_not_fit(tmp_path, change, frame, words):
    write_majajhong(
        tmp_path,
        recording(("V4", "IT")) if change is None else change(recording(("V4", "IT"))),
        None if frame is None else frame(stimulus_frame()),
    )
    with pytest.raises(StudyError) as error:
        read_majajhong(tmp_path)
    assert all(word in str(error.value) for word in words), error.value


def truncate(path, share=0.7):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


@pytest.mark.parametrize(
    ("role", "damage", "words"),
    [
        ("assembly", truncate, ["no whole NetCDF4"]),
        ("assembly", lambda path: path.write_bytes(b""), ["0 bytes", "no whole NetCDF4"]),
        ("assembly", lambda path: path.write_text("<html>" * 50), ["no whole NetCDF4"]),
        ("assembly", lambda path: path.unlink(), ["does not exist"]),
        (
            "assembly",
            lambda path: xr.Dataset({"a": 1, "b": 2}).to_netcdf(path, engine="h5netcdf"),
            ["2 data variables"],
        ),
        ("table", lambda path: path.unlink(), ["does not exist"]),
        ("table", lambda path: path.write_bytes(b""), ["no table of stimuli"]),
        ("table", lambda path: path.write_bytes(b"\xff\xfe\x00" * 9), ["no table of stimuli"]),
        ("archive", lambda path: path.unlink(), ["does not exist"]),
    ],
)
def test_damaged_files(tmp_path, role, damage, words):
    write_majajhong(tmp_path)
    file = getattr(PUBLISHED[MAJAJHONG], role).name
    damage(tmp_path / MAJAJHONG / file)
    for read in (read_majajhong, lambda folder: check_published(MAJAJHONG, folder)):
        with pytest.raises(StudyError) as error:
            read(tmp_path)
        assert all(word in str(error.value) for word in [file, "scaling fetch majajhong2015", *words]), error.value


def test_a_truncated_or_incomplete_zip_is_found_by_the_check(tmp_path):
    write_majajhong(tmp_path)
    check_published(MAJAJHONG, tmp_path)
    path = tmp_path / MAJAJHONG / PUBLISHED[MAJAJHONG].archive.name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("im0.png", image_bytes(0))
    with pytest.raises(StudyError, match=r"no image 'im\d+\.png' among 1 files"):
        check_published(MAJAJHONG, tmp_path)
    truncate(path)
    with pytest.raises(StudyError, match="no whole zip"):
        check_published(MAJAJHONG, tmp_path)


def test_damage_inside_the_values(tmp_path):
    """A compressed chunk that no longer unpacks: found while reading, not on opening."""
    path = write_stimuli(tmp_path, MAJAJHONG, stimulus_frame())
    array = recording(("V4", "IT"))
    array.to_netcdf(path, engine="h5netcdf", encoding={array.name: {"zlib": True, "fletcher32": True}})
    raw = bytearray(path.read_bytes())
    at = raw.index(b"\x78", len(raw) // 4)  # zlib's first byte, somewhere in the file
    for start in range(at, len(raw) - 2000, 97):
        raw[start] ^= 0x55
    path.write_bytes(raw)
    with pytest.raises(StudyError, match="scaling fetch majajhong2015"):
        read_majajhong(tmp_path)


def test_no_data_directory():
    with pytest.raises(StudyError, match="no data directory; run `scaling fetch majajhong2015`"):
        read_majajhong(None)


@pytest.fixture
def trials():
    rng = np.random.default_rng(0)
    frame = stimulus_frame()
    stimulus = rng.integers(0, N_STIMULI, 200)
    sample = frame["object_name"].to_numpy()[stimulus]
    distractor = np.array([rng.choice([o for o in OBJECTS if o != s]) for s in sample])
    choice = np.where(rng.random(200) < 0.8, sample, distractor)
    return xr.DataArray(
        choice.astype(object),
        dims=("presentation",),
        coords={
            "sample_obj": ("presentation", sample),
            "dist_obj": ("presentation", distractor),
            "image_id": ("presentation", frame["stimulus_id"].to_numpy()[stimulus]),
            "WorkerID": ("presentation", [f"w{i % 7}" for i in range(200)]),
            "truth": ("presentation", sample),
            "choice": ("presentation", choice),
        },
        name="dicarlo.Rajalingham2018.public",
    )


def write_trials(data_dir, array):
    array.to_netcdf(write_stimuli(data_dir, RAJALINGHAM, stimulus_frame()), engine="h5netcdf")


@pytest.mark.parametrize("numbers", [False, True])
def test_rajalingham(tmp_path, trials, numbers):
    """Choices are the values, or where those are numbers the coordinate."""
    write_trials(tmp_path, trials.copy(data=np.arange(200.0)) if numbers else trials.drop_vars(["choice", "truth"]))
    stimuli, read = read_rajalingham(tmp_path)
    check_published(RAJALINGHAM, tmp_path)
    frame = stimulus_frame().set_index("stimulus_id").sort_index()
    assert read.stimulus_ids == stimuli.ids == tuple(frame.index)
    assert read.objects() == tuple(frame["object_name"])
    np.testing.assert_array_equal(stimuli.labels, [sorted(OBJECTS).index(o) for o in frame["object_name"]])
    assert len(read) == 200
    for column, coordinate in (("stimulus_id", "image_id"), ("sample", "sample_obj"), ("distractor", "dist_obj")):
        np.testing.assert_array_equal(getattr(read, column), trials[coordinate].values)
    np.testing.assert_array_equal(read.choice, trials["choice"].values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop_vars("dist_obj"), ["no dist_obj", "sample_obj"]),
        (lambda t: t.drop_vars("image_id"), ["no stimulus_id"]),
        (lambda t: t.drop_vars("choice").copy(data=np.arange(200.0)), ["float64 values and no coordinate choice"]),
        (lambda t: t.copy(data=np.array(["horse"] * 200, object)), ["200 of 200 choices are neither", "horse"]),
        (lambda t: t.assign_coords(truth=t["dist_obj"]), ["200 of 200 trials have a truth that is not the sample"]),
        (lambda t: t.assign_coords(image_id=("presentation", ["00f"] * 200)).drop_vars("truth"), ["another object"]),
        (lambda t: t.assign_coords(image_id=("presentation", ["new"] * 200))[t["sample_obj"] == "car"], ["'new'"]),
        (lambda t: t[:0], ["not empty"]),
        (lambda t: t.expand_dims("neuroid"), ["needs presentation alone"]),
    ],
)
def test_bad_trials(tmp_path, trials, change, words):
    write_trials(tmp_path, change(trials))
    with pytest.raises(StudyError) as error:
        read_rajalingham(tmp_path)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"responses": np.zeros((2, 3, 5))}, r"shape \(2, 3, 5\) for 2 repetitions × 3 stimuli × 4 neuroids"),
        ({"responses": np.zeros((2, 3, 4), int)}, "int64 responses"),
        ({"stimulus_ids": ("a", "a", "b")}, "3 stimuli, 2 distinct ids"),
        ({"strata": ("x",)}, "1 strata for 3 stimuli"),
        ({"responses": np.full((2, 3, 4), np.inf)}, "infinite"),
        ({"responses": np.full((2, 3, 4), np.nan)}, "12 of 12 pairs"),
    ],
)
def test_bad_assemblies(changes, words):
    good = {
        "name": "toy.IT",
        "region": "IT",
        "responses": np.zeros((2, 3, 4)),
        "stimulus_ids": tuple("abc"),
        "neuroid_ids": tuple("wxyz"),
        "repetitions": (0, 1),
    }
    Assembly(**good)
    with pytest.raises(StudyError, match=words):
        Assembly(**good | changes)
