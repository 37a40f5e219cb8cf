"""What is recorded of a run: its epochs, its checkpoints' headers, and its end."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from scaling.checkpoints.resume import RunProgress
from scaling.checkpoints.weights import CheckpointInfo
from scaling.data.images import ImageData
from scaling.models.cost import ModelCost, training_flops
from scaling.records import EpochRecord, RunRecord, RunStatus, run_record
from scaling.specs.horizon import images_before
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec
from scaling.train.node_use import NodeUse


class Measured(NamedTuple):
    """What was measured after an epoch: accuracy on the held-out images, loss on a probe's validation images."""

    accuracy: float | None = None
    validation_loss: float | None = None


@dataclass(frozen=True)
class Notes:
    """Records of one run on n_samples unique images; what it has done so far stands in its RunProgress.

    computing: as in RunRecord.
    """

    run: RunSpec
    data: ImageData
    n_samples: int
    cost: ModelCost
    computing: str | None = None
    started_at: float = field(default_factory=time.time)
    node: NodeUse = field(default_factory=NodeUse)

    def samples_seen(self, epoch: int) -> int:
        """D after `epoch` epochs: epochs x n_samples."""
        return epoch * self.n_samples

    def flops(self, samples_seen: int) -> float:
        return training_flops(self.cost.flops_per_image, samples_seen, objective_spec(self.run.objective).passes)

    def checkpoint(self, epoch: int, accuracy: float) -> CheckpointInfo:
        """What a checkpoint's header says."""
        samples = self.samples_seen(epoch)
        return CheckpointInfo(
            run=self.run,
            epoch=epoch,
            samples_seen=samples,
            flops=self.flops(samples),
            accuracy=accuracy,
            image_size=self.data.image_size,
            n_classes=self.data.n_classes,
            mean=self.data.mean,
            std=self.data.std,
        )

    def epoch(
        self, epoch: int, loss: float | None, lr: float | None, measured: Measured, seconds: float, busy_s: float
    ) -> EpochRecord:
        """An epoch's record; `busy_s` of its seconds were spent in steps."""
        samples = self.samples_seen(epoch)
        return EpochRecord(
            run_id=self.run.run_id,
            epoch=epoch,
            samples_seen=samples,
            flops=self.flops(samples),
            loss=loss,
            lr=lr,
            accuracy=measured.accuracy,
            validation_loss=measured.validation_loss,
            epoch_s=seconds,
            images_per_s=self.n_samples / seconds if busy_s else None,
            compute_share=busy_s / seconds if busy_s else None,
            ended_at=time.time(),
            host=platform.node(),
            node_use=json.dumps({name: round(share, 4) for name, share in self.node.take().items()}),
        )

    def end(self, status: RunStatus, reason: str | None, progress: RunProgress) -> RunRecord:
        """The run's record, after the epochs in `progress`."""
        done, last = progress.epoch, progress.history[-1]
        samples = self.samples_seen(done)
        return run_record(
            self.run,
            status,
            reason,
            image_size=self.data.image_size,
            n_samples=self.n_samples,
            epochs_done=done,
            kept=tuple(epoch for epoch in self.run.keep_epochs if epoch <= done),
            n_params=self.cost.n_params,
            flops_per_image=self.cost.flops_per_image,
            samples_seen=samples,
            flops=self.flops(samples),
            flops_spent=self.flops(max(0, samples - self._shared(progress))),
            loss=last.loss,
            accuracy=last.accuracy,
            validation_loss=last.validation_loss,
            started_at=self.started_at,
            ended_at=time.time(),
            n_skipped=len(self.data.skipped),
            computing=self.computing,
            **self._throughput(progress),
        )

    def _shared(self, progress: RunProgress) -> int:
        """Samples that the run's trunk has seen for it."""
        return images_before(self.run.training.for_samples(self.n_samples), self.n_samples, progress.shared_steps)

    def _throughput(self, progress: RunProgress) -> dict[str, float]:
        """Images and training FLOP a second of all epochs, and the share of the time that was spent in steps."""
        trained = [record for record in progress.history if record.compute_share is not None]
        seconds = sum(record.epoch_s for record in trained)
        images = len(trained) * self.n_samples
        busy = sum(record.epoch_s * (record.compute_share or 0.0) for record in trained)
        return {
            "train_s": progress.train_s,
            "images_per_s": images / seconds,
            "flops_per_s": self.flops(images) / seconds,
            "compute_share": busy / seconds,
        }
