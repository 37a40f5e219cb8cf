"""geirhos2021 and hebart2023, on small simulated files in the published schema."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from scaling.alignment.metrics.categories import CATEGORIES
from scaling.alignment.metrics.choices import UNSEEN, WRONG
from scaling.alignment.suites.people import build_geirhos2021
from scaling.alignment.suites.registry import build_benchmarks, check_benchmark_data
from scaling.alignment.suites.suite import Shown
from scaling.data.recordings import geirhos2021
from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError

NOTHING = Stimuli(np.zeros((1, 4, 4, 3), np.uint8), ("a",), None, "none")
PEOPLE = ("subject-01", "subject-02", "subject-03")


def trials(name):
    """(image as on disk, its folder, condition, category) of a set: of three categories, ten where they are scored."""
    conditions = [*geirhos2021.SETS[name], "kept"] if geirhos2021.SETS[name] else ["0"]
    for condition in conditions:
        for category in ("airplane", "cat", "truck"):
            for i in range(1 if condition in geirhos2021.SETS[name] else 10):
                if name == "cue-conflict":
                    yield f"{category}{i}-dog{i}", category, condition, category
                elif name in geirhos2021.BY_LAST_PART:
                    yield f"{category}{i}", category, condition, category
                else:
                    yield f"{condition}_{category}_10_n0{i}_{i}", "session-1", condition, category


def write_choices(root, seed=0):
    """raw-data and datasets as model-vs-human publishes them: a person's trials in an order of their own."""
    rng = np.random.default_rng(seed)
    for name in geirhos2021.SETS:
        people, images = root / "geirhos2021" / "raw-data" / name, root / "geirhos2021" / "datasets" / name / "dnn"
        people.mkdir(parents=True)
        shown, last = list(trials(name)), name in geirhos2021.BY_LAST_PART
        for number, (image, folder, _, _) in enumerate(shown):
            (images / folder).mkdir(parents=True, exist_ok=True)
            own = image if last else f"{number:04d}_x_dnn_{image}"
            Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(images / folder / f"{own}.png")
        for person in PEOPLE:
            rows = []
            for number, i in enumerate(rng.permutation(len(shown))):
                image, _, condition, category = shown[i]
                parts = f"{condition}_{category}_00_{image}" if last else image
                chosen = rng.choice([category, "bird", "na"], p=[0.6, 0.3, 0.1])
                imagename = f"{number:04d}_x_s{person[-2:]}_{parts}.png"
                rows.append((person, 1, number, 0.5, chosen, category, condition, imagename))
            columns = ["subj", "Session", "trial", "rt", "object_response", "category", "condition", "imagename"]
            pd.DataFrame(rows, columns=columns).to_csv(people / f"{name}_{person}_session_1.csv", index=False)
        other = people / f"{name}_resnet50_session-1.csv"  # a model's, as the repository has them too
        other.write_text("subj,trial\nresnet50,1\n")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    write_choices(root)
    return root


def test_geirhos2021_is_read_set_by_set(published):
    built = build_benchmarks(["geirhos2021"], NOTHING, published, classes=CATEGORIES)
    assert [b.name for b in built] == [f"geirhos2021.{name}" for name in geirhos2021.SETS]
    assert len(built) == 17
    for benchmark in built:
        assert (benchmark.region, benchmark.metric, benchmark.note) == ("behavior", "error-consistency", "")
        n = 30  # the one condition that is scored
        assert (len(benchmark.stimuli), benchmark.assembly.choices.shape) == (n, (3, n))
        assert UNSEEN not in benchmark.assembly.choices
        assert benchmark.stimuli.ratio == pytest.approx(8.0 / 3.0)
        (batch,) = benchmark.stimuli.batches(64)
        assert batch.shape == (n, 32, 32, 3)
    assert any((b.assembly.choices == WRONG).any() for b in built)
    assert len({b.stimuli.key for b in built}) == 17


def test_people_of_geirhos2021_are_their_own_whatever_the_order(published):
    """The choice of a person of an image, found again in the files by its name."""
    (benchmark,) = build_benchmarks(["geirhos2021.colour"], NOTHING, published)
    for row, person in enumerate(PEOPLE):
        path = published / "geirhos2021" / "raw-data" / "colour" / f"colour_{person}_session_1.csv"
        table = pd.read_csv(path, dtype=str).set_index("imagename")
        for column, file in enumerate(benchmark.stimuli.filenames):
            image = file.split("_dnn_")[1]
            (own,) = [r for name, r in table.iterrows() if name.endswith(image)]
            number = benchmark.assembly.choices[row, column]
            assert own["object_response"] == ("na" if number == WRONG else CATEGORIES[number])
            assert own["category"] == CATEGORIES[benchmark.assembly.truth[column]]
            assert own["condition"] == "kept"


