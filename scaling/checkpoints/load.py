"""A trained model for anyone: from a study's results or from one file, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image
from torchvision import transforms

from scaling.checkpoints.weights import CheckpointInfo, load_checkpoint, load_info
from scaling.data.modes import as_rgb
from scaling.data.prepared.pixels import REDUCING_GAP, Square
from scaling.errors import StudyError, known_names
from scaling.layout import WEIGHTS, weights_name, weights_names
from scaling.models import candidate_layers
from scaling.place import Place, shown
from scaling.records import ResultsStore, RunRecord
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.storage import Storage
from scaling.study import load_study

if TYPE_CHECKING:
    from torch import nn

Source = str | Path | RunRecord | RunSpec
StudySource = str | Path | StudySpec | Any  # Any: an opened study, by its storage


def load_model(
    source: Source,
    epoch: int | Literal["last"] = "last",
    study: StudySource | None = None,
    storage: str | Path | None = None,
    verify: bool = False,
) -> nn.Module:
    """A trained model in eval mode on the CPU, which maps (n, 3, size, size) images to (n, classes) logits.

    Its attribute `info` is the CheckpointInfo (accuracy, samples_seen, flops, mean, std, …), `layers` the names of the
    layers that may be committed to regions, input side first. `preprocessing(model.info)` makes its input of an image.

    Args:
        source: path or URI of a checkpoint (….safetensors), a run_id, a RunRecord or a RunSpec.
        epoch: of a run; 'last' is the last that is there.
        study: a run's study: its results folder (path or URI), its file (….yaml), a StudySpec or the opened study. A
            record and a spec name it themselves.
        storage: where the studies of records and specs lie, 'results' by default.
        verify: hash the weights and compare with the header.

    Raises:
        StudyError: no such run (near matches are listed), an epoch that is not there (those that are, are listed), a
            damaged file.
    """
    place, name = _find(source, epoch, study, storage)
    model, info = load_checkpoint(place, name, verify)
    vars(model).update(info=info, layers=tuple(candidate_layers(info.run.model, model)))
    return model


def checkpoint_info(
    source: Source,
    epoch: int | Literal["last"] = "last",
    study: StudySource | None = None,
    storage: str | Path | None = None,
) -> CheckpointInfo:
    """What a checkpoint says of itself, without its weights; arguments and errors as `load_model`."""
    return load_info(*_find(source, epoch, study, storage))


def preprocessing(info: CheckpointInfo) -> transforms.Compose:
    """From a PIL image to the model's input (3, size, size), as the held-out images were shown when it was measured.

    RGB; the shorter side to `stored_size` (by default the model's image size), bilinear, antialiased; the centre;
    (x / 255 - mean) / std a channel. An image of more than 8 bits a channel is refused (StudyError).
    """
    dataset = info.run.dataset
    square = Square(dataset.stored_size or dataset.image_size or info.image_size, info.image_size)
    return transforms.Compose(
        [
            RGBResized(square),
            transforms.CenterCrop(square.crop),
            transforms.ToTensor(),
            transforms.Normalize(info.mean, info.std),
        ]
    )


class RGBResized:
    """An RGB image whose shorter side is the square's, bilinear, antialiased: torchvision's Resize.

    A JPEG file that is far larger and not read yet is decoded at a fraction of its size, as data sets are; the given
    image is then that fraction.
    """

    def __init__(self, square: Square) -> None:
        self.square = square

    def __call__(self, image: Image.Image) -> Image.Image:
        wanted = self.square.resized(*image.size)
        image.draft(None, (REDUCING_GAP * wanted[0], REDUCING_GAP * wanted[1]))
        plain = as_rgb(image)
        return plain if plain.size == wanted else plain.resize(wanted, Image.Resampling.BILINEAR)


def _find(
    source: Source, epoch: int | str, study: StudySource | None, storage: str | Path | None
) -> tuple[Storage, str]:
    """The folder and the name in it of a checkpoint."""
    if isinstance(source, str | Path) and Place.of(source).name.endswith(WEIGHTS):
        if epoch != "last" or study is not None or storage is not None:
            raise StudyError(
                f"'{shown(source)}' is one epoch's file; give epoch, study and storage with a run_id alone"
            )
        return Storage.of_file(source)
    run_id = source if isinstance(source, str | Path) else source.run_id
    place = _results(source, study, storage)
    return place, _weights(place, str(run_id), epoch)


def _results(source: Source, study: StudySource | None, storage: str | Path | None) -> Storage:
    """A study's results folder."""
    if study is None and not isinstance(source, str | Path):
        return Storage("results" if storage is None else storage).child(source.study)
    if study is None or storage is not None:
        raise StudyError(
            f"run '{shown(str(source))}': give study=, its results folder (results/NAME) or its file, and no storage=; "
            f"or give the path of a checkpoint (….{WEIGHTS[1:]})"
        )
    if isinstance(opened := getattr(study, "storage", None), Storage):
        return opened
    if not isinstance(study, StudySpec) and str(study).endswith((".yaml", ".yml")):
        study = load_study(study)
    return Storage(study.storage).child(study.name) if isinstance(study, StudySpec) else Storage(study)


def _weights(place: Storage, run_id: str, epoch: int | str) -> str:
    """The name of a run's weights at an epoch."""
    names = weights_names(place, run_id)
    if not names:
        raise StudyError(_no_weights(place, run_id))
    if epoch == "last":
        return names[-1]
    if isinstance(epoch, bool) or not isinstance(epoch, int) or weights_name(run_id, epoch) not in names:
        kept = load_info(place, names[-1]).run.keep_epochs
        there = ", ".join(str(e) for e in kept if weights_name(run_id, e) in names)
        raise StudyError(
            f"epoch {epoch!r} of run {run_id} has no weights in '{place.path()}'; there: {there}, or 'last' "
            "(checkpoints.keep says which stay)"
        )
    return weights_name(run_id, epoch)


def _no_weights(place: Storage, run_id: str) -> str:
    record = ResultsStore(place).read_run(run_id)
    if record is not None:
        reason = f": {record.reason}" if record.reason else ""
        status = record.status.replace("_", " ")
        return f"run {run_id} is {status} and has no weights in '{place.path()}'{reason}; run the study again"
    known = ResultsStore(place).read_runs()
    if not known:
        return f"'{place.path()}' holds no results; give a study's results folder, such as results/quickstart"
    return f"run '{run_id}' is not in '{place.path()}'; {known_names(run_id, known)}"
