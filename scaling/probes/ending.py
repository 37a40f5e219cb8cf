"""A probe that its scheduler ends before its last epoch: its record, and what the rung asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence

from scaling.enough import RunSize
from scaling.layout import resume_name
from scaling.records import EpochRecord, ResultsStore, run_record
from scaling.specs.run import RunSpec


def cut_reason(run: RunSpec, epoch: int, loss: float, asked: float) -> str:
    return (
        f"cut off at epoch {epoch} of {run.training.epochs} by ASHA: validation loss {loss:.3g}, the rung asks "
        f"<= {asked:.3g}"
    )


def write_cut(
    store: ResultsStore, run: RunSpec, epochs: Sequence[EpochRecord], reason: str, size: RunSize
) -> None:  # fmt: skip
    """The records of a probe that was cut after `epochs`; its resume file goes.

    Args:
        size: of the run, had it been trained to its end.
    """
    last = epochs[-1]
    n_samples = last.samples_seen // last.epoch
    passes = size.flops / size.samples_seen
    store.write_epochs(epochs)
    store.write_run(run_record(
        run, "cut", reason, image_size=run.dataset.image_size, n_samples=n_samples, epochs_done=last.epoch,
        n_params=size.n_params, samples_seen=last.samples_seen, flops=passes * last.samples_seen, loss=last.loss,
        validation_loss=last.validation_loss, train_s=sum(epoch.epoch_s for epoch in epochs), ended_at=time.time(),
    ))  # fmt: skip
    store.storage.delete(resume_name(run.run_id))
