"""One run's training: a plain PyTorch loop, epoch by epoch, that resumes exactly. It knows nothing of Ray."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from scaling.compute import ModelCost, model_cost, training_flops
from scaling.data.images import ImageData
from scaling.data.subsets import nested_subset
from scaling.models import build_model
from scaling.records import EpochRecord, ResultsStore, RunStatus, run_record
from scaling.storage import Storage
from scaling.study import RunSpec, check_batches
from scaling.train import checkpoint
from scaling.train.batches import augment, epoch_batches, steps_per_epoch, to_input
from scaling.train.evaluate import count_correct, subset_readout
from scaling.train.objectives.base import Batch
from scaling.train.objectives.registry import build_objective
from scaling.train.objectives.spec import check_objective, objective_spec
from scaling.train.objectives.start import load_start
from scaling.train.optim import build_optimizer, learning_rate

RESUME_INTERVAL_S = 2.0  # epochs shorter than this share a resume file; a longer epoch always writes one


@dataclass(frozen=True)
class Worker:
    """This process's place in the run: `rank` of `world` processes, computing on `device` with `threads`."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    threads: int = 1


@dataclass
class TrainState:
    """What a resume must bring back, beside weights, optimizer and random state."""

    epoch: int = 0
    train_s: float = 0.0
    history: list[EpochRecord] = field(default_factory=list)


