"""Suite cowley2023, where its files are: sessions, monkeys, ceilings as its documentation has them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from scaling.alignment.commitment import LayerEvaluation
from scaling.alignment.features.representation import Representation
from scaling.alignment.suites.registry import build_benchmarks, check_benchmark_data
from scaling.data.recordings.cowley import FOLDER, NAME, NATURAL, RAW, SESSIONS
from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError

NO_IMAGES = Stimuli(np.zeros((1, 4, 4, 3), np.uint8), ("a",), None, "none")


@pytest.fixture(scope="module")
def data_dir():
    root = Path(os.environ.get("SCALING_DATA_DIR", "absent"))
    if not (root / FOLDER).is_dir():
        pytest.skip(f"{root / FOLDER} is absent: copy it from cowleygroup/V4_compact_models")
    return root


def test_sessions_monkeys_and_ceilings(data_dir):
    natural, objects = build_benchmarks([NAME], NO_IMAGES, data_dir)
    assert (natural.name, natural.region, objects.name) == ("cowley2023.V4", "V4", "cowley2023.V4-objects")
    assert [part.part for part in natural.parts] == list(NATURAL)
    assert {name: len(own) for name, own in natural.subjects.items()} == {"WE": 1, "PE": 3, "RA": 1}
    assert sum(part.assembly.responses.shape[1] for part in natural.parts) == 295
    published = {"190923": 0.92, "201025": 0.92, "210224": 0.86, "210225": 0.83, "210621": 0.94}
    found = {part.part: part.ceiling(on_all=True) for part in natural.parts}
    assert found == pytest.approx(published, abs=0.02)
    assert objects.first.ceiling(on_all=True) == pytest.approx(0.87, abs=0.03)  # measured
    assert len(objects.first.stimuli) == SESSIONS[RAW].n_images


def test_the_responses_predict_themselves_and_not_others(data_dir):
    natural, _ = build_benchmarks([NAME], NO_IMAGES, data_dir)
    part = natural.parts[2]
    y = part.assembly.responses
    for features, low, high in ((y, 0.99, 1.0), (np.random.default_rng(0).standard_normal(y.shape), -0.15, 0.15)):
        (evaluation,) = part._metric.evaluate(Representation.of(features), [part.assembly], None)
        assert low < evaluation.raw <= high
        assert LayerEvaluation(None, None, evaluation).everything.n_fitted == 640


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: None, ["responses_190923.npy does not exist", "cowleygroup/V4_compact_models"]),
        (lambda folder: np.save(folder / "responses_190923.npy", np.ones((3, 4))), ["(3, 4)", "(33, 1200)"]),
        (lambda folder: (folder / "responses_190923.npy").write_bytes(b"no"), ["no whole array"]),
    ],
)
def test_files_that_are_missing_or_wrong(tmp_path, spoil, words):
    folder = tmp_path / FOLDER / "responses_repeat_averaged"
    folder.mkdir(parents=True)
    spoil(folder)
    with pytest.raises(StudyError) as error:
        check_benchmark_data([NAME], tmp_path)
    assert all(word in str(error.value) for word in words), error.value


def test_no_data_directory():
    with pytest.raises(StudyError, match="no data directory"):
        check_benchmark_data([NAME], None)
