"""The study file: YAML -> StudySpec -> one RunSpec for every model x data size x seed."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from scaling.errors import StudyError, known_names
from scaling.train.objectives.spec import ObjectiveField, canonical_objective, check_objective

DataSize = PositiveInt | Literal["all"]
SpecT = TypeVar("SpecT", bound="Spec")
Epoch = NonNegativeInt | Literal["last"]


class Spec(BaseModel):
    """Base of all specs: frozen, and a field that does not exist is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetSpec(Spec):
    """A set of labelled images.

    `name` alone is a built-in set ('digits'); with `path`, a folder of Parquet files in the Hugging Face layout
    (absolute, or relative to the data folder). `image_size` in pixels resizes; by default images stay as they are.
    """

    name: str
    path: str | None = None
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None


class TrainingSpec(Spec):
    """How a run is trained. Durations in epochs; `lr` is the peak rate at the given global `batch_size`."""

    epochs: PositiveInt = 10
    batch_size: PositiveInt = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: PositiveFloat = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegativeFloat = 1e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: NonNegativeInt = 0
    min_lr: NonNegativeFloat = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_norm: PositiveFloat | None = None
    augmentation: Literal["none", "flip", "crop_flip"] = "none"

    @model_validator(mode="after")
    def _check(self) -> TrainingSpec:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs > 0:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} leaves none of epochs={self.epochs}; lower it or train longer"
            )
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr={self.min_lr} exceeds lr={self.lr}; lower it")
        return self


class ResourceSpec(Spec):
    """What one run occupies: `workers` processes of `cpus_per_worker` CPUs and `gpus_per_worker` GPUs each.

    More than one worker trains by DistributedDataParallel; `batch_size` stays the global one. A worker without a
    GPU computes on `cpus_per_worker` threads.
    """

    workers: PositiveInt = 1
    cpus_per_worker: PositiveInt = 1
    gpus_per_worker: NonNegativeFloat = 0.0


class ScoringSpec(Spec):
    """The scoring pool: `actors` processes beside training. 0 CPUs each means: run at low priority on what is idle.

    commitment: 'split' chooses each region's layer on one half of the stimuli and scores it on the other; 'all' chooses
    and scores on all stimuli, as Brain-Score's public benchmarks do; else a YAML file, benchmark or region -> layer.
    degrees: visual angle of a model's input; stimuli whose size is known are placed in it, on grey or cropped.
    ceiled: the score's convention, see `ceilings.ceiled_score`; by default the benchmark's own.
    reduction: of layers wider than `components`: none, a sparse random projection, or principal components.
    memory_gb, spill_gb: bounds of an actor's memory for features and of its temporary file. cache: a folder for
    representations, or None. resamples: of each score's bootstrap interval; 0 computes none.
    """

    actors: PositiveInt = 1
    cpus: NonNegativeFloat = 0.0
    gpus: NonNegativeFloat = 0.0
    commitment: str = "split"
    degrees: PositiveFloat = 8.0
    ceiled: Literal["r/c", "r2/c", "r2/c2"] | None = None
    reduction: Literal["none", "random_projection", "pca"] = "none"
    components: PositiveInt = 1000
    memory_gb: PositiveFloat = 2.0
    spill_gb: NonNegativeFloat = 16.0
    cache: str | None = None
    resamples: NonNegativeInt = 200


class CheckpointSpec(Spec):
    """Which epochs' weights are kept and which are scored (scored ones are always kept); 0 is before training."""

    keep: tuple[Epoch, ...] = ("last",)
    score: tuple[Epoch, ...] = ("last",)


