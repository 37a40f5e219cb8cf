"""`scaling score`: one model on any benchmark, a study on further ones, and every mistake refused in one line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ray
from published_files import N_STIMULI, images, recording, stimulus_table, trials, write_published, write_stimuli
from sklearn.cross_decomposition import PLSRegression
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from tests_jobs import scaling
from typer.testing import CliRunner, Result

from jobs.cli import app
from scaling.alignment.features.activations import collect_activations
from scaling.alignment.features.cache import weights_hash
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.protocol import scoring_protocols
from scaling.alignment.score import score_checkpoint
from scaling.alignment.scoring import scoring_options
from scaling.alignment.suites.registry import build_benchmarks
from scaling.data.images import load_images
from scaling.data.recordings.catalogue import FREEMANZIEMBA, MAJAJHONG, PUBLISHED, RAJALINGHAM
from scaling.data.recordings.stimuli import select_stimuli
from scaling.models.any_timm import block_layers, load_timm
from scaling.storage import Storage
from scaling.study import expand_study, load_study
from scaling.train.loop import Training
from scaling.version import VERSION

SUITE = "simulated-ventral-stream"
SIZE = 32  # pixels a side: small, for speed
MODEL = ("--model", "timm:test_resnet", "--image-size", str(SIZE))


class RayStartedError(Exception):
    """Not a StudyError: the command must not catch it."""


@pytest.fixture
def invoke(tmp_path, monkeypatch) -> Callable[..., Result]:
    """Run `scaling score` in this process with the test's folder as data folder; starting Ray raises."""

    def start_ray(*args: object, **kwargs: object) -> None:
        raise RayStartedError

    monkeypatch.setattr(ray, "init", start_ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("SCALING_DATA_DIR", str(tmp_path))

    def run(*words: str) -> Result:
        told = [word.replace("FOLDER", str(tmp_path)) for word in words]
        return CliRunner().invoke(app, ["score", *told], env={"COLUMNS": "200"})

    return run


def rows(result: Result) -> dict[str, dict]:
    """benchmark -> row of the JSON that was printed."""
    answer = json.loads(result.stdout)
    assert answer["model"] == "timm:test_resnet"
    return {row["benchmark"]: row for row in answer["scores"]}


def test_one_model_on_the_simulated_suite(tmp_path):
    """In a process of its own, as a person runs it: what is captured is JSON alone."""
    done = scaling("score", *MODEL, "--benchmark", SUITE, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    told = json.loads(done.stdout)
    assert told["weights_sha256"] == weights_hash(load_timm("test_resnet"))
    facts = [told[name] for name in ("pretrained", "weights", "image_size", "degrees", "version")]
    assert facts == [False, None, SIZE, 8.0, VERSION]
    scores = told["scores"]
    assert [row["benchmark"] for row in scores] == [f"{SUITE}.{r}" for r in ("V1", "V2", "V4", "IT", "behavior")]
    layers = block_layers(load_timm("test_resnet"))
    for row in scores:
        assert (row["status"], row["reason"], row["commitment"], row["n_stimuli"]) == ("scored", None, "split", 150)
        assert row["raw_low"] < row["raw"] < row["raw_high"]
        assert row["score"] == pytest.approx(row["raw"] / row["ceiling"])
        assert (row["raw_error"] or 0) > 0 or row["metric"] == "rsa"  # one RDM has no splits
        assert list(row["layer_scores"]) == layers
        assert row["layer"] == max(layers, key=row["layer_scores"].__getitem__)
        assert row["selection_leak"] >= 0
    assert list(tmp_path.iterdir()) == []


def test_the_table_names_layers_errors_and_ceilings(invoke):
    result = invoke(*MODEL, "--benchmark", f"{SUITE}.V1", "--layer", "layer1.0", "--layer", "layer2.0")
    assert result.exit_code == 0, result.output
    row = rows(invoke(*MODEL, "--benchmark", f"{SUITE}.V1", "--layer", "layer1.0", "--layer", "layer2.0", "--json"))
    v1 = row[f"{SUITE}.V1"]
    assert list(v1["layer_scores"]) == ["layer1.0", "layer2.0"]
    words = [v1["layer"], "150", *(f"{v1[name]:.3f}" for name in ("raw", "raw_error", "raw_low", "ceiling", "score"))]
    assert [word for word in words if word not in result.stdout] == []


def test_settings_change_what_is_computed(invoke, tmp_path):
    fixed = tmp_path / "layers.yaml"
    fixed.write_text("V1: layer3.0\n")
    settings = (f"commitment={fixed}", "ceiled=r2/c2", "resamples=0", f"cache={tmp_path / 'cache'}")
    words = [word for setting in settings for word in ("--set", setting)]
    row = rows(invoke(*MODEL, "--benchmark", f"{SUITE}.V1", "--json", *words))[f"{SUITE}.V1"]
    assert (row["layer"], row["commitment"], row["n_stimuli"]) == ("layer3.0", "fixed by layers.yaml", 300)
    assert (row["ceiled"], row["raw_low"], row["selection_leak"]) == ("r2/c2", None, None)
    assert row["score"] == pytest.approx((row["raw"] / row["ceiling"]) ** 2)
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 1


@pytest.fixture(scope="module")
def published_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    for name in (MAJAJHONG, FREEMANZIEMBA, RAJALINGHAM):
        write_published(folder, name)
    return folder


@pytest.fixture(scope="module")
def published_rows(published_dir) -> dict[str, dict]:
    """Brain-Score's protocol on all three data sets in one command."""
    names = [word for name in (MAJAJHONG, FREEMANZIEMBA, RAJALINGHAM) for word in ("--benchmark", name)]
    words = ["score", *MODEL, *names, "--set", "commitment=all", "--data-dir", str(published_dir), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return rows(result)


def test_brain_scores_benchmarks_from_files_as_published(published_rows):
    regions = [(MAJAJHONG, "V4", 4), (MAJAJHONG, "IT", 5), (FREEMANZIEMBA, "V1", 4), (FREEMANZIEMBA, "V2", 5)]
    assert list(published_rows) == [*(f"{name}.{region}" for name, region, _ in regions), f"{RAJALINGHAM}.i2n"]
    for name, region, n_neuroids in regions:
        row = published_rows[f"{name}.{region}"]
        assert (row["status"], row["region"], row["metric"], row["commitment"]) == ("scored", region, "pls", "all")
        assert (row["n_stimuli"], row["n_neuroids"]) == (N_STIMULI, n_neuroids)
        assert (row["ceiled"], row["ceiling_kind"]) == ("r2/c", "brain_score")
        assert row["score"] == pytest.approx(row["raw"] ** 2 / row["ceiling"])
        assert row["raw_low"] < row["raw"] < row["raw_high"]
        assert row["raw"] > 0.3  # the recordings are linear in the images
        assert row["layer"] == max(row["layer_scores"], key=row["layer_scores"].__getitem__)
    behavior = published_rows[f"{RAJALINGHAM}.i2n"]
    assert (behavior["metric"], behavior["n_stimuli"], behavior["n_neuroids"]) == ("i2n", N_STIMULI, None)
    assert list(behavior["layer_scores"]) == ["global_pool"]  # the readout layer alone
    assert behavior["score"] == pytest.approx(behavior["raw"] / behavior["ceiling"], rel=0.05)


def sorted_responses(array, region: str) -> np.ndarray:
    """(repetition, stimulus, neuroid) of a one-bin recording, stimuli by ascending id."""
    neuroids = np.flatnonzero(array["region"].values == region)
    ids, cells = sorted(set(array["image_id"].values)), {}
    for column, key in enumerate(zip(array["repetition"].values, array["image_id"].values, strict=True)):
        cells[key] = array.values[neuroids, column, 0].astype(float)
    n_repetitions = len(set(array["repetition"].values))
    return np.array([[cells[repetition, i] for i in ids] for repetition in range(n_repetitions)])


def neuroid_correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])


def test_majajhong_it_is_scikit_learns_pls_on_the_published_splits(published_rows):
    """From the images to the score without this project's mapping, splits, grouping or ceiling."""
    responses = sorted_responses(recording(MAJAJHONG), "IT")
    table = stimulus_table().sort_values("stimulus_id")
    model = load_timm("test_resnet")
    prepared = Preprocessing.of_timm(model, SIZE).apply(images(MAJAJHONG)[table.index])
    splits = list(StratifiedShuffleSplit(10, train_size=0.9, random_state=1).split(table, table["object_name"]))
    target, raws = responses.mean(axis=0), {}
    for layer, x in collect_activations(model, block_layers(model), prepared).items():
        fits = [PLSRegression(25, scale=False).fit(x[train].astype(float), target[train]) for train, _ in splits]
        pairs = zip(fits, splits, strict=True)
        medians = [np.median(neuroid_correlations(fit.predict(x[test]), target[test])) for fit, (_, test) in pairs]
        raws[layer] = np.mean(medians)
    halves = list(ShuffleSplit(10, train_size=0.5, random_state=1).split(range(len(responses))))
    r = [neuroid_correlations(responses[a].mean(axis=0), responses[b].mean(axis=0)) for a, b in halves]
    ceiling = np.mean([np.median(2 * x / (1 + x)) for x in r])
    layer = max(raws, key=raws.__getitem__)

    row = published_rows[f"{MAJAJHONG}.IT"]
    assert row["layer"] == layer
    assert row["layer_scores"] == pytest.approx(raws, abs=1e-4)
    assert row["raw_low"] < row["raw"] - row["raw_error"] < row["raw"] + row["raw_error"] < row["raw_high"]
    assert row["ceiling"] == pytest.approx(ceiling, rel=1e-5)
    assert row["score"] == pytest.approx(raws[layer] ** 2 / ceiling, abs=2e-4)


def test_fewer_stimuli_than_pls_needs_is_a_failed_score_beside_the_others(invoke, tmp_path):
    write_published(tmp_path, MAJAJHONG, n_stimuli=48)
    words = (*MODEL, "--benchmark", MAJAJHONG, "--benchmark", f"{SUITE}.V1", "--layer", "layer3.0")
    result = invoke(*words)
    assert result.exit_code == 1
    (reason, *_) = [line for line in result.stdout.splitlines() if line.startswith("not scored: majajhong2015.IT")]
    assert "layer 'layer3.0'" in reason
    assert "24 stimuli leaves 21 to fit and 3 held out" in reason
    scores = rows(invoke(*words, "--json"))
    assert {name: row["status"] for name, row in scores.items()} == {
        f"{SUITE}.V1": "scored", f"{MAJAJHONG}.V4": "failed", f"{MAJAJHONG}.IT": "failed",
    }  # fmt: skip
    failed = scores[f"{MAJAJHONG}.IT"]
    assert (failed["raw"], failed["score"], failed["layer"], failed["layer_scores"]) == (None, None, None, None)
    assert failed["reason"] in reason


def train_and_score(path: Path) -> None:
    """What `scaling run` leaves behind, without Ray: the runs trained, their last checkpoints scored."""
    study = load_study(path)
    storage, data = Storage(study.storage).child(study.name), load_images(study.dataset, path.parent)
    heldout = select_stimuli(data.heldout.images, data.heldout.labels, name=f"{data.name} held-out")
    benchmarks = build_benchmarks(study.benchmarks, heldout)
    options = scoring_options(study.scoring, lambda n: heldout)
    protocols = scoring_protocols(study.scoring, study.benchmarks)
    for run in expand_study(study):
        list(Training(run, data, storage).epochs())
        score_checkpoint(storage, run.run_id, run.training.epochs, benchmarks, options, protocols)


def test_a_trained_study_on_a_further_benchmark(write_study, invoke, tmp_path):
    path = write_study()
    train_and_score(path)
    store, words = tmp_path / "results" / "tiny", ("--benchmark", f"{SUITE}.V1")
    before, trained = pd.read_parquet(store / "scores"), pd.read_parquet(store / "runs")
    assert list(before.benchmark) == [f"{SUITE}.IT"]

    done = scaling("score", path, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    after = pd.read_parquet(store / "scores").set_index("benchmark", drop=False)
    assert sorted(after.benchmark) == [f"{SUITE}.IT", f"{SUITE}.V1"]
    assert set(after.status) == {"scored"}
    kept = after.loc[[f"{SUITE}.IT"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before, check_exact=True)  # its seconds, too
    pd.testing.assert_frame_equal(pd.read_parquet(store / "runs"), trained)

    (file,) = (store / "scores").glob("*.parquet")
    written = file.stat().st_mtime_ns
    again = invoke(str(path), *words)  # to start Ray would raise
    assert again.exit_code == 0, again.output
    assert file.stat().st_mtime_ns == written
    other = invoke(str(path), *words, "--set", "commitment=all")
    assert isinstance(other.exception, RayStartedError)  # all is to be scored by another protocol


def truncate(folder: Path) -> None:
    write_published(folder, MAJAJHONG)
    path = folder / MAJAJHONG / PUBLISHED[MAJAJHONG].assembly.name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def climb(folder: Path) -> None:
    write_published(folder, MAJAJHONG)
    with zipfile.ZipFile(folder / MAJAJHONG / PUBLISHED[MAJAJHONG].archive.name, "a") as archive:
        archive.writestr("../../escaped.png", b"x")


def other_ids(folder: Path) -> None:
    path = write_stimuli(folder, MAJAJHONG)
    array = recording(MAJAJHONG)
    array = array.assign_coords(image_id=("presentation", np.char.add(array["image_id"].values.astype(str), "b")))
    array.to_netcdf(path, engine="h5netcdf")


def no_it(folder: Path) -> None:
    path = write_stimuli(folder, MAJAJHONG)
    recording(MAJAJHONG).assign_coords(region=("neuroid", ["V4"] * 9)).to_netcdf(path, engine="h5netcdf")


def no_choices(folder: Path) -> None:
    path = write_stimuli(folder, RAJALINGHAM)
    trials().drop_vars("dist_obj").to_netcdf(path, engine="h5netcdf")


def write_list(folder: Path) -> None:
    (folder / "list.yaml").write_text("- IT\n- layer4.0\n")


@dataclass(frozen=True)
class Case:
    """A mistake, and what the message must say of it: what, value, limit, where, remedy."""

    name: str
    words: list[str]
    command: tuple[str, ...]
    prepare: Callable[[Path], object] = lambda folder: None


IT = ("--benchmark", f"{SUITE}.IT")
CASES = [
    Case("neither", ["give either a study file or --model timm:NAME"], IT),
    Case("both", ["give either a study file or --model"], ("STUDY", *MODEL, *IT)),
    Case("no study file", ["absent.yaml' cannot be read", "give the path"], ("FOLDER/absent.yaml", *IT)),
    Case("study not trained", ["1 of 1 runs of study 'tiny' are not trained", "`scaling run` trains"], ("STUDY", *IT)),
    Case("study, unknown benchmark", ["'kriegeskorte' is unknown", "did you mean 'kriegeskorte2008'?"],
         ("STUDY", "--benchmark", "kriegeskorte")),
    Case("study, unknown setting", ["unknown field 'resample' (--set)", "did you mean 'resamples'?"],
         ("STUDY", *IT, "--set", "resample=3")),
    Case("study, no commitment file", ["commitment='FOLDER/no.yaml'", "neither 'split' nor 'folds' nor 'all'"],
         ("STUDY", *IT, "--set", "commitment=FOLDER/no.yaml")),
    Case("no prefix", ["model 'resnet50' is unknown", "timm:NAME", "timm:resnet50"], ("--model", "resnet50", *IT)),
    Case("unknown model", ["timm has no model 'resnet5O'", "did you mean 'resnet50'?"],
         ("--model", "timm:resnet5O", *IT)),
    Case("unknown layer", ["layer 'layer4.1' is not in ResNet", "did you mean 'layer4.", "layer4.0"],
         (*MODEL, *IT, "--layer", "layer4.1")),
    Case("image size", ["VisionTransformer does not take images of 50 pixels", "leave --image-size out"],
         ("--model", "timm:test_vit", "--image-size", "50", *IT)),
    Case("image size 0", ["--image-size", "greater than or equal to 1"], (*MODEL[:2], "--image-size", "0", *IT)),
    Case("no benchmark", ["benchmarks is empty", SUITE], MODEL),
    Case("unknown benchmark", ["'majajhong2015.TE' is unknown", "majajhong2015.IT"],
         (*MODEL, "--benchmark", "majajhong2015.TE")),
    Case("unknown images", ["unknown dataset 'digit'", "did you mean 'digits'?"], (*MODEL, *IT, "--images", "digit")),
    Case("both weights", ["both pretrained and weights=w.pth", "give one"],
         (*MODEL, *IT, "--pretrained", "--weights", "w.pth")),
    Case("no weights", ["FOLDER/w.pth holds no weights for it", "No such file"],
         (*MODEL, *IT, "--weights", "FOLDER/w.pth")),
    Case("unknown setting", ["unknown field 'commit' (--set)", "commitment"], (*MODEL, *IT, "--set", "commit=all")),
    Case("no setting", ["--set 'all' is no setting", "NAME=VALUE"], (*MODEL, *IT, "--set", "all")),
    Case("setting of a wrong kind", ["resamples='many'", "valid integer", "--set"],
         (*MODEL, *IT, "--set", "resamples=many")),
    Case("negative setting", ["memory_gb='-1'", "greater than 0"], (*MODEL, *IT, "--set", "memory_gb=-1")),
    Case("unknown convention", ["ceiled='r/c2'", "'r2/c2'"], (*MODEL, *IT, "--set", "ceiled=r/c2")),
    Case("no commitment file", ["commitment='FOLDER/no.yaml'", "No such file", "one 'benchmark or region: layer'"],
         (*MODEL, *IT, "--set", "commitment=FOLDER/no.yaml")),
    Case("commitment of a list", ["list.yaml' holds no fields (a list)"],
         (*MODEL, *IT, "--set", "commitment=FOLDER/list.yaml"), write_list),
    Case("too many components", ["n_components=5,000 of 1,437 fit images", "more images than components"],
         (*MODEL, *IT, "--set", "reduction=pca", "--set", "components=5000")),
    *(Case(f"no files of {name}", [PUBLISHED[name].table.name, "does not exist", f"run `scaling fetch {name}`"],
           (*MODEL, "--benchmark", name)) for name in (MAJAJHONG, FREEMANZIEMBA, RAJALINGHAM)),
    Case("truncated NetCDF", [PUBLISHED[MAJAJHONG].assembly.name, "no whole NetCDF4 or NetCDF3 file", "scaling fetch"],
         (*MODEL, "--benchmark", MAJAJHONG), truncate),
    Case("zip that climbs out", ["'../../escaped.png' has a path that climbs out of its folder"],
         (*MODEL, "--benchmark", MAJAJHONG), climb),
    Case("other stimuli", ["80 of 80 stimuli are not in the stimulus table", "fetch both again"],
         (*MODEL, "--benchmark", MAJAJHONG), other_ids),
    Case("missing region", ["no neuroid in region 'IT'", "known: V4"], (*MODEL, "--benchmark", MAJAJHONG), no_it),
    Case("no distractors", ["presentations have no dist_obj", "sample_obj"], (*MODEL, "--benchmark", RAJALINGHAM),
         no_choices),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_refused_with_one_clear_message(case, invoke, write_study, tmp_path):
    study = write_study()
    case.prepare(tmp_path)
    result = invoke(*(str(study) if word == "STUDY" else word for word in case.command))
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert (result.exit_code, result.stdout) == (2, "")
    message = " ".join(result.stderr.split())
    words = [word.replace("FOLDER", str(tmp_path)) for word in case.words]
    assert [word for word in words if word not in message] == [], message
    assert "Traceback" not in message
    assert not (tmp_path.parent / "escaped.png").exists()


def test_only_the_benchmark_that_is_named_needs_its_files(invoke, tmp_path):
    """Rajalingham2018's are missing, and MajajHong2015 is scored; a region alone reads as much as its set."""
    write_published(tmp_path, MAJAJHONG)
    result = invoke(*MODEL, "--benchmark", f"{MAJAJHONG}.V4", "--layer", "layer3.0", "--json")
    assert list(rows(result)) == [f"{MAJAJHONG}.V4"]