def test_a_training_set_without_some_categories_is_shown_the_others(published):
    built = build_geirhos2021(Shown(NOTHING, published, 8.0, None, ("cat", "truck", "dog")))
    assert all(len(b.stimuli) == 20 for b in built)
    assert all("airplane" in b.note for b in built)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: (root / "raw-data" / "edge").rename(root / "away"), ["edge does not exist", "model-vs-human"]),
        (lambda root: [p.unlink() for p in (root / "raw-data" / "edge").glob("*subject*")], ["no CSV of people"]),
        (lambda root: next((root / "datasets" / "edge").rglob("*.png")).unlink(), ["1 of 30 images", "are not in"]),
    ],
)
def test_files_of_geirhos2021_that_are_missing(published, tmp_path, change, words):
    shutil.copytree(published / "geirhos2021", tmp_path / "geirhos2021")
    change(tmp_path / "geirhos2021")
    with pytest.raises(StudyError) as error:
        check_benchmark_data(["geirhos2021"], tmp_path)
    assert [word for word in words if word not in str(error.value)] == []


def write_things(root, n=20, n_triplets=60, change=None):
    """An assembly, a stimulus table and images, numbered as the published ones."""
    folder, rng = root / "hebart2023", np.random.default_rng(5)
    (folder / "images").mkdir(parents=True)
    table = pd.DataFrame({"stimulus_id": range(n), "filename": [f"object{i:02d}.png" for i in range(n)]})
    for name in table["filename"]:
        Image.fromarray(rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)).save(folder / "images" / name)
    images = np.array([rng.choice(n, 3, replace=False) for _ in range(n_triplets)])
    if change is not None:
        table, images = change(table, images)
    table.sample(frac=1, random_state=0).to_csv(folder / "stimulus_Hebart2023.csv", index=False)
    coords = {f"image_{i + 1}": ("presentation", images[:, i]) for i in range(images.shape[1])}
    coords |= {"triplet_id": ("presentation", np.arange(n_triplets)), "stimulus_id": ("presentation", images[:, 0])}
    array = xr.DataArray(np.zeros(n_triplets), dims=("presentation",), coords=coords, name="hebart")
    array.to_netcdf(folder / "assy_Hebart2023.nc", engine="h5netcdf")
    return images


def test_hebart2023_is_scored_by_the_readout_layer_alone(tmp_path):
    images = write_things(tmp_path)
    (benchmark,) = build_benchmarks(["hebart2023"], NOTHING, tmp_path)
    assert (benchmark.name, benchmark.region, len(benchmark.stimuli)) == ("hebart2023.match", "behavior", 20)
    assert benchmark.stimuli.ratio == 1.0
    ids = np.array(benchmark.stimuli.ids)
    np.testing.assert_array_equal(ids[benchmark.assembly.images], images.astype(str))
    assert benchmark.stimuli.filenames[0] == f"object{int(ids[0]):02d}.png"
    x = np.random.default_rng(6).standard_normal((20, 9))
    result = benchmark({"early": x[:, ::-1] ** 2, "readout": x})
    by_id = dict(zip(ids.astype(int).tolist(), x, strict=True))
    agreed = [by_id[i] @ by_id[j] >= max(by_id[i] @ by_id[k], by_id[j] @ by_id[k]) for i, j, k in images.tolist()]
    assert result.layer == "readout"
    assert result.raw == pytest.approx(np.mean(agreed))
    assert result.ceiling == 0.6767
    assert result.score == pytest.approx((np.mean(agreed) - 1 / 3) / (0.6767 - 1 / 3))
    assert result.raw_low < result.raw < result.raw_high
    assert (result.interval_of, result.n_stimuli) == ("stimuli", 20)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table, images: (table[:-1], images), "the table lacks 1 images of triplets, as '19'"),
        (lambda table, images: (table, images[:, :2]), "has no image_3"),
        (lambda table, images: (table.rename(columns={"filename": "file"}), images), "has no column filename"),
        (
            lambda table, images: (table, np.where(images == images[0, 1], images[0, 0], images)),
            "triplets that are not",
        ),
    ],
)
def test_triplets_that_do_not_fit(tmp_path, change, words):
    write_things(tmp_path, change=change)
    with pytest.raises(StudyError, match=words):
        build_benchmarks(["hebart2023"], NOTHING, tmp_path)


@pytest.mark.parametrize("suite", ["hebart2023", "geirhos2021"])
def test_absent_files_say_what_to_copy(tmp_path, suite):
    with pytest.raises(StudyError, match=f"{suite}.*does not exist; copy it from"):
        check_benchmark_data([suite], tmp_path)
