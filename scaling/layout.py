"""Where the files of a run's checkpoints lie; without torch, which the driver does not need for it."""

from __future__ import annotations

from collections.abc import Iterable

from scaling.storage import Storage

DATASET_FILE = "dataset.json"
ANSWER = "answer"
ANSWER_INDEX = "index.json"  # written last: an answer without it is not whole


def weights_name(run_id: str, epoch: int) -> str:
    return f"checkpoints/{run_id}/epoch-{epoch:05d}.safetensors"


def weights_names(storage: Storage, run_id: str) -> list[str]:
    """Names of all weights of a run that are there, by epoch: one listing."""
    folder = f"checkpoints/{run_id}"
    return [f"{folder}/{name}" for name in storage.names(folder, ".safetensors") if name.startswith("epoch-")]


def resume_name(run_id: str) -> str:
    return f"checkpoints/{run_id}/resume.safetensors"


def delete_weights(storage: Storage, run_id: str, epochs: Iterable[int]) -> None:
    """Remove a run's weights at some epochs; those that are gone are fine, one listing finds them."""
    wanted = [weights_name(run_id, epoch) for epoch in epochs]
    there = set(weights_names(storage, run_id)) if wanted else set()
    for name in wanted:
        if name in there:
            storage.delete(name)
