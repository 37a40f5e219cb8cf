"""Bad input through the real command: one clear message, exit status 2, and Ray is never started."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from PIL import Image
from scipy.io import savemat
from typer.testing import CliRunner, Result

from jobs.cli import app
from scaling.alignment.protocol import scoring_protocols
from scaling.data.recordings.kriegeskorte import N_STIMULI, NAME, STIMULI_FILE
from scaling.records import AlignmentRecord, ResultsStore, run_record
from scaling.storage import Storage
from scaling.study import expand_study, load_study

RUN = ("run", "STUDY", "--no-mlflow")
RESNET = {"family": "resnet", "depth": 10, "sizes": [2]}
STOP = {"recipe": "IT", "budget": 1e12, "factor": 2}
LADDER = [{"family": "resnet", "depth": 10, "sizes": [2, 4, 8]}]


class RayStartedError(Exception):
    """Not a StudyError: the command must not catch it."""


@dataclass(frozen=True)
class Case:
    """A mistake, and what the message must say of it: what, value, limit, where, remedy."""

    name: str
    words: list[str]
    changes: dict[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = RUN
    prepare: Callable[[Path, Path], object] = lambda folder, study: None


def write_text(text: str) -> Callable[[Path, Path], object]:
    return lambda folder, study: study.write_text(text)


def truncate_images(folder: Path, study: Path) -> None:
    for split in ("train", "test"):
        (folder / "cut").mkdir(exist_ok=True)
        (folder / "cut" / f"{split}.parquet").write_bytes(b"PAR1 and no footer")


def write_images(labels: dict[str, list[int]], broken: int | None = None, heatmap: bytes | None = None, lost: int = -1):
    """Parquet splits of 8 x 8 images with these labels: one that is no image, one that is not there beside its map."""

    def write(folder: Path, study: Path) -> None:
        (folder / "set").mkdir()
        for split, classes in labels.items():
            coded: list[dict[str, object] | None] = [{"bytes": PNG, "path": None} for _ in classes]
            if split == "train" and broken is not None:
                coded[broken] = {"bytes": b"no image", "path": None}
            if split == "train" and lost >= 0:
                coded[lost] = None
            columns: dict[str, object] = {"image": coded, "label": classes}
            if heatmap is not None:
                columns["heatmap"] = [{"bytes": heatmap, "path": None} for _ in classes]
            pq.write_table(pa.table(columns), folder / "set" / f"{split}.parquet")

    return write


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_small_rdm(folder: Path, study: Path) -> None:
    """Kriegeskorte's stimuli file with a monkey IT RDM of 10 objects."""
    stimuli = np.zeros(N_STIMULI, [("image", object), ("category", object)])
    stimuli["image"][:] = [np.zeros((175, 175, 3), np.uint8) for _ in range(N_STIMULI)]
    stimuli["category"] = "face"
    rdm = np.zeros(2, [("name", object), ("RDM", object)])
    rdm["name"], rdm["RDM"][:] = ["mIT_674neurons", "hIT"], [np.ones(45), np.ones(45)]
    (folder / NAME).mkdir()
    savemat(folder / NAME / STIMULI_FILE, {"stimuli_92objs": stimuli, "RDMs_mIT_hIT_fig1": rdm}, do_compression=True)


