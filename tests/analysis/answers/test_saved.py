"""Saved answers: given back without a fit for the very frame they were made of, and of nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis import Answer, Recipe
from analysis.answers import laws as answers_laws
from analysis.answers.saved import file_names


def _frame(families: tuple[str, ...] = ("resnet", "vit")) -> pd.DataFrame:
    rng, rows = np.random.default_rng(0), []
    for family in families:
        for size, n_images in [(s, d) for s in (1, 2, 4, 8) for d in (1, 4, 16, 64, 256)]:
            N, D = 1e4 * size**2, 1e4 * n_images
            law = 0.3 + 8.0 * N**-0.4 + 12.0 * D**-0.4
            rows.append({
                "run_id": f"{family}-{size}-{n_images}", "family": family, "size": size, "seed": 0, "epoch": 4,
                "n_params": N, "n_samples": D / 4, "samples_seen": D, "flops_per_image": 100 * N, "flops": 300 * N * D,
                "train_s": 1.0,
                "accuracy": 1 - law * np.exp(rng.normal(0, 0.01)), "benchmark": "a.IT", "region": "IT",
                "score": 1 - law * np.exp(rng.normal(0, 0.01)),
            })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return _frame()


@pytest.fixture(scope="module")
def made(frame: pd.DataFrame) -> Answer:
    return analysis.answer(frame, bootstrap=30)


@pytest.fixture(scope="module")
def folder(made: Answer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "answer"
    made.save(path)
    return path


def test_files_are_recipes_laws_figures_and_an_index(folder: Path, made: Answer) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "compute-optimal-resnet.png", "compute-optimal-vit.png", "index.json", "laws.json", "laws.txt",
        "recipe-resnet.json", "recipe-vit.json", "score-against-compute-resnet.png", "score-against-compute-vit.png",
    ]  # fmt: skip
    assert (folder / "laws.txt").read_text(encoding="utf-8") == made.text()
    assert Recipe.load(folder / "recipe-vit.json") == made.recipes["vit"]
    index = json.loads((folder / "index.json").read_text())
    assert (index["target"], index["regions"], index["families"]) == ("IT", ["accuracy", "IT"], ["resnet", "vit"])


def test_loading_gives_the_same_answer_and_fits_nothing(
    folder: Path, frame: pd.DataFrame, made: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_laws, "fit_law", pytest.fail)
    loaded = Answer.load(folder, frame.sample(frac=1, random_state=0).assign(train_s=2.0))
    assert loaded is not None
    assert loaded.recipes == made.recipes
    assert loaded.allocate_each(1e13) == made.allocate_each(1e13)
    loaded = Answer.load(folder, frame)
    assert loaded is not None
    assert loaded.text() == made.text()
    assert loaded.to_dict() == made.to_dict()
    for key, law in made.laws.compute.items():
        np.testing.assert_array_equal(loaded.laws.compute[key].draws, law.draws)  # type: ignore[union-attr]
    assert set(loaded.figures()) == set(made.figures())


def test_another_frame_or_an_empty_folder_has_no_answer(folder: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    assert Answer.load(tmp_path, frame) is None
    assert Answer.load(tmp_path / "absent", frame) is None
    assert Answer.load(folder, frame.iloc[1:]) is None
    assert Answer.load(folder, frame.assign(score=frame["score"] - 1e-9)) is None


@pytest.mark.parametrize("name", ["recipe-vit.json", "laws.json", "index.json"])
def test_what_was_cut_off_is_no_answer(folder: Path, frame: pd.DataFrame, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / name).write_bytes((copy / name).read_bytes()[:100])
    assert Answer.load(copy, frame) is None
    (copy / name).unlink()
    assert Answer.load(copy, frame) is None


def test_a_folder_with_files_is_refused(folder: Path, made: Answer) -> None:
    before = sorted(folder.iterdir())
    with pytest.raises(ValueError, match="is not empty; save an answer into a new folder"):
        made.save(folder)
    assert sorted(folder.iterdir()) == before


def test_a_family_that_left_leaves_nothing(tmp_path: Path) -> None:
    analysis.answer(_frame(("vit",)), bootstrap=0).save(tmp_path / "answer")
    assert not [path.name for path in (tmp_path / "answer").iterdir() if "resnet" in path.name]


def test_families_never_share_a_file() -> None:
    assert file_names(("resnet harmonizer weight=3", "a b", "a-b", "a=b")) == {
        "resnet harmonizer weight=3": "resnet-harmonizer-weight-3", "a b": "a-b", "a-b": "a-b-2", "a=b": "a-b-3",
    }  # fmt: skip
