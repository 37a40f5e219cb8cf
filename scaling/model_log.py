"""Kept checkpoints in MLflow: each is a LoggedModel, with its scores attached to it and to the data set's digest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from scaling.layout import weights_name
from scaling.mlflow_values import filter_tags
from scaling.specs.run import RunSpec
from scaling.storage import Storage

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_TAG = "scaling.model"  # of a run, followed by an epoch: the LoggedModel of its weights
EPOCH_TAG, WEIGHTS_TAG = "scaling.epoch", "scaling.weights"  # of a LoggedModel
KIND = "checkpoint"


class ModelLog:
    """The LoggedModels of one experiment. They point to the weights, which stay where they are.

    Args:
        known: MLflow's runs that were there before: what a process that was killed made for one is found again.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, storage: Storage, known: Iterable[str]) -> None:
        self._client, self._experiment_id, self._storage = client, experiment_id, storage
        self._known = set(known)

    def models_of(self, child: str, run: RunSpec, epochs: Iterable[int], tags: Mapping[str, str]) -> dict[int, str]:
        """Epoch -> id of the LoggedModel, made where there is none.

        tags: of MLflow's run, which is to get those of `model_tags` next.
        """
        wanted = sorted(set(epochs))
        there = {epoch: tags[model_tag(epoch)] for epoch in wanted if model_tag(epoch) in tags}
        if len(there) < len(wanted) and child in self._known:
            self._known.discard(child)
            there |= {epoch: model for epoch, model in self._find(child).items() if epoch in wanted}
        made = {epoch: self._make(child, run, epoch) for epoch in wanted if epoch not in there}
        if made:
            self._put_out(child, made)
        return there | made

    def _make(self, child: str, run: RunSpec, epoch: int) -> str:
        place = self._storage.place.child(*weights_name(run.run_id, epoch).split("/")).shown
        tags = filter_tags(run) | {EPOCH_TAG: str(epoch), WEIGHTS_TAG: place}
        params = {"run_id": run.run_id, "epoch": str(epoch), "model": run.model.label()}
        model: Any = self._client.create_logged_model(
            self._experiment_id, f"{run.run_id}-epoch-{epoch}", child, tags, params, KIND
        )
        self._client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    def _find(self, child: str) -> dict[int, str]:
        found = self._client.search_logged_models([self._experiment_id], f"source_run_id = '{child}'")
        return {int(model.tags[EPOCH_TAG]): str(model.model_id) for model in found if EPOCH_TAG in model.tags}

    def _put_out(self, child: str, made: dict[int, str]) -> None:
        from mlflow.entities import LoggedModelOutput

        self._client.log_outputs(child, [LoggedModelOutput(model, step=epoch) for epoch, model in made.items()])


def model_tag(epoch: int) -> str:
    return f"{MODEL_TAG}.{epoch}"


def model_tags(models: Mapping[int, str]) -> dict[str, str]:
    """Of MLflow's run: which LoggedModel is of which epoch."""
    return {model_tag(epoch): model for epoch, model in models.items()}