def write_results(folder: Path, study: Path) -> None:
    """A study that has run: planted scores for every run of the grid."""
    spec = load_study(study)
    store = ResultsStore(Storage(folder / "results" / spec.name))
    for run in expand_study(spec):
        n_params, samples = 100 * run.model.size**2, 20 * (run.images_per_class or 0)
        flops, score = 6.0 * n_params * samples, 1 - 0.1 - n_params**-0.3 - samples**-0.4
        facts = {"samples_seen": samples, "flops": flops, "accuracy": 0.5}
        known = facts | {"n_params": n_params, "n_samples": samples // 2, "epochs_done": 2, "kept": (2,)}
        known |= {"flops_per_image": 2.0 * n_params}
        store.write_run(run_record(run, "finished", None, **known))
        facts |= {"benchmark": spec.benchmarks[0], "region": "IT", "metric": "rsa", "layer": "l", "raw": score}
        facts |= {"ceiling": 1.0, "ceiling_kind": "x", "score": score, "n_stimuli": 92, "n_neuroids": None}
        facts |= {"selection_raw": None, "status": "scored", "reason": None, "score_s": 0.0}
        facts |= {"protocol": scoring_protocols(spec.scoring, spec.benchmarks)[spec.benchmarks[0]].text}
        store.write_scores([AlignmentRecord(run_id=run.run_id, epoch=2, **facts)])


PNG = png()
SET = {"dataset": {"name": "mine", "path": "set"}}
TWO = {"train": [0, 0, 1, 1], "test": [0, 1]}
RAN = {"models": LADDER, "data_sizes": [2, 5, 10, 20]}
CASES = [
    Case("unknown field", ["unknown field 'colours'", "study.yaml", "known: benchmarks"], {"colours": 3}),
    Case("a cosine with horizons", ["schedule='cosine'", "write schedule: wsd"],
         {"horizons": {"epochs": [1, 2]}, "training": {"batch_size": 10}}),
    Case("facts that are not the images'", ["dataset.classes=9", "write classes: 10, images_per_class: 139"],
         {"dataset": {"name": "digits", "classes": 9}}),
    Case("unknown inner field", ["unknown field 'training.lrr'", "did you mean 'lr'?"], {"training": {"lrr": 0.1}}),
    Case("missing field", ["field 'dataset' is missing", "study.yaml", "add it", "field 'benchmarks' is missing"],
         prepare=write_text("name: x\nmodels: [{family: vit, sizes: [6]}]\n")),
    Case("unknown family", ["unknown model family 'resnett'", "models[0]", "did you mean 'resnet'?", "vit"],
         {"models": [RESNET | {"family": "resnett"}]}),
    Case("size 0", ["models[0].sizes[0]=0", "greater than 0"], {"models": [RESNET | {"sizes": [0]}]}),
    Case("odd width", ["size=3 is odd", "models[0]", "use 4"], {"models": [RESNET | {"sizes": [3]}]}),
    Case("width and heads", ["size=10 is no multiple of heads=4", "use 12"],
         {"models": [{"family": "vit", "sizes": [10], "heads": 4}]}),
    Case("image size of a vit", ["image_size=30", "patch of 4 pixels", "dataset.image_size to 28 or 32"],
         {"models": [{"family": "vit", "sizes": [12]}], "dataset": {"name": "digits", "image_size": 30}}),
    Case("image size", ["dataset.image_size=4", "greater than or equal to 8"],
         {"dataset": {"name": "digits", "image_size": 4}}),
    Case("too many images", ["images a class=200", "the 142 training images of class", "data_sizes", "or write 'all'"],
         {"data_sizes": [2, 200]}),
    Case("data size 0", ["data_sizes[0]=0: Input should be greater than 0 or 'all'"], {"data_sizes": [0]}),
    Case("no models", ["models=[]", "at least 1"], {"models": []}),
    Case("no data sizes", ["data_sizes=[]", "at least 1"], {"data_sizes": []}),
    Case("two runs with one id", ["two runs of the grid are the same", "seed 3", "remove the repeated"],
         {"seeds": [3, 3]}),
    Case("stop without a budget", ["field 'stop.budget' is missing", "add it"],
         {"stop": {"recipe": "IT", "factor": 2}}),
    Case("stop at no budget", ["stop.budget=0", "greater than 0"], {"stop": STOP | {"budget": 0}}),
    Case("stop at an endless budget", ["stop.budget", "finite number"],
         {"stop": STOP | {"budget": float("inf")}}),
    Case("stop within a factor of 1", ["stop.factor=1", "greater than 1"], {"stop": STOP | {"factor": 1}}),
    Case("stop by no region", ["stop.recipe='V9'", "no region of the study's benchmarks", "study.yaml", "known: IT"],
         {"stop": STOP | {"recipe": "V9"}}),
    Case("stop by no family", ["stop.family='vit'", "no family of the study", "resnet"],
         {"stop": STOP | {"family": "vit"}}),
    Case("stop in no order", ["stop.order='dearest'", "'cheapest' or 'informative'"],
         {"stop": STOP | {"order": "dearest"}}),
    Case("stop without rounds", ["stop.round=0", "greater than 0"], {"stop": STOP | {"round": 0}}),
    Case("stop with a negative cost", ["stop.run_flops=-1", "greater than or equal to 0"],
         {"stop": STOP | {"run_flops": -1}}),
    Case("stop with an unknown field", ["unknown field 'stop.region'", "recipe"], {"stop": STOP | {"region": "IT"}}),
    Case("negative seed", ["seeds[0]=-1", "greater than or equal to 0"], {"seeds": [-1]}),
    Case("negative rate", ["training.lr=-0.1", "greater than 0"], {"training": {"lr": -0.1}}),
    Case("rate is no number", ["training.lr='fast'", "valid number"], {"training": {"lr": "fast"}}),
    Case("no epochs", ["training.epochs=0", "greater than 0"], {"training": {"epochs": 0}}),
    Case("long warm-up", ["warmup_epochs=5", "epochs=5", "write warmup_share"],
         {"training": {"epochs": 5, "warmup_epochs": 5}}),
    Case("late checkpoint", ["epoch 9", "epochs=2", "checkpoints", "or write 'last'"], {"checkpoints": {"score": [9]}}),
    Case("unknown dataset", ["unknown dataset 'digit'", "did you mean 'digits'?", "path"], {"dataset": "digit"}),
    Case("no such folder", ["no train*.parquet", "nowhere'", "dataset 'x'", "--data-dir"],
         {"dataset": {"name": "x", "path": "nowhere"}}),
    Case("truncated images", ["cut/train.parquet' is no whole Parquet file", "fetch it again"],
         {"dataset": {"name": "x", "path": "cut"}}, prepare=truncate_images),
    Case("unknown benchmark", ["'kriegeskorte' is unknown", "did you mean 'kriegeskorte2008'?"],
         {"benchmarks": ["kriegeskorte"]}),
    Case("no recordings", [STIMULI_FILE, "does not exist", "scaling fetch kriegeskorte2008"],
         {"benchmarks": [NAME]}),
    Case("RDM of the wrong size", [STIMULI_FILE, "monkey IT RDM of size (45,), expected (4186,)", "scaling fetch"],
         {"benchmarks": [f"{NAME}.human-IT"]}, prepare=write_small_rdm),
    Case("MLflow down", ["mlflow='http://127.0.0.1:1' does not answer", "start it", "--no-mlflow"],
         {"mlflow": "http://127.0.0.1:1"}, ("run", "STUDY")),
    Case("MLflow file in the way", ["study.yaml/mlflow.db' does not answer", "correct the URI"],
         {"mlflow": "sqlite:///FOLDER/study.yaml/mlflow.db"}, ("run", "STUDY")),
    Case("file in the way", ["study.yaml/results/tiny' cannot be written", "storage: or --storage"],
         command=(*RUN, "--storage", "FOLDER/study.yaml/results")),
    Case("unknown storage", ["storage='ftp://host/x'", "no place that pyarrow can open", "s3://"],
         {"storage": "ftp://host/x"}),
    Case("too many GPUs", ["needs 64 GPUs", "this machine has", "study 'tiny', resources", "--address"],
         {"resources": {"gpus_per_worker": 64}}),
    Case("too many CPUs", ["needs 4000 CPUs (4000 workers)", "this machine has", "lower resources"],
         {"resources": {"workers": 4000}, "training": {"batch_size": 8000}}),
    Case("scoring takes all CPUs", ["needs 1 CPUs", "beside the scoring pool"], {"scoring": {"cpus": 1000}}),
    Case("batch of 1", ["batch_size=1 on 1 images leaves 1 workers", "resnet-10 w2", "raise training.batch_size"],
         {"training": {"batch_size": 1}}),
    Case("batch above the subset", ["batch_size=64 exceeds the 20 images of resnet-10 w2, 2 images/class", "lower",
                                    "training.cap_batch"], {"training": {"batch_size": 64}}),
    Case("mixup of hard labels", ["mixup=0.8", "soft labels", "loss='cross_entropy' takes hard", "set loss to"],
         {"training": {"mixup": 0.8}}),
    Case("unknown preset", ["unknown preset 'convnex'", "did you mean 'convnext'?", "training"],
         {"training": {"preset": "convnex"}}),
    Case("micro-batch of 2", ["resources.micro_batch=2", "greater than or equal to 4"],
         {"resources": {"micro_batch": 2}}),
    Case("micro-batch of a contrast", ["micro_batch=4", "'simclr'"],
         {"resources": {"micro_batch": 4}, "objective": "simclr"}),
    Case("augmentation of own views", ["augmentation='flip' has no meaning for objective 'dino'"],
         {"training": {"augmentation": "flip"}, "objective": "dino"}),
    Case("two ways to say it", ["objective and objectives are both given", "keep one"],
         {"objective": "simclr", "objectives": ["supervised"]}),
    Case("stored below seen", ["stored_size=16", "image_size=32", "set both"],
         {"dataset": {"name": "digits", "image_size": 32, "stored_size": 16}}),
    Case("unknown schedule", ["evry", "did you mean 'every'?", "checkpoints.score"],
         {"checkpoints": {"score": [{"evry": 5}]}}),
    Case("a broken image", ["cannot be decoded", "train.parquet, row 2", "dataset.corrupt"], SET,
         prepare=write_images(TWO, broken=2)),
    Case("a class held out alone", ["class", "2", "no training image", "mine"], SET,
         prepare=write_images({**TWO, "test": [0, 1, 2]})),
    Case("a class trained alone", ["class", "2", "mine"], SET,
         prepare=write_images({**TWO, "train": [0, 0, 1, 1, 2, 2]})),
    Case("a map without its image", ["map", "row 1"], SET, prepare=write_images(TWO, heatmap=PNG, lost=1)),
    Case("maps that are not there", ["objective 'harmonizer' needs importance maps", "digits"],
         {"objective": "harmonizer"}),
    Case("not YAML", ["study.yaml' is not YAML", "line 2"], prepare=write_text("name: x\nmodels: [")),
    Case("a list", ["study.yaml' holds no fields", "quickstart.yaml"], prepare=write_text("- name\n- dataset\n")),
    Case("empty file", ["study.yaml' holds no fields"], prepare=write_text("")),
    Case("not text", ["study.yaml' cannot be read"], prepare=lambda folder, study: study.write_bytes(b"\xff\xfe\x00")),
    Case("a field twice", ["study.yaml', line 4: 'training' stands there twice, first in line 2"],
         prepare=write_text("name: x\ntraining: {epochs: 30}\ndataset: digits\ntraining: {lr: 0.05}\n")),
    Case("no storage", ["storage='' names no place"], command=(*RUN, "--storage", "")),
    Case("a dashboard's address", ["--address='http://127.0.0.1:8265' is no address of a Ray cluster"],
         command=(*RUN, "--address", "http://127.0.0.1:8265")),
    Case("a dead address", ["no Ray cluster answers at --address='127.0.0.1:1'"],
         command=(*RUN, "--address", "127.0.0.1:1")),
    Case("MLflow's driver", ["needs a driver that is not installed", "pip install"],
         {"mlflow": "mssql://me:s3cret@h/x"}, ("run", "STUDY")),
    Case("MLflow in memory", ["mlflow='sqlite://' names no file"], {"mlflow": "sqlite://"}, ("run", "STUDY")),
    Case("no file", ["absent.yaml' cannot be read", "give the path"], command=("run", "FOLDER/absent.yaml")),
    Case("recipe of nothing", ["study 'tiny' has no", "scaling run"], command=("recipe", "STUDY", "--flops", "1e12")),
    Case("negative budget", ["flops=-1", "above 0"], RAN, ("recipe", "STUDY", "--flops", "-1"), write_results),
    Case("unknown region", ["unknown region 'V9'", "IT"], RAN,
         ("recipe", "STUDY", "--flops", "1e12", "--region", "V9"), write_results),
    Case("unknown recipe family", ["unknown family 'vit'", "resnet"], RAN,
         ("recipe", "STUDY", "--flops", "1e12", "--family", "vit"), write_results),
    Case("plan of too many images", ["images a class=200", "data_sizes"], {"data_sizes": [200]}, ("plan", "STUDY")),
    Case("throughput 0", ["--throughput", "greater than or equal to 1"],
         command=("plan", "STUDY", "--throughput", "0")),
    Case("throughput inf", ["--throughput", "no finite number"], command=("plan", "STUDY", "--throughput", "inf")),
    Case("throughput nan", ["--throughput", "greater than or equal to 1"],
         command=("plan", "STUDY", "--throughput", "nan")),
    Case("budget inf", ["--flops", "no finite number"], RAN, ("recipe", "STUDY", "--flops", "inf"), write_results),
    Case("UI of nothing", ["study 'tiny' has no MLflow store", "scaling run"], command=("ui", "STUDY")),
    Case("unknown fetch", ["'imagenet' is unknown", "kriegeskorte2008"], command=("fetch", "imagenet")),
]  # fmt: skip


@pytest.fixture
def invoke(tmp_path, monkeypatch) -> Callable[..., Result]:
    """Run the command with the test's folder as data folder; starting Ray raises."""

    def start_ray(*args: object, **kwargs: object) -> None:
        raise RayStartedError

    monkeypatch.setattr(ray, "init", start_ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("SCALING_DATA_DIR", str(tmp_path))

    def run(command: tuple[str, ...], study: Path) -> Result:
        words = [str(study) if word == "STUDY" else word.replace("FOLDER", str(tmp_path)) for word in command]
        return CliRunner().invoke(app, words, env={"COLUMNS": "200"})

    return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_refused_with_one_clear_message(case, invoke, write_study, tmp_path):
    changes = {
        name: value.replace("FOLDER", str(tmp_path)) if isinstance(value, str) else value
        for name, value in case.changes.items()
    }
    study = write_study(**changes)
    case.prepare(tmp_path, study)
    result = invoke(case.command, study)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2
    message = " ".join(result.stderr.split())
    assert [word for word in case.words if word not in message] == [], message
    assert "Traceback" not in message
    assert "pydantic" not in message


def test_a_good_study_does_start_ray(invoke, write_study):
    """The check above can fail: without a mistake the command gets as far as Ray."""
    assert isinstance(invoke(RUN, write_study()).exception, RayStartedError)