class ModelSpec(Spec):
    """One architecture: `family` at width `size`.

    resnet: `size` = channels of the first stage (64 is the standard ResNet; even), `depth` in 10, 18, 34, 50, …
    vit, deit3: `size` = embedding dimension (384 is DeiT-S), `depth` = blocks, `heads` divide it.
    convnext: `size` = channels of the first stage (96 is ConvNeXt-T), `depth` = blocks: 4, 12, 14, 18, 36.
    efficientnet: `size` = width coefficient in percent (100 is B0), `depth` = blocks: 7, 16, 23, 26, …
    alexnet, cornet_s: `size` = channels of the first convolution (64 is the published network).
    timm: `size` = the model's stock parameters, `variant` = its name.

    variant: what the numbers leave open, for published sizes alone. asked: how the study file wrote a size that is no
    width; it is shown, and has no part in the run's id.
    """

    family: str
    size: PositiveInt
    depth: PositiveInt | None = None
    heads: PositiveInt | None = None
    variant: str | None = None
    asked: str | None = None

    def label(self) -> str:
        if self.family == "timm":
            return f"timm {self.variant}"
        depth = "" if self.depth is None else f"-{self.depth}"
        asked = "" if self.asked is None else f" ({self.asked})"
        return f"{self.family}{depth} w{self.size}{asked}"

    def identity(self) -> dict[str, Any]:
        """What determines the architecture; `variant` only where there is one."""
        return self.model_dump(exclude={"asked"} if self.variant else {"asked", "variant"})


class AskedSize(Spec):
    """A size that is neither a width nor a name.

    width: a multiple of the family's standard width (ResNet 64, ViT 384, …), rounded to the nearest possible.
    params: a parameter count, of which the nearest that can be built at the family's depth is taken, by width; counted
    at `dataset.image_size`, with a classifier of `classes` classes or, without `classes`, before the classifier.
    """

    width: Annotated[float, Field(gt=0, le=1e4)] | None = None
    params: Annotated[float, Field(ge=1, le=1e12)] | None = None
    classes: PositiveInt | None = None

    @model_validator(mode="after")
    def _check(self) -> AskedSize:
        if (self.width is None) == (self.params is None):
            raise ValueError("give either width or params")
        if self.params is None and self.classes is not None:
            raise ValueError("classes belongs to params")
        return self


def _as_size(value: Any) -> int | str | AskedSize:
    """A number is a width, text is a name (also '18' in quotes), a mapping asks for a multiple or a count."""
    if isinstance(value, AskedSize) or (isinstance(value, str) and value.strip()):
        return value
    if isinstance(value, dict):
        try:
            return AskedSize.model_validate(value)
        except ValidationError as error:
            details = [(".".join(map(str, detail["loc"])), detail["msg"]) for detail in error.errors()]
            problem = ", ".join(f"{field}: {text}".removeprefix(": ") for field, text in details)
            raise _size_error(problem.replace("Value error, ", "") + "; ") from error
    whole = isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    if not whole or value < 1:
        raise _size_error("")
    return int(value)


def _size_error(problem: str) -> PydanticCustomError:
    wanted = "a whole width greater than 0, a name in the family's ladder, {params: 1e6} or {width: 0.5}"
    return PydanticCustomError("model_size", "{text}", {"text": f"{problem}a size should be {wanted}"})


Size = Annotated[int | str | AskedSize, PlainValidator(_as_size)]


class FamilySpec(Spec):
    """A size ladder of one family; `training` and `resources` override the study's fields for its runs.

    sizes: each a width (16), a published size by name ('18' in quotes or resnet18, tiny, b0; a model's name for family
    timm), a multiple of the standard width ({width: 0.5}) or a parameter count ({params: 1e6}), see `AskedSize`.
    """

    family: str
    sizes: Annotated[tuple[Size, ...], Field(min_length=1)]
    depth: PositiveInt | None = None
    heads: PositiveInt | None = None
    training: dict[str, Any] = {}
    resources: dict[str, Any] = {}


class RunSpec(Spec):
    """One training run. Its `run_id` hashes what determines the weights; where it runs and what is kept do not."""

    study: str
    model: ModelSpec
    dataset: DatasetSpec
    images_per_class: PositiveInt | None
    seed: NonNegativeInt
    objective: ObjectiveField
    training: TrainingSpec
    resources: ResourceSpec
    keep_epochs: tuple[int, ...]
    score_epochs: tuple[int, ...]

    @property
    def run_id(self) -> str:
        """First 12 hex digits of SHA-256 over the canonical JSON of model, data, seed, objective and training."""
        canonical = {
            "model": self.model.identity(),
            "dataset": {"name": self.dataset.name, "image_size": self.dataset.image_size},
            "images_per_class": self.images_per_class,
            "seed": self.seed,
            "objective": canonical_objective(self.objective),
            "training": self.training.model_dump(),
        }
        text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def label(self) -> str:
        images = "all" if self.images_per_class is None else self.images_per_class
        return f"{self.model.label()}, {images} images/class, seed {self.seed}"


