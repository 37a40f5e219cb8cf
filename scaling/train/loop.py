"""One run's training: a plain PyTorch loop that resumes exactly, between any two steps. It knows nothing of Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cached_property

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from scaling.checkpoints.resume import (
    EPOCH_INTERVAL_S,
    STEP_INTERVAL_S,
    RunProgress,
    SaveClock,
    load_resume,
    save_resume,
)
from scaling.checkpoints.weights import save_weights
from scaling.data.images import ImageData
from scaling.data.subsets import run_images
from scaling.layout import branch_name, resume_name
from scaling.models import build_model
from scaling.models.cost import model_cost
from scaling.models.drop_path import set_drop_path
from scaling.models.mup import check_optimizer
from scaling.records import EpochRecord, ResultsStore, RunStatus, needs_training
from scaling.specs.horizon import average_decay, steps_per_epoch
from scaling.specs.objective import check_objective, objective_spec
from scaling.specs.run import RunSpec, check_batches
from scaling.storage import Storage
from scaling.streams import torch_seed
from scaling.train.average import build_average, follow
from scaling.train.batch import Batch
from scaling.train.computing import RANDOM, check_channels_last, check_computing, check_norms, set_up_torch
from scaling.train.distributed.gather import average_gradients
from scaling.train.distributed.worker import Worker
from scaling.train.evaluate import PixelReadout, count_correct, evaluation_batch, subset_readout, sum_loss
from scaling.train.feed import Feed
from scaling.train.memory import is_out_of_memory, record_out_of_memory
from scaling.train.notes import Measured, Notes
from scaling.train.objectives.registry import build_objective
from scaling.train.objectives.start import load_start
from scaling.train.optim import build_optimizer, learning_rate, set_rates, weight_decay
from scaling.train.step_timer import StepTimer
from scaling.train.wrap import wrap_network

STEPS_A_VOTE = 16  # several workers agree on a save that often: an exchange a step would slow them


def train_run(run: RunSpec, data: ImageData, storage: Storage, worker: Worker | None = None) -> Iterator[EpochRecord]:
    """Train a run to its end, yielding each epoch's record; a run that is done already yields nothing.

    Memory that runs out ends the run with status 'out_of_memory' and the reason in its record.
    """
    try:
        yield from Training(run, data, storage, worker).epochs()
    except Exception as error:  # out of memory comes as RuntimeError on CPUs; everything else goes on its way
        if not is_out_of_memory(error):
            raise
        record_out_of_memory(run, data, storage, error)
        if worker is not None and worker.world > 1:
            raise  # the other workers wait for this one: Ray Train ends them all


class Training:
    """One run on one worker; iterate `epochs()` to advance it.

    After the last epoch, the RunRecord and the epochs' records are in the store and the resume file is gone.
    Killed at any moment and started again, on as many workers or others, the run ends with the same weights and
    records: bit for bit on one CPU worker.
    """

    def __init__(self, run: RunSpec, data: ImageData, storage: Storage, worker: Worker | None = None) -> None:
        self.run, self.data, self.storage = run, data, storage
        self.worker = worker or Worker()
        self.store = ResultsStore(storage)
        self.device = torch.device(self.worker.device)
        self.subset, self.validation = run_images(data.train.labels, run)
        check_batches(run, len(self.subset), f"dataset '{data.name}'")
        where = f"study '{run.study}'"
        check_objective(run.objective, run.training, self.worker.world, where, run.resources.micro_batch)
        check_optimizer(run.model, run.training, where)
        check_computing(run, where)
        self.spec = run.training.for_samples(len(self.subset))
        self.options = objective_spec(run.objective)
        self.steps = steps_per_epoch(len(self.subset), self.spec.batch_size)
        self.branch_steps = run.branch_steps(len(self.subset))
        with RANDOM:
            self.notes = Notes(run, data, len(self.subset), model_cost(run.model, data.image_size, data.n_classes))
            set_up_torch(run, self.worker.threads)
            self._build(run.model_copy(update={"training": self.spec}))
        self.progress = RunProgress()
        self.timer = StepTimer(self.device)
        self._clock = SaveClock()

    def _build(self, run: RunSpec) -> None:
        """Model, objective, optimizer, average and feed; `run` has the training of its own data size."""
        data, resources = self.data, run.resources
        self.model = build_model(run.model, data.image_size, data.n_classes).to(self.device)
        if resources.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
            check_channels_last(self.model, self.device, run.label())
        if self.options.start_from is not None:
            load_start(self.model, run, self.options.start_from)
        self.objective = build_objective(run, data, self.subset, self.model)
        set_drop_path(self.model, self.spec.drop_path)
        self.network = wrap_network(self.model, self.objective, self.worker.world)
        if resources.compile:
            self.model.compile()
        self.optimizer = build_optimizer(self.model, self.spec, self.objective)
        self.trained = [p for module in (self.model, self.objective) for p in module.parameters() if p.requires_grad]
        self.average = build_average(self.model) if self.spec.averages else None
        self.feed = Feed(run, data, self.subset, self.worker, self.options.needs_maps)
        self.draws = any(getattr(m, "p", 0) or getattr(m, "drop_prob", 0) for m in self.model.modules())

    @cached_property
    def _kept_modules(self) -> dict[str, nn.Module]:
        """Whose state a resume needs, by its prefix in the file."""
        modules: dict[str, nn.Module] = {"model": self.model, "objective": self.objective}
        return modules if self.average is None else modules | {"average": self.average}

    def epochs(self) -> Iterator[EpochRecord]:
        """Train to the end, yielding each epoch's record; a finished or diverged run yields nothing."""
        if self._is_done():
            return
        check_norms(self.run, self.worker.world, self.model, self.objective)
        resumed = load_resume(self.storage, self.run.run_id, self._kept_modules, self.optimizer) or self._from_trunk()
        if resumed is not None:
            self.progress = resumed
            if self.run.validation:  # who judges a probe by its epochs hears of all of them, in their order
                yield from resumed.history
        elif 0 in self.run.keep_epochs:
            yield self._start()
        while self.progress.epoch < self.spec.epochs:
            record = self._advance()
            yield record
            if record.loss is None:
                return
        self._finish("finished", None)

    def _from_trunk(self) -> RunProgress | None:
        """The state of the run's trunk where this one cools down, if it is there; it is then this run's."""
        if self.run.trunk is None:
            return None
        steps, run_id = self.run.cooldown_start(len(self.subset)), self.run.run_id
        name = branch_name(self.run.trunk, steps)
        found = load_resume(self.storage, run_id, self._kept_modules, self.optimizer, name)
        return None if found is None else found.of_branch(run_id, steps)

    def _is_done(self) -> bool:
        record = self.store.read_run(self.run.run_id)
        return record is not None and not needs_training(self.run, record)

    def _start(self) -> EpochRecord:
        began = time.monotonic()
        measured = Measured(self._keep(0))
        return self._note(0, None, None, measured, time.monotonic() - began, 0.0)

    def _advance(self) -> EpochRecord:
        """Train to the end of the current epoch, measure and keep its weights if they are to be, and note it all."""
        began, epoch = time.monotonic(), self.progress.epoch
        loss = self._train_epoch(epoch)
        lr = learning_rate(self.spec, (epoch + 1) * self.steps - 1, self.steps)
        broken = self._broken(loss)
        measured = Measured() if broken else self._measure(epoch + 1)
        seconds, busy = self.progress.seconds + time.monotonic() - began, self.progress.busy_s
        record = self._note(epoch + 1, None if broken else loss, lr, measured, seconds, busy)
        if broken is not None:
            self._finish("diverged", f"{broken} in epoch {epoch + 1} at lr={lr:.3g}; lower training.lr or clip_norm")
            return record
        self.progress.epoch, self.progress.step = epoch + 1, 0
        self.progress.loss_sum = self.progress.seconds = self.progress.busy_s = 0.0
        if self._save_is_due(EPOCH_INTERVAL_S) and epoch + 1 < self.spec.epochs:
            self._save(torch.zeros((), dtype=torch.float64, device=self.device), 0.0)
        return record

    def _train_epoch(self, epoch: int) -> float:
        """The rest of an epoch from `progress.step` on; the mean loss over its images."""
        began, first = time.monotonic(), self.progress.step
        mine = self.worker.rank == 0
        total = torch.tensor(self.progress.loss_sum if mine else 0.0, dtype=torch.float64, device=self.device)
        self.network.train()
        self.objective.train()
        for step, batch in enumerate(self.feed.batches(epoch, first), start=first):
            with self.timer:
                total += self.step(batch, learning_rate(self.spec, epoch * self.steps + step, self.steps))
            self.progress.step = step + 1
            if epoch * self.steps + step + 1 in self.branch_steps:
                state = branch_name(self.run.run_id, epoch * self.steps + step + 1)
                self._save(total, time.monotonic() - began, state)
            if self.progress.step < self.steps and self._save_is_due(STEP_INTERVAL_S, step + 1):
                self._save(total, time.monotonic() - began)
        self.progress.busy_s += self.timer.take()
        return self._over_workers(total) / len(self.subset)

    def _over_workers(self, total: torch.Tensor) -> float:
        """The sum over workers; `total` stays this worker's own."""
        if self.worker.world > 1:
            total = total.clone()
            distributed.all_reduce(total)
        return float(total)

    def load_batch(self, index: np.ndarray, place: tuple[int, int]) -> Batch:
        """This worker's share of the global batch `index` of training images, on the device, augmented."""
        return self.feed.load(index, place)

    def step(self, batch: Batch, lr: float) -> torch.Tensor:
        """One optimizer step on this worker's share, in micro-batches where they are asked for; its summed loss.

        Gradients are averaged over workers, so the local sum is scaled by world / n_global: the step then equals
        that of one process with the whole batch, also where the shares differ by an image.
        """
        epoch, step = batch.place
        number = epoch * self.steps + step
        set_rates(self.optimizer, lr, weight_decay(self.spec, number, self.steps))
        self.optimizer.zero_grad(set_to_none=True)
        with RANDOM if self.draws else nullcontext():
            if self.draws:  # dropout and stochastic depth: a function of the place, so that nothing has to be saved
                torch.manual_seed(torch_seed("model", self.run.seed, epoch, step, self.worker.rank))
            loss = self._backward(batch)
        average_gradients(self.objective.parameters())
        if self.spec.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.trained, self.spec.clip_norm)
        self.optimizer.step()
        self.objective.after_step(self.model, number)
        if self.average is not None:
            follow(self.average, self.model, average_decay(self.spec, number, self.steps))
        return loss

    def _backward(self, batch: Batch) -> torch.Tensor:
        """Gradients of the share's loss, exchanged between workers with the last micro-batch; the summed loss."""
        micro = self.run.resources.micro_batch
        largest = math.ceil(batch.n_global / self.worker.world)  # alike in all workers, whose shares may differ by one
        parts = batch.parts(1 if micro is None else math.ceil(largest / micro))
        scale = self.worker.world / batch.n_global
        total = torch.zeros((), device=self.device)
        for number, part in enumerate(parts, start=1):
            waits = number < len(parts) and isinstance(self.network, DistributedDataParallel)
            with self.network.no_sync() if waits else nullcontext():  # type: ignore[operator]
                # Without its cache, which all threads share: a weight is cast once a pass, whatever others do
                with torch.autocast(self.device.type, torch.bfloat16, self.spec.precision == "bfloat16", False):
                    loss = self.objective.loss(self.network, part)
                (loss * scale).backward()
            total += loss.detach()
        return total

    def _measure(self, epoch: int) -> Measured:
        """What is measured after an epoch: held-out accuracy where its weights are kept, a probe's validation loss."""
        accuracy = self._keep(epoch) if epoch in self.run.keep_epochs else None
        return Measured(accuracy, self._validation_loss() if self.run.validation else None)

    def _keep(self, epoch: int) -> float:
        """Measure the held-out accuracy and write this epoch's weights."""
        self._share_buffers()
        accuracy = self._accuracy()
        if self.worker.rank == 0:
            save_weights(self.storage, self._evaluated(), self.notes.checkpoint(epoch, accuracy))
        return accuracy

    def _share_buffers(self) -> None:
        """Every worker measures with the first one's buffers."""
        if self.worker.world > 1:
            for buffer in self._evaluated().buffers():
                distributed.broadcast(buffer, 0)

    def _evaluated(self) -> nn.Module:
        """The model that is measured and kept: the average's where there is one, else the objective's choice."""
        return self.objective.evaluated(self.model) if self.average is None else self.average.module

    def _accuracy(self) -> float:
        model, batch = self._evaluated(), evaluation_batch(self.run.resources)
        readout = self._readout()
        correct = count_correct(
            model, self.data.heldout, self.data, self.worker, None if readout is None else readout.classify, batch
        )
        if self.worker.world > 1:
            distributed.all_reduce(correct)
        return float(correct) / len(self.data.heldout)

    def _validation_loss(self) -> float:
        """Mean over the validation images: cross-entropy, or the squared error of a readout; see `sum_loss`."""
        self._share_buffers()
        total = sum_loss(self._evaluated(), self.validation, self.data, self.worker, self._readout())
        if self.worker.world > 1:
            distributed.all_reduce(total)
        return float(total) / len(self.validation)

    def _readout(self) -> PixelReadout | None:
        """Of an objective that trains no classifier."""
        if not self.objective.readout:
            return None
        batch = evaluation_batch(self.run.resources)
        alone = min(batch, self.run.resources.micro_batch or batch)  # every worker reads the whole subset
        layer = self.objective.setting.layer
        return subset_readout(self._evaluated(), layer, self.data, self.subset, self.device, alone)

    def _note(
        self, epoch: int, loss: float | None, lr: float | None, measured: Measured, seconds: float, busy_s: float
    ) -> EpochRecord:
        """An epoch's record, in the history."""
        record = self.notes.epoch(epoch, loss, lr, measured, seconds, busy_s)
        self.progress.history.append(record)
        self.progress.train_s += seconds
        return record

    def _broken(self, loss: float) -> str | None:
        """What is not finite after an epoch; the last step's damage shows only in the weights, alike in all workers."""
        if not math.isfinite(loss):
            return f"loss became {loss}"
        if not bool(torch.stack([torch.isfinite(weight).all() for weight in self.trained]).all()):
            return "a weight became infinite"
        return None

    def _finish(self, status: RunStatus, reason: str | None) -> None:
        if self.worker.rank != 0:
            return
        self.store.write_epochs(self.progress.history)
        self.store.write_run(self.notes.end(status, reason, self.progress))
        self.storage.delete(resume_name(self.run.run_id))

    def _save_is_due(self, interval_s: float, step: int | None = None) -> bool:
        """Whether to write a resume file now; several workers ask the first one, every few steps of an epoch."""
        if self.worker.world == 1:
            return self._clock.due(interval_s)
        if step is not None and step % STEPS_A_VOTE:
            return False
        vote = torch.tensor(self.worker.rank == 0 and self._clock.due(interval_s), device=self.device, dtype=torch.int)
        distributed.broadcast(vote, 0)
        return bool(vote)

    def _save(self, total: torch.Tensor, seconds: float, name: str | None = None) -> None:
        """Write the resume file, or the state called `name`; all workers call it together.

        Args:
            seconds: of this epoch, since it began here.
        """
        began = time.monotonic()
        self.progress.busy_s += self.timer.take()
        self.progress.loss_sum = self._over_workers(total)
        if self.worker.rank == 0:
            header = RunProgress(**{**vars(self.progress), "seconds": self.progress.seconds + seconds})
            save_resume(self.storage, self.run.run_id, self._kept_modules, self.optimizer, header, name)
        if name is None:
            self._clock.saved(began)
