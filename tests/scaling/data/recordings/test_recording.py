"""Our own format, the example of its documentation, spatial maps and the MATLAB layout they come from."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
import xarray as xr
from PIL import Image
from scipy.io import savemat

from scaling.data.recordings import PlainMaps, PlainRecording, read_maps, read_recording, write_maps, write_recording
from scaling.data.recordings import recording as recordings
from scaling.data.recordings.spatial_maps import maps_of_image_rf, read_image_rf
from scaling.errors import StudyError

N_STIMULI = 80
SUFFIXES = (".nc", ".npz")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(N_STIMULI):
        Image.fromarray(np.full((5, 5, 3), i, np.uint8)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path


def plain(**changes):
    responses = np.random.default_rng(0).normal(size=(3, N_STIMULI, 6))
    responses[2, 0] = np.nan
    return PlainRecording(
        **{
            "name": "mine",
            "responses": responses,
            "filenames": [f"{i}.png" for i in range(N_STIMULI)],
            "regions": ["V4", "IT", "IT", "V4", "IT", "IT"],
            "degrees": 4.0,
            "images": "images",
        }
        | changes
    )


def example():
    text = recordings.__doc__.split("Example:\n")[1]
    return textwrap.dedent(text).strip("\n")


def test_the_example_runs_as_documented(folder, monkeypatch, capsys):
    code = example()
    assert len([line for line in code.splitlines() if line.strip()]) < 20
    monkeypatch.chdir(folder)
    exec(compile(code, "example", "exec"), {})
    assert capsys.readouterr().out == "80 [('V4', (3, 80, 2)), ('IT', (3, 80, 4))]\n"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read(folder, suffix):
    ids = [f"s{i}" for i in range(N_STIMULI)]
    labels = ["odd" if i % 2 else "even" for i in range(N_STIMULI)]
    written = plain(stimulus_ids=ids, labels=labels, neuroid_ids=list("abcdef"), source="us")
    write_recording(folder / f"mine{suffix}", written)
    stimuli, (v4, it) = read_recording(folder / f"mine{suffix}")
    np.testing.assert_array_equal(v4.responses, written.responses[:, :, [0, 3]])
    np.testing.assert_array_equal(it.responses, written.responses[:, :, [1, 2, 4, 5]])
    assert (v4.name, v4.region, v4.neuroid_ids, v4.source) == ("mine.V4", "V4", ("a", "d"), "us")
    assert v4.stimulus_ids == it.stimulus_ids == stimuli.ids == tuple(ids)
    assert it.strata == tuple(labels)
    np.testing.assert_array_equal(stimuli.labels, np.arange(N_STIMULI) % 2)
    batch = next(stimuli.batches(N_STIMULI))
    assert batch.shape == (N_STIMULI, 10, 10, 3)  # 4 degrees before a model of 8
    np.testing.assert_array_equal(batch[:, 5, 5, 0], np.arange(N_STIMULI))
    assert sorted(path.name for path in folder.iterdir()) == ["images", f"mine{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_defaults(folder, suffix):
    write_recording(folder / f"mine{suffix}", plain())
    stimuli, (v4, it) = read_recording(folder / f"mine{suffix}", model_degrees=4)
    assert stimuli.ids == stimuli.filenames
    assert stimuli.labels is None
    assert it.strata is None
    assert it.neuroid_ids == ("1", "2", "4", "5")
    assert next(stimuli.batches(1)).shape == (1, 5, 5, 3)
    assert len(v4.repetitions) == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"regions": ["IT"] * 5}, "region has 5 along neuroid|responses has 6 along neuroid, region 5"),
        ({"responses": np.zeros((3, N_STIMULI))}, r"responses of shape \(3, 80\)"),
        ({"stimulus_ids": ["a"] * N_STIMULI}, "1 distinct ids for 80 images"),
        ({"filenames": [f"{i + 1}.png" for i in range(N_STIMULI)]}, r"no image '80\.png'"),
        ({"images": "elsewhere"}, "elsewhere does not exist"),
        ({"degrees": 0.0}, "spans 0.0 degrees"),
        ({"responses": np.full((3, N_STIMULI, 6), np.nan)}, "without a response"),
    ],
)
def test_bad_recordings_are_refused_when_written(folder, suffix, changes, words):
    with pytest.raises(StudyError, match=words):
        write_recording(folder / f"mine{suffix}", plain(**changes))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "no whole"),
        (lambda path: path.write_bytes(b""), "no whole"),
        (lambda path: path.write_bytes(b"PK\x03\x04junk"), "no whole"),
        (lambda path: path.unlink(), "does not exist"),
    ],
)
def test_damaged_files(folder, suffix, damage, words):
    write_recording(folder / f"mine{suffix}", plain())
    damage(folder / f"mine{suffix}")
    with pytest.raises(StudyError, match=words):
        read_recording(folder / f"mine{suffix}")


def test_pickled_arrays_other_suffixes_and_missing_names(folder):
    np.savez(folder / "pickled.npz", responses=np.array([{"a": 1}], dtype=object))
    with pytest.raises(StudyError, match=r"no whole npz of plain arrays.*allow_pickle"):
        read_recording(folder / "pickled.npz")
    for use in (read_recording, lambda path: write_recording(path, plain())):
        with pytest.raises(StudyError, match=r"suffix \.csv; name it \.nc or \.npz"):
            use(folder / "mine.csv")
    np.savez(folder / "part.npz", responses=np.zeros((1, 2, 3)), name="x")
    with pytest.raises(StudyError, match="has no filename, region, degrees; it has responses, name"):
        read_recording(folder / "part.npz")
    dataset = xr.Dataset({"responses": (("repetition", "stimulus", "unit"), np.zeros((1, 2, 3)))})
    dataset.to_netcdf(folder / "dims.nc", engine="h5netcdf")
    with pytest.raises(StudyError, match=r"responses has the dimensions .*'unit'"):
        read_recording(folder / "dims.nc")
    np.savez(
        folder / "text.npz", responses=np.zeros((1, 1, 1)), filename=["0.png"], region=["IT"], name="x", degrees="8"
    )
    with pytest.raises(StudyError, match="degrees='8'; give a number"):
        read_recording(folder / "text.npz")
    with pytest.raises(StudyError, match="cannot write"):
        write_recording(folder / "absent" / "mine.npz", plain())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_maps_are_read_as_written(folder, suffix):
    values = np.random.default_rng(0).normal(size=(3, 4, 4, 5))
    names = ["2.png", "0.png", "1.png"]
    write_maps(folder / f"maps{suffix}", PlainMaps("it maps", values, names, "IT", 8.0, "images"))
    stimuli, maps = read_maps(folder / f"maps{suffix}")
    np.testing.assert_array_equal(maps.maps, values)
    assert (maps.name, maps.region, maps.neuroid_ids) == ("it maps", "IT", ("0", "1", "2", "3", "4"))
    np.testing.assert_array_equal(next(stimuli.batches(3))[:, 0, 0, 0], [2, 0, 1])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((3, 4, 5, 2)), "as many rows as columns"),
        (np.full((3, 4, 4, 2), np.nan), "96 of 96 values are not finite"),
        (np.zeros((2, 4, 4, 2)), "along stimulus"),
        (np.zeros((3, 4, 4)), "stimulus × row × column × neuroid"),
    ],
)
def test_bad_maps(folder, values, words):
    with pytest.raises(StudyError, match=words):
        write_maps(folder / "maps.nc", PlainMaps("x", values, ["0.png", "1.png", "2.png"], "IT", 8.0, "images"))


def test_image_rf(tmp_path):
    """One cell by hand: position (x, y) of image k is row −1 − x, column −1 − y of map k."""
    rates = np.random.default_rng(0).normal(size=(4, 4, 20, 6, 3))
    maps = maps_of_image_rf(rates, (5, 9))
    assert maps.shape == (3, 4, 4, 6)
    assert maps[2, 3 - 1, 3 - 0, 4] == pytest.approx(rates[1, 0, 5:9, 4, 2].mean(), abs=1e-12)
    names = np.array(["D:\\set\\a.png", "D:\\set\\b.png", "D:\\set\\c.png"], dtype=object)
    savemat(tmp_path / "it.mat", {"imageRF": rates, "UniqueNames": names})
    read, filenames = read_image_rf(tmp_path / "it.mat", (5, 9), slice(2, None))
    np.testing.assert_allclose(read, maps[..., 2:], rtol=1e-14)
    assert filenames == ["a.png", "b.png", "c.png"]


def test_bad_image_rf(tmp_path):
    rates = np.zeros((4, 4, 20, 6, 3))
    for window in ((5, 5), (0, 21), (-1, 5)):
        with pytest.raises(StudyError, match=r"give .x, y, ms, channel, image. and a window in it"):
            maps_of_image_rf(rates, window)
    path = tmp_path / "it.mat"
    with pytest.raises(StudyError, match="does not exist"):
        read_image_rf(path, (0, 5), slice(None))
    savemat(path, {"imageRF": rates})
    with pytest.raises(StudyError, match="has no UniqueNames"):
        read_image_rf(path, (0, 5), slice(None))
    savemat(path, {"imageRF": rates, "UniqueNames": np.array(["a", "b", "c"], dtype=object)})
    with pytest.raises(StudyError, match="channels 6 to None of 6"):
        read_image_rf(path, (0, 5), slice(6, None))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StudyError, match="no readable MATLAB file"):
        read_image_rf(path, (0, 5), slice(None))
    path.write_bytes(b"")
    with pytest.raises(StudyError, match="no readable MATLAB file"):
        read_image_rf(path, (0, 5), slice(None))


@pytest.mark.parametrize("form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT"])
def test_netcdf3_is_read_as_netcdf4_is(folder, form):
    """What xarray writes where netCDF4 is not installed."""
    write_recording(folder / "mine.nc", plain())
    with xr.open_dataset(folder / "mine.nc", engine="h5netcdf") as dataset:
        dataset.load().to_netcdf(folder / "old.nc", engine="scipy", format=form)
    assert recordings.read_header(folder / "old.nc") == recordings.read_header(folder / "mine.nc")
    (stimuli, new), (same, old) = (read_recording(folder / name) for name in ("mine.nc", "old.nc"))
    assert (stimuli.filenames, stimuli.ratio) == (same.filenames, same.ratio)
    for a, b in zip(new, old, strict=True):
        np.testing.assert_array_equal(a.responses, b.responses)
    content = (folder / "old.nc").read_bytes()
    for size in (3, 100, len(content) // 2, len(content) - 10):
        (folder / "old.nc").write_bytes(content[:size])
        with pytest.raises(StudyError, match=r"is no whole NetCDF4 or NetCDF3 file"):
            read_recording(folder / "old.nc")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
STAND_INS = {
    "cdf5.nc": (b"CDF\x05\0\0\0\0", r"64-bit data \(CDF-5\).*nccopy"),
    "pointer.nc": (POINTER, "Git LFS pointer.*git lfs pull"),
    "pointer.npz": (POINTER, "Git LFS pointer"),
    "page.nc": (b"<!DOCTYPE html>\n<html>404</html>", "a web page"),
    "error.npz": (b'<?xml version="1.0"?><Error/>', "XML"),
    "empty.nc": (b"", "it is empty"),
    "packed.nc": (b"\x1f\x8b\x08\0", "packed .gzip.; unpack it"),
}  # fmt: skip


@pytest.mark.parametrize("name", STAND_INS)
def test_what_stands_in_the_place_of_a_recording_is_named(tmp_path, name):
    content, words = STAND_INS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StudyError, match=rf"{name} .*{words}"):
        recordings.read_header(tmp_path / name)


@pytest.mark.parametrize("changes", [{"responses": [["a"]]}, {"degrees": "8 deg"}, {"responses": [[1, 2], [3]]}])
def test_what_is_no_number_is_refused(folder, changes):
    with pytest.raises(StudyError, match=f"{next(iter(changes))}: .*; give numbers"):
        write_recording(folder / "mine.npz", plain(**changes))