def _as_dataset(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _safe_name(value: str) -> str:
    if not value or value.startswith(".") or not all(c.isalnum() or c in "-_." for c in value):
        raise ValueError(f"'{value}' must consist of letters, digits, '-', '_' and '.': it names a folder")
    return value


class StudySpec(Spec):
    """A controlled experiment: every family and size x every data size x every seed, trained alike and scored.

    data_sizes: images a class, or 'all'. storage: local path or pyarrow URI; the study lives in `storage/name`.
    mlflow: tracking URI; by default a SQLite store beside the results.
    """

    name: Annotated[str, AfterValidator(_safe_name)]
    dataset: Annotated[DatasetSpec, BeforeValidator(_as_dataset)]
    models: Annotated[tuple[FamilySpec, ...], Field(min_length=1)]
    data_sizes: Annotated[tuple[DataSize, ...], Field(min_length=1)] = ("all",)
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    objective: ObjectiveField = "supervised"
    training: TrainingSpec = TrainingSpec()
    checkpoints: CheckpointSpec = CheckpointSpec()
    benchmarks: Annotated[tuple[str, ...], Field(min_length=1)]
    resources: ResourceSpec = ResourceSpec()
    scoring: ScoringSpec = ScoringSpec()
    storage: str = "results"
    mlflow: str | None = None
    max_failures: NonNegativeInt = 2


def load_study(path: str | Path) -> StudySpec:
    """Read and check a study file.

    Raises:
        StudyError: the file is missing, is not YAML, or a field is unknown or impossible; the message names it.
    """
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"study file '{path}' cannot be read ({error}); give the path of a YAML file") from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StudyError(f"study file '{path}' is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise StudyError(f"study file '{path}' holds no fields; see jobs/studies/quickstart.yaml for an example")
    return parse_study(content, where=str(path))


def parse_study(content: dict[str, Any], where: str = "study") -> StudySpec:
    """A checked StudySpec from plain data, every run of which can be expanded."""
    try:
        study = StudySpec.model_validate(content)
    except ValidationError as error:
        raise StudyError(_explain(error, where)) from error
    expand_study(study, where)
    return study


def expand_study(study: StudySpec, where: str = "study") -> list[RunSpec]:
    """All runs of the grid, in the file's order.

    Raises:
        StudyError: an override, a size, a checkpoint or a batch is impossible, or two cells of the grid are one run.
    """
    from scaling.models.sizes import resolve_model

    runs = []
    for index, family in enumerate(study.models):
        place = f"{where}, models[{index}]"
        training = override(study.training, family.training, f"{place}.training")
        resources = override(study.resources, family.resources, f"{place}.resources")
        check_objective(study.objective, training, resources.workers, place)
        for size in family.sizes:
            model = resolve_model(family, size, study.dataset.image_size, place)
            runs += [
                _run(study, model, data_size, seed, training, resources)
                for data_size in study.data_sizes
                for seed in study.seeds
            ]
    _check_epochs(study, runs, where)
    for run in runs:
        check_batches(run, run.training.batch_size, where)  # a full batch; short ones once the data are known
    twice = [run_id for run_id, count in Counter(run.run_id for run in runs).items() if count > 1]
    if twice:
        twin = next(run for run in runs if run.run_id == twice[0])
        raise StudyError(
            f"two runs of the grid are the same ({twin.label()}; id {twice[0]}; {where}); "
            "remove the repeated family, size, data size or seed"
        )
    return runs


def _run(
    study: StudySpec,
    model: ModelSpec,
    data_size: int | str,
    seed: int,
    training: TrainingSpec,
    resources: ResourceSpec,
) -> RunSpec:
    score = _epochs(study.checkpoints.score, training.epochs)
    keep = _epochs(study.checkpoints.keep, training.epochs)
    return RunSpec(
        study=study.name,
        model=model,
        dataset=study.dataset,
        images_per_class=None if data_size == "all" else int(data_size),
        seed=seed,
        objective=study.objective,
        training=training,
        resources=resources,
        keep_epochs=tuple(sorted({*keep, *score, training.epochs})),
        score_epochs=score,
    )


def _epochs(wanted: tuple[int | str, ...], last: int) -> tuple[int, ...]:
    return tuple(sorted({last if epoch == "last" else int(epoch) for epoch in wanted}))


def _check_epochs(study: StudySpec, runs: list[RunSpec], where: str) -> None:
    for run in runs:
        beyond = [epoch for epoch in run.keep_epochs if epoch > run.training.epochs]
        if beyond:
            raise StudyError(
                f"checkpoints at epoch {beyond[0]} exceed epochs={run.training.epochs} of {run.label()} "
                f"({where}, checkpoints); lower it, train longer or write 'last'"
            )


def check_batches(run: RunSpec, n_samples: int, where: str) -> None:
    """Batch norm needs two images a worker in every batch; the batches of an epoch differ by at most one image.

    Raises:
        StudyError: the smallest batch of `n_samples` images is too small for the run's workers.
    """
    workers, batch = run.resources.workers, run.training.batch_size
    if n_samples // math.ceil(n_samples / batch) < 2 * workers:
        raise StudyError(
            f"batch_size={batch} on {n_samples:,} images leaves {workers} workers fewer than 2 images each "
            f"({run.label()}; {where}); raise training.batch_size or the data size, or lower resources.workers"
        )


def override(base: SpecT, changes: dict[str, Any], where: str) -> SpecT:
    """The spec with some fields replaced and all checked again; text is read as the field's type.

    Raises:
        StudyError: an unknown field, an impossible value.
    """
    try:
        return type(base).model_validate({**base.model_dump(), **changes})
    except ValidationError as error:
        raise StudyError(_explain(error, where)) from error


def _explain(error: ValidationError, where: str) -> str:
    details = error.errors(include_url=False)
    inner = [detail for detail in details if not any(_inside(other["loc"], detail["loc"]) for other in details)]
    problems: dict[tuple[Any, ...], list[Any]] = {}
    for detail in inner:
        problems.setdefault(_location(detail), []).append(detail)
    return "\n".join(_explain_one(location, found, error.title, where) for location, found in problems.items())


def _inside(location: tuple[Any, ...], outer: tuple[Any, ...]) -> bool:
    return len(location) > len(outer) and location[: len(outer)] == outer


def _location(detail: Any) -> tuple[Any, ...]:
    """The field's path, without the name that pydantic appends for each branch of a number or 'all'."""
    if detail["type"] == "extra_forbidden":
        return tuple(detail["loc"])
    return tuple(part for part in detail["loc"] if isinstance(part, int) or part.isidentifier())


def _explain_one(location: tuple[Any, ...], found: list[Any], title: str, where: str) -> str:
    """One field's problem; `found` holds one detail for every branch that its value could have been."""
    detail = found[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if detail["type"] == "extra_forbidden":
        owner = _owner(location, title)
        return f"unknown field '{field}' ({where}); {known_names(str(location[-1]), owner.model_fields)}"
    if detail["type"] == "missing":
        return f"field '{field}' is missing ({where}); add it"
    others = [" or " + other["msg"].removeprefix("Input should be ") for other in found[1:]]
    message = "".join([detail["msg"].removeprefix("Value error, "), *others])
    place = f"{field}={detail['input']!r}: " if field and detail["type"] != "value_error" else ""
    return f"{place}{message} ({where}{', ' + field if field and not place else ''}); correct it"


def _owner(location: tuple[Any, ...], title: str) -> type[Spec]:
    """The spec that a field path belongs to, for the list of its known fields."""
    owner: type[Spec] = {spec.__name__: spec for spec in (StudySpec, TrainingSpec, ResourceSpec, ScoringSpec)}[title]
    nested: dict[str, type[Spec]] = {
        "dataset": DatasetSpec,
        "models": FamilySpec,
        "training": TrainingSpec,
        "checkpoints": CheckpointSpec,
        "resources": ResourceSpec,
        "scoring": ScoringSpec,
    }
    for part in location[:-1]:
        owner = nested.get(part, owner) if isinstance(part, str) else owner
    return owner