class Training:
    """One run on one worker; iterate `epochs()` to advance it.

    After the last epoch, the RunRecord and the epochs' records are in the store and the resume file is gone.
    Killed at any moment and started again, the run ends with the same weights and records.
    """

    def __init__(self, run: RunSpec, data: ImageData, storage: Storage, worker: Worker | None = None) -> None:
        self.run, self.data, self.storage = run, data, storage
        self.worker = worker or Worker()
        self.store = ResultsStore(storage)
        self.device = torch.device(self.worker.device)
        torch.set_num_threads(self.worker.threads)
        torch.manual_seed(run.seed)
        self.subset = nested_subset(data.train.labels, run.images_per_class, run.seed)
        check_batches(run, len(self.subset), f"dataset '{data.name}'")
        check_objective(run.objective, run.training, self.worker.world, f"study '{run.study}'")
        self.cost: ModelCost = model_cost(run.model, data.image_size, data.n_classes)
        self.model = build_model(run.model, data.image_size, data.n_classes).to(self.device)
        self.steps = steps_per_epoch(len(self.subset), run.training.batch_size)
        options = objective_spec(run.objective)
        self.passes = options.passes
        if options.start_from is not None:
            load_start(self.model, run, options.start_from)
        self.objective = build_objective(run, data, self.subset, self.model)
        self.optimizer = build_optimizer(self.model, run.training, self.objective)
        self.trained = [p for module in (self.model, self.objective) for p in module.parameters() if p.requires_grad]
        self.network: nn.Module = DistributedDataParallel(self.model) if self.worker.world > 1 else self.model
        self.state = TrainState()
        self._last_save_s = time.monotonic()
        self._started_at = time.time()

    def epochs(self) -> Iterator[EpochRecord]:
        """Train to the end, yielding each epoch's record; a finished or diverged run yields nothing."""
        if self._is_done():
            return
        if not self._resume() and 0 in self.run.keep_epochs:
            yield self._start()
        while self.state.epoch < self.run.training.epochs:
            record = self._advance()
            yield record
            if record.loss is None:
                return
        self._finish("finished", None)

    def _is_done(self) -> bool:
        record = self.store.read_run(self.run.run_id)
        return record is not None and record.status != "failed"

    def _start(self) -> EpochRecord:
        began = time.monotonic()
        accuracy = self._keep(0)
        record = self._epoch_record(0, None, None, accuracy, time.monotonic() - began)
        self.state.history.append(record)
        self.state.train_s += record.epoch_s
        return record

    def _advance(self) -> EpochRecord:
        began = time.monotonic()
        epoch = self.state.epoch
        loss, lr = self._train_epoch(epoch)
        broken = self._broken(loss)
        if broken is not None:
            return self._diverge(epoch + 1, broken, lr, time.monotonic() - began)
        self.state.epoch = epoch + 1
        accuracy = self._keep(epoch + 1) if epoch + 1 in self.run.keep_epochs else None
        record = self._epoch_record(epoch + 1, loss, lr, accuracy, time.monotonic() - began)
        self.state.history.append(record)
        self.state.train_s += record.epoch_s
        self._save_resume()
        return record

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        """One pass over the subset; the mean loss over images and the last rate."""
        spec, worker = self.run.training, self.worker
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        self.network.train()
        self.objective.train()
        lr = spec.lr
        batches = epoch_batches(len(self.subset), spec.batch_size, self.run.seed, epoch)
        for step, batch in enumerate(batches):
            lr = learning_rate(spec, epoch * self.steps + step, self.steps)
            total += self.step(self.load_batch(self.subset[batch], (epoch, step)), lr)
        if worker.world > 1:
            distributed.all_reduce(total)
        return float(total) / len(self.subset), lr

    def load_batch(self, index: np.ndarray, place: tuple[int, int]) -> Batch:
        """This worker's share of the global batch `index` of training images, on the device, augmented.

        An image's map is cropped and flipped with it, as a fourth channel.
        """
        images, data = self.data.train, self.data
        share = slice(self.worker.rank, None, self.worker.world)
        chosen = index[share]
        pixels = to_input(images.images[chosen], data.mean, data.std, self.device)
        labels = torch.from_numpy(images.labels[chosen]).to(self.device)
        if images.maps is None:
            pixels = augment(pixels, self.run.training, self.run.seed, place, share, len(index))
            return Batch(pixels, labels, place, share, len(index))
        maps = torch.from_numpy(images.maps[chosen]).to(self.device, torch.float32)
        has_map = maps.isfinite().all(2).all(1)
        both = torch.cat([pixels, maps.nan_to_num(0.0)[:, None]], 1)
        both = augment(both, self.run.training, self.run.seed, place, share, len(index))
        return Batch(both[:, :3].contiguous(), labels, place, share, len(index), both[:, 3], has_map)

    def step(self, batch: Batch, lr: float) -> torch.Tensor:
        """One optimizer step on this worker's share; the share's summed loss.

        Gradients are averaged over workers, so the local sum is scaled by world / n_global: the step then equals
        that of one process with the whole batch, also where the shares differ by an image.
        """
        spec = self.run.training
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.objective.loss(self.network, batch)
        (loss * (self.worker.world / batch.n_global)).backward()
        if spec.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.trained, spec.clip_norm)
        self.optimizer.step()
        epoch, step = batch.place
        self.objective.after_step(self.model, epoch * self.steps + step)
        return loss.detach()

    def _keep(self, epoch: int) -> float:
        """Measure the held-out accuracy and write this epoch's weights."""
        if self.worker.world > 1:
            for buffer in self.model.buffers():
                distributed.broadcast(buffer, 0)
        accuracy = self._accuracy()
        if self.worker.rank == 0:
            samples = self.samples_seen(epoch)
            info = checkpoint.CheckpointInfo(
                run=self.run,
                epoch=epoch,
                samples_seen=samples,
                flops=self._flops(samples),
                accuracy=accuracy,
                image_size=self.data.image_size,
                n_classes=self.data.n_classes,
                mean=self.data.mean,
                std=self.data.std,
            )
            checkpoint.save_weights(self.storage, self.objective.evaluated(self.model), info)
        return accuracy

    def _accuracy(self) -> float:
        model = self.objective.evaluated(self.model)
        classify = None
        if self.objective.readout:
            classify = subset_readout(model, self.objective.setting.layer, self.data, self.subset, self.device)
        correct = count_correct(model, self.data.heldout, self.data, self.worker, classify)
        if self.worker.world > 1:
            distributed.all_reduce(correct)
        return float(correct) / len(self.data.heldout)

    def samples_seen(self, epoch: int) -> int:
        """D after `epoch` epochs: epochs x n_samples."""
        return epoch * len(self.subset)

    def _flops(self, samples_seen: int) -> float:
        return training_flops(self.cost.flops_per_image, samples_seen, self.passes)

    def _epoch_record(
        self, epoch: int, loss: float | None, lr: float | None, accuracy: float | None, seconds: float
    ) -> EpochRecord:
        samples = self.samples_seen(epoch)
        return EpochRecord(
            run_id=self.run.run_id,
            epoch=epoch,
            samples_seen=samples,
            flops=self._flops(samples),
            loss=loss,
            lr=lr,
            accuracy=accuracy,
            epoch_s=seconds,
        )

    def _broken(self, loss: float) -> str | None:
        """What is not finite after an epoch; the last step's damage shows only in the weights, alike in all workers."""
        if not math.isfinite(loss):
            return f"loss became {loss}"
        if not bool(torch.stack([torch.isfinite(weight).all() for weight in self.trained]).all()):
            return "a weight became infinite"
        return None

    def _diverge(self, epoch: int, broken: str, lr: float, seconds: float) -> EpochRecord:
        record = self._epoch_record(epoch, None, lr, None, seconds)
        self.state.history.append(record)
        self.state.train_s += seconds
        self._finish("diverged", f"{broken} in epoch {epoch} at lr={lr:.3g}; lower training.lr or clip_norm")
        return record

    def _finish(self, status: RunStatus, reason: str | None) -> None:
        if self.worker.rank != 0:
            return
        last = self.state.history[-1]
        self.store.write_epochs(self.state.history)
        self.store.write_run(
            run_record(
                self.run,
                status,
                reason,
                image_size=self.data.image_size,
                n_samples=len(self.subset),
                epochs_done=self.state.epoch,
                kept=tuple(epoch for epoch in self.run.keep_epochs if epoch <= self.state.epoch),
                n_params=self.cost.n_params,
                flops_per_image=self.cost.flops_per_image,
                samples_seen=self.samples_seen(self.state.epoch),
                flops=self._flops(self.samples_seen(self.state.epoch)),
                loss=last.loss,
                accuracy=last.accuracy,
                train_s=self.state.train_s,
                started_at=self._started_at,
                ended_at=time.time(),
            )
        )
        self.storage.delete(checkpoint.resume_name(self.run.run_id))

    def _save_resume(self) -> None:
        too_soon = time.monotonic() - self._last_save_s < RESUME_INTERVAL_S
        if too_soon or self.worker.rank != 0 or self.state.epoch == self.run.training.epochs:
            return
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"objective.{name}": tensor for name, tensor in self.objective.state_dict().items()}
        tensors |= checkpoint.flat_optimizer_state(self.optimizer)
        tensors |= checkpoint.random_state(self.device)
        header = {
            "epoch": str(self.state.epoch),
            "train_s": repr(self.state.train_s),
            "history": json.dumps([record.model_dump() for record in self.state.history]),
        }
        checkpoint.save_tensors(self.storage, checkpoint.resume_name(self.run.run_id), tensors, header)
        self._last_save_s = time.monotonic()

    def _resume(self) -> bool:
        """Continue from the resume file, if there is one."""
        name = checkpoint.resume_name(self.run.run_id)
        if not self.storage.exists(name):
            return False
        tensors, header = checkpoint.load_tensors(self.storage, name)
        self.model.load_state_dict(checkpoint.model_tensors(tensors))
        self.objective.load_state_dict(checkpoint.objective_tensors(tensors))
        checkpoint.restore_optimizer_state(self.optimizer, tensors)
        checkpoint.restore_random_state(tensors, self.device)
        history = [EpochRecord.model_validate(row) for row in json.loads(header["history"])]
        self.state = TrainState(int(header["epoch"]), float(header["train_s"]), history)
        return True
