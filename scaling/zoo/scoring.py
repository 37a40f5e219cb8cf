"""One model of a zoo: loaded once, scored on everything that it lacks, forgotten."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scaling.alignment.features.cache import weights_hash
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.geometry import Geometry, geometry
from scaling.alignment.pooled import AnyBenchmark
from scaling.alignment.protocol import Protocol
from scaling.alignment.score import Subject, missing_scores, score_model
from scaling.alignment.scoring import ScoringOptions
from scaling.checkpoints.weights import load_weights
from scaling.errors import StudyError
from scaling.models import candidate_layers
from scaling.models.any_timm import block_layers, running_layers
from scaling.models.weights_file import read_tensors
from scaling.records import AlignmentRecord
from scaling.specs.zoo import CHECKPOINTS
from scaling.storage import Storage
from scaling.zoo.memory import resident_mb, return_memory
from scaling.zoo.model import PUBLISHED, RANDOM, ZooModel
from scaling.zoo.records import ZooStore, zoo_record
from scaling.zoo.timm_source import create_timm
from scaling.zoo.torchvision_source import READOUTS, create_torchvision, preprocessing_of

if TYPE_CHECKING:
    from collections.abc import Callable

CREATE: dict[str, Callable[[str, bool, int | None], nn.Module]] = {
    "timm": create_timm,
    "torchvision": create_torchvision,
}


def score_zoo_model(
    storage: Storage,
    model: ZooModel,
    benchmarks: Sequence[AnyBenchmark],
    options: ScoringOptions,
    protocols: Mapping[str, Protocol],
    device: str = "cpu",
) -> list[AlignmentRecord]:
    """Score a model on those benchmarks that it has no score of by their protocols, and keep what was counted of it.

    As `score_checkpoint`: one thread, and a benchmark that cannot be computed gives a failed record.

    Raises:
        StudyError: the model cannot be built at its image size, its weights cannot be had or do not fit.
    """
    began = time.process_time()
    torch.set_num_threads(1)
    store = ZooStore(storage)
    known, missing = missing_scores(store, model.model_id, model.epoch, benchmarks, protocols)
    if missing or not store.read_models([model.model_id]):
        subject = load_subject(model)
        counted = _counted(subject)
        subject.model.to(device)
        found: dict[str, dict[str, Geometry]] = {}
        with threadpool_limits(1):
            scores = score_model(subject, missing, _heard(options, found) if model.geometry else options)
        new = [_record(model, score.columns(), protocols[score.benchmark].text) for score in scores]
        store.write_model(zoo_record(model, "scored", None, **counted))  # first: scores without it would be of nothing
        store.write_scores(sorted(new, key=lambda record: record.benchmark))
        known += new
        del subject, scores
        gc.collect()
        return_memory()
        spent: dict[str, object] = {"memory_mb": resident_mb(), "cpu_s": time.process_time() - began}
        spent |= {"geometry": json.dumps(found)} if found else {}
        store.write_model(zoo_record(model, "scored", None, **counted, **spent))
    return sorted(known, key=lambda record: record.benchmark)


def _heard(options: ScoringOptions, found: dict[str, dict[str, Geometry]]) -> ScoringOptions:
    """Options by which each layer's geometry is kept under its stimulus set."""

    def note(stimuli: str, layer: str, values: Representation) -> None:
        found.setdefault(stimuli, {})[layer] = geometry(values)

    return replace(options, on_layer=note)


def _record(model: ZooModel, columns: Mapping[str, object], protocol: str) -> AlignmentRecord:
    unknown = {"samples_seen": None, "flops": None, "accuracy": None}
    place = {"run_id": model.model_id, "epoch": model.epoch, "protocol": protocol}
    return AlignmentRecord.model_validate(unknown | place | dict(columns))


def load_subject(model: ZooModel) -> Subject:
    """A model with its weights, its candidate layers (the readout last) and its preprocessing.

    Its classifier is of no use: which classes its logits are is not known here, so that it makes no choices.

    Raises:
        StudyError: as `score_zoo_model`.
    """
    if model.source == CHECKPOINTS:
        module, info = load_weights(Storage(model.weights), model.name, model.epoch)
        shown = Preprocessing.square(info.image_size, info.mean, info.std)
        return Subject(module, candidate_layers(info.run.model, module), shown, has_classifier=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = CREATE[model.source](model.name, model.weights == PUBLISHED, model.image_size).eval()
    if model.weights not in (RANDOM, PUBLISHED):
        _read_weights(module, model)
    layers = block_layers(module)
    if model.source == "timm":
        shown = Preprocessing.of_timm(module, model.image_size)
    else:
        shown = preprocessing_of(model.name, model.image_size)
        layers += [name for name in READOUTS if name not in layers and hasattr(module, name)]
    return Subject(module, running_layers(module, layers, shown.image_size), shown, has_classifier=False)


def _read_weights(module: nn.Module, model: ZooModel) -> None:
    try:
        module.load_state_dict(read_tensors(Path(model.weights)))
    except (OSError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        told = " ".join(str(error).split())[:200]
        raise StudyError(f"{model.weights} holds no weights of {model.label} ({told}); give this model's") from error


def _counted(subject: Subject) -> dict[str, object]:
    """Parameters, FLOPs of one image at the model's input size, the hash of the weights."""
    counter, size = FlopCounterMode(display=False), subject.preprocessing.image_size
    with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # of fused attention on CPUs nothing is counted
        subject.model(torch.zeros(1, 3, size, size))
    return {
        "n_params": sum(p.numel() for p in subject.model.parameters()),
        "flops_per_image": float(counter.get_total_flops()),
        "weights_sha256": weights_hash(subject.model),
        "image_size": size,
    }
