"""The models that a zoo study names: listed, told apart, and refused where their weights are missing."""

from __future__ import annotations

import csv
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from scaling.errors import StudyError
from scaling.layout import weights_names
from scaling.place import shown
from scaling.records import ResultsStore, RunRecord, kept_epochs
from scaling.specs.run import RunSpec
from scaling.specs.zoo import CHECKPOINTS, ZooSpec, ZooStudySpec
from scaling.storage import Storage
from scaling.zoo import timm_source, torchvision_source
from scaling.zoo.model import PUBLISHED, RANDOM, SUFFIXES, Named, ZooModel, file_identity, model_id, weights_file

LISTS = {"timm": timm_source.list_timm, "torchvision": torchvision_source.list_torchvision}
HERE = {"timm": timm_source.is_here, "torchvision": torchvision_source.is_here}
HOSTS = {"timm": timm_source.HOST, "torchvision": torchvision_source.HOST}
OF_IMAGENET = "ImageNet-1k top-1, as published"
ANSWER_S = 3.0  # for a host of weights to take a connection
SHOWN = 8  # names in a message


def list_models(spec: ZooStudySpec, where: str) -> tuple[ZooModel, ...]:
    """All models of a study, in the file's order.

    Raises:
        StudyError: a pattern that matches nothing, a folder without weights, two entries with one model.
    """
    published = {} if spec.accuracies is None else _read_accuracies(Path(spec.accuracies).expanduser(), where)
    models: list[ZooModel] = []
    for index, zoo in enumerate(spec.models):
        place = f"{where}, models[{index}]"
        found = list(_checkpoints(zoo, place) if zoo.source == CHECKPOINTS else _named_models(zoo, published, place))
        models += found if zoo.limit is None else found[: zoo.limit]
    twice = [one for one, count in Counter(model.model_id for model in models).items() if count > 1]
    if twice:
        label = next(model.label for model in models if model.model_id == twice[0])
        raise StudyError(f"{label} is in two entries of models ({where}); narrow one of their patterns")
    return tuple(model.model_copy(update={"geometry": spec.geometry}) for model in models)


def _named_models(zoo: ZooSpec, published: dict[str, float], where: str) -> Iterator[ZooModel]:
    for pattern in zoo.patterns:
        if not LISTS[zoo.source]([pattern], zoo.pretrained):
            raise StudyError(f"zoo={zoo.zoo!r}: no model of {zoo.source} is called '{pattern}' ({where}); {_like(zoo)}")
    names = LISTS[zoo.source](zoo.patterns, zoo.pretrained)
    folder = None if zoo.weights is None else Path(zoo.weights).expanduser().absolute()
    files = {} if folder is None else {n.name: file for n in names if (file := weights_file(folder, n.name))}
    if folder is not None and not files:
        example = f"{names[0].name}{SUFFIXES[0]}"
        raise StudyError(f"weights='{folder}' has no file of {zoo.zoo} ({where}); name them like {example}")
    for one in names:
        if folder is None or one.name in files:
            yield _model(zoo, one, files.get(one.name), published)


def _model(zoo: ZooSpec, named: Named, file: Path | None, published: dict[str, float]) -> ZooModel:
    weights = str(file) if file else PUBLISHED if zoo.pretrained else RANDOM
    told = f"file {file_identity(file)}" if file else weights
    accuracy = None if weights == RANDOM else published.get(named.name, named.accuracy)
    size = "" if zoo.image_size is None else f" at {zoo.image_size} px"
    return ZooModel(
        model_id=model_id(zoo.source, named.name, told, zoo.image_size), source=zoo.source, name=named.name,
        weights=weights, image_size=zoo.image_size, family=named.family,
        label=f"{zoo.source}:{named.name}{' (random weights)' if weights == RANDOM else ''}{size}", year=named.year,
        data=None if weights == RANDOM else named.data, accuracy=accuracy,
        accuracy_of=None if accuracy is None else OF_IMAGENET,
    )  # fmt: skip


def _like(zoo: ZooSpec) -> str:
    """Where the names are."""
    call = "timm.list_models" if zoo.source == "timm" else "torchvision.models.list_models"
    return f"`{call}` lists them{', with published weights by pretrained=True' if zoo.pretrained else ''}"


def _checkpoints(zoo: ZooSpec, where: str) -> Iterator[ZooModel]:
    """The last epoch of each finished run, in the order of ids."""
    storage = Storage(str(zoo.path))
    records = [record for record in ResultsStore(storage).read_runs().values() if record.status == "finished"]
    if not records:
        raise StudyError(
            f"path='{shown(str(zoo.path))}' holds no finished runs ({where}); give a study's results folder, such as "
            "results/quickstart"
        )
    for record in sorted(records, key=lambda record: record.run_id):
        yield _checkpoint(zoo, storage, record, where)


def _checkpoint(zoo: ZooSpec, storage: Storage, record: RunRecord, where: str) -> ZooModel:
    there = weights_names(storage, record.run_id)
    if not there:
        raise StudyError(
            f"path='{shown(str(zoo.path))}': finished run {record.run_id} has no weights there ({where}); it "
            f"kept those of epochs {list(kept_epochs(record))}: bring them back, or leave this folder out"
        )
    epoch = int(there[-1].rpartition("epoch-")[2].split(".")[0])
    run = RunSpec.model_validate_json(record.spec)
    last = epoch == record.epochs
    return ZooModel(
        model_id=model_id(CHECKPOINTS, record.run_id, epoch), source=CHECKPOINTS, name=record.run_id,
        weights=storage.uri, image_size=None, family=record.family, label=f"{run.label()} (epoch {epoch})", epoch=epoch,
        data=record.dataset, accuracy=record.accuracy if last else None,
        accuracy_of=f"{record.dataset}, held-out images" if last and record.accuracy is not None else None,
    )  # fmt: skip


def check_weights(models: Sequence[ZooModel]) -> None:
    """Refuse published weights that are not on this machine where their host does not answer.

    Raises:
        StudyError: names the models.
    """
    for source, host in HOSTS.items():
        published = [model for model in models if model.source == source and model.weights == PUBLISHED]
        missing = [model.name for model in published if not HERE[source](model.name)]
        if missing and not _answers(host):
            named = ", ".join(missing[:SHOWN]) + (f", … ({len(missing) - SHOWN} more)" if len(missing) > SHOWN else "")
            raise StudyError(
                f"published weights of {len(missing)} of {len(published)} {source} models are not on this machine, and "
                f"{host[0]} does not answer: {named}; connect, give `weights: FOLDER` with files of these names, or "
                "narrow the patterns"
            )


def _answers(host: tuple[str, int]) -> bool:
    try:
        socket.create_connection(host, ANSWER_S).close()
    except OSError:
        return False
    return True


def _read_accuracies(path: Path, where: str) -> dict[str, float]:
    """Name -> published top-1 in [0, 1] of a CSV with columns `model` and `top1` in percent."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {row["model"]: float(row["top1"]) / 100 for row in rows}
    except (OSError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise StudyError(
            f"accuracies='{path}' is no CSV with columns model and top1, in percent ({type(error).__name__}: {error}; "
            f"{where}); give timm's results-imagenet.csv, or leave it out"
        ) from error
