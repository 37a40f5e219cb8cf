"""Checkpoints: a model's weights with everything that scoring needs, and hashes, in the header."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from scaling.checkpoints.tensors import damaged, load_tensors, opened, plain_tensors, save_tensors, weights_sha256
from scaling.errors import DamagedFile, MissingFile, StudyError
from scaling.layout import weights_name
from scaling.models import build_model
from scaling.specs.run import RunSpec
from scaling.version import VERSION

if TYPE_CHECKING:
    from torch import nn

    from scaling.storage import Storage

FACTS, FACTS_HASH, WEIGHTS_HASH = "checkpoint", "checkpoint_sha256", "weights_sha256"  # entries of the header


class CheckpointInfo(BaseModel):
    """What a weights file says of itself; `mean` and `std` are the channel statistics its images were scaled by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: RunSpec
    epoch: int
    samples_seen: int
    flops: float
    accuracy: float
    image_size: int
    n_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def save_weights(storage: Storage, model: nn.Module, info: CheckpointInfo) -> None:
    """Write a checkpoint, whole or not at all.

    Its header holds `checkpoint`, the info as JSON; `checkpoint_sha256` of that text; `weights_sha256`, see there; and
    `version`, of this package.
    """
    tensors, facts = plain_tensors(model.state_dict()), info.model_dump_json()
    hashes = {FACTS_HASH: hashlib.sha256(facts.encode()).hexdigest(), WEIGHTS_HASH: weights_sha256(tensors)}
    name = weights_name(info.run.run_id, info.epoch)
    save_tensors(storage, name, tensors, {FACTS: facts, "version": VERSION} | hashes)


def load_weights(storage: Storage, run_id: str, epoch: int, verify: bool = False) -> tuple[nn.Module, CheckpointInfo]:
    """The model of a run at an epoch, in eval mode on the CPU; `verify` hashes the weights too.

    Raises:
        MissingFile, DamagedFile: naming run and epoch; damaged is also a file that is not what its name or its hashes
            say. StudyError: a file of another version.
    """
    name = weights_name(run_id, epoch)
    try:
        model, info = load_checkpoint(storage, name, verify)
        if (info.run.run_id, info.epoch) != (run_id, epoch):
            raise damaged(storage.path(name), f"holds run {info.run.run_id}, epoch {info.epoch}, not what it is named")
    except (MissingFile, DamagedFile) as error:
        raise type(error)(f"epoch {epoch} of run {run_id}: {error}") from error
    return model, info


def load_checkpoint(storage: Storage, name: str, verify: bool = False) -> tuple[nn.Module, CheckpointInfo]:
    """As `load_weights`, of a file of any name.

    Raises:
        MissingFile, DamagedFile: the latter also where it is not what its hashes say. StudyError: one of
            another version, or without hashes to verify.
    """
    tensors, header = load_tensors(storage, name)
    info = _checked_info(header, storage.path(name))
    if verify:
        _verify_weights(tensors, header, storage.path(name))
    model = build_model(info.run.model, info.image_size, info.n_classes)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise StudyError(
            f"the weights in '{storage.path(name)}' are not those of {info.run.model.label()} "
            f"({str(error).splitlines()[1].strip()}); it was written by version {header.get('version', 'unknown')}, "
            f"this is {VERSION}"
        ) from error
    return model.eval(), info


def load_info(storage: Storage, name: str) -> CheckpointInfo:
    """What a weights file says of itself, without its weights.

    Raises:
        MissingFile, DamagedFile; StudyError: a file of another version.
    """
    with opened(storage, name) as file:
        header = file.metadata() or {}
    return _checked_info(header, storage.path(name))


def _checked_info(header: Mapping[str, str], path: str) -> CheckpointInfo:
    """The facts in a header, whose hash must be that of the text; files from before the hashes have none."""
    if FACTS not in header:
        raise DamagedFile(f"'{path}' is no checkpoint of a run (its header has no '{FACTS}'); give one of its epochs")
    facts = header[FACTS]
    if header.get(FACTS_HASH) not in (None, hashlib.sha256(facts.encode()).hexdigest()):
        raise damaged(path, f"has a header that is not what was written ({FACTS_HASH} differs)")
    try:
        return CheckpointInfo.model_validate_json(facts)
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise StudyError(
            f"'{path}' was written by version {header.get('version', 'unknown')} and this is {VERSION} "
            f"({field}: {error.errors()[0]['msg']}); use that version"
        ) from error


def _verify_weights(tensors: Mapping[str, torch.Tensor], header: Mapping[str, str], path: str) -> None:
    if WEIGHTS_HASH not in header:
        raise StudyError(
            f"'{path}' was written without hashes, so that nothing can be verified; load it without verify"
        )
    if weights_sha256(tensors) != header[WEIGHTS_HASH]:
        raise damaged(path, f"has weights that are not what was written ({WEIGHTS_HASH} differs)")
