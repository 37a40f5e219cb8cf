"""henaff2021, cichy2014, cifar10h and geirhos2019, where their files are: the numbers that are published of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scaling.alignment.suites.registry import build_benchmarks, check_benchmark_data
from scaling.data.recordings.cifar10h import IMAGES
from scaling.data.recordings.folder import DataFolder
from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError

NOTHING = Stimuli(np.zeros((1, 4, 4, 3), np.uint8), ("a",), np.array([0]), "none held-out")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(scope="module")
def data_dir():
    return Path(os.environ.get("SCALING_DATA_DIR", "absent"))


def there(data_dir, *folders):
    for folder in folders:
        if not (data_dir / folder).is_dir():
            pytest.skip(f"{data_dir / folder} is absent: its suite says where to copy it from")


def test_henaff_movies_stay_whole(data_dir):
    there(data_dir, "henaff2021_v1")
    (v1,) = build_benchmarks(["henaff2021"], NOTHING, data_dir)
    assert ({m: len(own) for m, own in v1.subjects.items()}) == {"ay2": 2, "ay3": 2, "ay4": 3, "ay5": 2}
    assert sum(part.assembly.responses.shape[1] for part in v1.parts) == 360
    movies = [np.unique([name.split("/")[1] for name in np.array(v1.first.stimuli.ids)[split.test]])
              for split in v1.first.assembly.splits]  # fmt: skip
    assert [len(one) for one in movies] == [1] * 10
    assert len({str(one[0]) for one in movies}) == 10
    assert (len(v1.first.stimuli), v1.n_stimuli) == (400, 400)


def test_cichys_ceilings(data_dir):
    """Spearman's rho between people: leave one out .239 and .449, upper .386 and .535."""
    there(data_dir, "cichy2014_92", "kriegeskorte2008")
    evc, it = build_benchmarks(["cichy2014"], NOTHING, data_dir)
    assert (evc.region, it.region) == ("EVC", "IT")
    for benchmark, low, high in ((evc, 0.239, 0.386), (it, 0.449, 0.535)):
        bounds = benchmark._bounds(True)
        assert bounds == pytest.approx((low, high), abs=0.001)
        assert low < benchmark.ceiling(on_all=True) < high


@pytest.mark.parametrize(
    ("name", "published"),
    [("edges", 0.31844), ("silhouettes", 0.47571), ("cue-conflict", 0.33105), ("shape-bias", 0.959)],
)
def test_people_agree_as_published(data_dir, name, published):
    """κ between people (bethgelab/model-vs-human), shape bias (Geirhos et al. 2019)."""
    there(data_dir, "geirhos2019_shape_texture")
    (benchmark,) = build_benchmarks([f"geirhos2019.{name}"], NOTHING, data_dir)
    digits = 0.0005 if name == "shape-bias" else 5e-6
    assert benchmark.ceiling(on_all=True) == pytest.approx(published, abs=digits)


def test_a_model_of_seven_categories_is_shown_those_alone(data_dir):
    there(data_dir, "geirhos2019_shape_texture")
    built = build_benchmarks(["geirhos2019"], NOTHING, data_dir, classes=CLASSES)
    assert [(b.name.partition(".")[2], b.n_stimuli) for b in built] == [
        ("edges", 70), ("silhouettes", 70), ("cue-conflict", 245), ("shape-bias", 245),
    ]  # fmt: skip
    assert "bear, bicycle, bottle, chair" in built[0].note
    with pytest.raises(StudyError, match="none of the model's 2 classes"):
        build_benchmarks(["geirhos2019"], NOTHING, data_dir, classes=("rose", "tulip"))


def test_cifar10h_is_of_cifars_test_images_alone(data_dir):
    there(data_dir, "cifar10h", "cifar10")
    table = pq.read_table(data_dir / "cifar10" / "test.parquet").slice(100, 30)
    from scaling.data.archives import decode_image

    images = np.stack([decode_image(row["bytes"], "") for row in table["img"].to_pylist()])
    labels = np.array(table["label"].to_pylist())
    heldout = Stimuli(images, tuple(map(str, range(30))), labels, "cifar10 held-out")
    built = build_benchmarks(["cifar10h"], heldout, data_dir)
    judged = built[0].assembly
    assert [b.n_stimuli for b in built] == [2000] * 3
    assert (judged.counts.argmax(axis=1) == judged.truth).mean() == pytest.approx(0.992, abs=0.005)
    share = judged.counts / judged.counts.sum(axis=1, keepdims=True)
    assert share[np.arange(2000), judged.truth].mean() == pytest.approx(0.952, abs=0.005)
    ceilings = {b.name.partition(".")[2]: b.ceiling(on_all=True) for b in built}
    assert ceilings["confusions"] > 0.99
    assert ceilings["errors"] ** 2 == pytest.approx(2 * 0.54 / 1.54, abs=0.03)
    for other, words in (
        (Stimuli(images, heldout.ids, (labels + 1) % 10, "mine"), "30 have another label"),
        (NOTHING, "1 of 1 held-out images"),
    ):
        with pytest.raises(StudyError, match=words):
            build_benchmarks(["cifar10h"], other, data_dir)


@pytest.mark.parametrize("suite", ["henaff2021", "cichy2014", "cifar10h", "geirhos2019"])
def test_absent_files_say_how_to_get_them(tmp_path, suite):
    with pytest.raises(StudyError, match=r"does not exist; copy it from .* below the data directory"):
        check_benchmark_data([suite], tmp_path)
    with pytest.raises(StudyError, match="no data directory"):
        check_benchmark_data([suite], None)


def test_files_that_are_not_what_is_published(tmp_path):
    folder = DataFolder("x", "x", "there")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.npy").write_bytes(b"nothing")
    (tmp_path / "x" / "a.mat").write_bytes(b"nothing")
    np.save(tmp_path / "x" / "b.npy", np.zeros((3, 4)))
    with pytest.raises(StudyError, match="no whole array"):
        folder.array(tmp_path / "x" / "a.npy")
    with pytest.raises(StudyError, match=r"shape \(3, 4\), expected \(3, 5\)"):
        folder.array(tmp_path / "x" / "b.npy", (3, 5))
    with pytest.raises(StudyError, match="not what is published"), folder.hdf5(tmp_path / "x" / "a.mat"):
        pass
    pq.write_table(pa.table({"label": [0]}), tmp_path / "test.parquet")
    assert IMAGES.remedy.startswith("copy it from")
