"""TVSD, THINGS-fMRI, NSD and THINGS-EEG2, on small simulated files in the published schema."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image
from sklearn.linear_model import Ridge, RidgeCV

from scaling.alignment.benchmark import evaluate_layer
from scaling.alignment.commitment import Commitment
from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.ceilings import split_half_ceiling
from scaling.alignment.metrics.shared_ridge import BRAIN_SCORE_ALPHAS, EEG_ALPHAS
from scaling.alignment.numerics import pearson
from scaling.alignment.suites.registry import build_benchmarks, check_benchmark_data
from scaling.data.recordings.split_sets import SETS
from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError

NOTHING = Stimuli(np.zeros((1, 4, 4, 3), np.uint8), ("a",), None, "none")
N_TRAIN, N_TEST, N_REPS = 40, 12, 6
ALPHAS = {"ridgecv_split": BRAIN_SCORE_ALPHAS, "ridgecv_split_eeg": EEG_ALPHAS}


def neuroids(name):
    """Two subjects; the second unit of each region and subject is below the filter."""
    of = SETS[name]
    regions = of.regions if of.unlabelled is None else ("",)
    rows = [(s, r, i) for s in ("b", "a") for r in regions for i in range(4)]
    coords = {
        "neuroid_id": ("neuroid", [f"{s}{r}{i}" for s, r, i in rows]),
        "subject": ("neuroid", [s for s, _, _ in rows]),
    }
    if of.unlabelled is None:
        coords["region"] = ("neuroid", [r for _, r, _ in rows])
    if of.kept_by:
        coords[of.kept_by] = ("neuroid", [0.0 if i == 1 else 90.0 for _, _, i in rows])
    return coords, len(rows)


def write(root, name, change=None):
    """An assembly a side: presentations in random order, simulated responses to a simulated signal."""
    of, folder = SETS[name], root / name
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    coords, n = neuroids(name)
    weights = rng.standard_normal((5, n))
    features = rng.standard_normal((N_TRAIN + N_TEST, 5))
    times = np.arange(-0.02, 0.03, 0.01) if of.window_ms else np.zeros(1)
    for side, ids, reps in (("train", range(N_TRAIN), 2), ("test", range(N_TRAIN, N_TRAIN + N_TEST), N_REPS)):
        shown = rng.permutation([(i, r) for i in ids for r in range(reps)])
        signal = features[shown[:, 0]] @ weights
        values = signal[..., None] + rng.standard_normal((*signal.shape, len(times)))
        array = xr.DataArray(
            values.astype(np.float32),
            dims=("presentation", "neuroid", "time_bin"),
            coords={
                "stimulus_id": ("presentation", [f"s{i:03d}" for i in shown[:, 0]]),
                "repetition": ("presentation", shown[:, 1]),
                "time_bin_start": ("time_bin", times),
                "time_bin_end": ("time_bin", times + 0.01),
                **coords,
            },
            name="values",
        )
        if change is not None:
            array = change(side, array)
        array.to_dataset().to_netcdf(folder / f"assy_{name}_{side}_Assembly.nc", engine="h5netcdf")
        table = pd.DataFrame({"stimulus_id": [f"s{i:03d}" for i in ids], "filename": [f"{i}.png" for i in ids]})
        table.to_csv(folder / f"stimulus_{name}_{side}.csv", index=False)
    for i in range(N_TRAIN + N_TEST):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / "images" / f"{i}.png")
    return features


@pytest.mark.parametrize("name", SETS)
def test_scores_are_brain_scores_formulae(tmp_path, name):
    features, of = write(tmp_path, name), SETS[name]
    built = build_benchmarks([name], NOTHING, tmp_path)
    assert [b.region for b in built] == list(of.regions)
    benchmark = built[-1]
    assert list(benchmark.subjects) == ["a", "b"]
    assert {p.assembly.responses.shape[1] for p in benchmark.parts} == {4 * 3 if of.window_ms else 3}
    found = {}
    for part in benchmark.parts:
        evaluated = evaluate_layer("layer", Representation.of(features), [part], Commitment())
        found[part.key] = {"layer": evaluated[part.key]}
    result = benchmark.commit(found, Commitment(), 20)
    raws, scores = [], []
    for part in benchmark.parts:
        y, test = part.assembly.responses, part.assembly.test
        train = np.setdiff1d(np.arange(len(y)), test)
        model = RidgeCV(ALPHAS[of.metric]) if of.metric in ALPHAS else Ridge(1.0)
        r = pearson(model.fit(features[train], y[train]).predict(features[test]), y[test])
        raws.append(np.median(r))
        scores.append(raws[-1] ** 2 / split_half_ceiling(part.assembly.repetitions).score)
    assert result.raw == pytest.approx(np.mean(raws), rel=1e-8)
    assert result.score == pytest.approx(np.mean(scores), rel=1e-8)
    assert (result.n_subjects, result.n_stimuli, result.mapping_samples, result.ceiled) == (2, 12, 40, "r2/c")


def test_windows_and_filters(tmp_path):
    write(tmp_path, "gifford2022")
    (eeg,) = build_benchmarks(["gifford2022"], NOTHING, tmp_path)
    assert eeg.region == "IT"
    assert [p.assembly.responses.shape for p in eeg.parts] == [(52, 12)] * 2  # 4 channels × 0, 10, 20 ms, not before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda side, a: a.assign_coords(subject=("neuroid", ["c"] * 24)) if side == "test" else a, ["other units"]),
        (lambda side, a: a.drop_vars("subject"), ["no subject"]),
        (lambda side, a: a.assign_coords(reliability=("neuroid", np.zeros(24))), ["no unit of V1", "reliability"]),
        (lambda side, a: a.assign_coords(stimulus_id=("presentation", ["s000"] * a.sizes["presentation"]),
                                         repetition=("presentation", np.arange(a.sizes["presentation"]))),
         ["s000"]),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(tmp_path, change, words):
    write(tmp_path, "papale2025", change)
    with pytest.raises(StudyError) as error:
        check_benchmark_data(["papale2025"], tmp_path)
    assert all(word in str(error.value) for word in words), error.value


def test_absent_files_say_what_to_copy(tmp_path):
    with pytest.raises(StudyError, match=r"does not exist; copy Brain-Score's files of allen2022_fmri"):
        check_benchmark_data(["allen2022_fmri"], tmp_path)
    (tmp_path / "allen2022_fmri").mkdir()
    with pytest.raises(StudyError, match=r"holds 0 files stimulus_\*train\*\.csv"):
        check_benchmark_data(["allen2022_fmri"], tmp_path)
