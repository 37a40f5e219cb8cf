"""One run's training: a plain PyTorch loop that resumes exactly, between any two steps. It knows nothing of Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import distributed, nn

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
from scaling.models.cost import model_cost
from scaling.models.mup import check_optimizer
from scaling.records import EpochRecord, ResultsStore, RunStatus, needs_training
from scaling.specs.horizon import steps_per_epoch
from scaling.specs.objective import check_objective
from scaling.specs.run import RunSpec, check_batches
from scaling.storage import Storage
from scaling.train.batch import Batch
from scaling.train.build import Built, build
from scaling.train.captured import Turn
from scaling.train.computing import RANDOM, check_computing, check_norms
from scaling.train.distributed.worker import Worker
from scaling.train.measure import Measure
from scaling.train.memory import is_out_of_memory, record_out_of_memory
from scaling.train.notes import Measured, Notes
from scaling.train.numbers import step_numbers
from scaling.train.optim import learning_rate
from scaling.train.step_timer import StepTimer

STEPS_A_VOTE = 16  # several workers agree on a save that often: an exchange a step would slow them
NOT_DUE, DUE, NOTICE = 0, 1, 2  # whether a resume file is to be written; and the process to end then


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

    Args:
        tabled: whether steps come from an epoch's tables, see `captured`; by default on a GPU.
    """

    def __init__(
        self,
        run: RunSpec,
        data: ImageData,
        storage: Storage,
        worker: Worker | None = None,
        tabled: bool | None = None,
    ) -> None:
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
        self.steps = steps_per_epoch(len(self.subset), self.spec.batch_size)
        self.branch_steps = run.branch_steps(len(self.subset))
        with RANDOM:
            cost = model_cost(run.model, data.image_size, data.n_classes)
        self.notes = Notes(run, data, len(self.subset), cost)
        flops = self.notes.flops(self.notes.samples_seen(self.spec.epochs))
        own = run.model_copy(update={"training": self.spec})
        self._take_up(build(own, data, self.subset, self.worker, flops, tabled))
        self.progress = RunProgress()
        self.timer = StepTimer(self.device)
        self._clock = SaveClock()

    def _take_up(self, built: Built) -> None:
        self.taken, self.feed, self.tabled = built.step, built.feed, built.tabled
        self.model, self.network, self.objective = built.step.model, built.step.network, built.step.objective
        self.optimizer, self.average, self.total = built.step.optimizer, built.step.average, built.step.total
        self.measure = Measure(built.step, self.data, self.subset, self.validation)
        self.notes = replace(self.notes, computing=built.computing.text())

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
        why = self._save_is_due(EPOCH_INTERVAL_S)
        if why != NOT_DUE and epoch + 1 < self.spec.epochs:
            self.total.zero_()
            self._save(0.0, heed=why == NOTICE)
        return record

    def _train_epoch(self, epoch: int) -> float:
        """The rest of an epoch from `progress.step` on; the mean loss over its images."""
        began, first = time.monotonic(), self.progress.step
        self.total.fill_(self.progress.loss_sum if self.worker.rank == 0 else 0.0)
        self.network.train()
        self.objective.train()
        for step, batch in enumerate(self._batches(epoch, first), start=first):
            with self.timer:
                self.step(batch, learning_rate(self.spec, epoch * self.steps + step, self.steps))
            self.progress.step = step + 1
            if epoch * self.steps + step + 1 in self.branch_steps:
                self._save(time.monotonic() - began, branch_name(self.run.run_id, epoch * self.steps + step + 1))
            why = self._save_is_due(STEP_INTERVAL_S, step + 1) if self.progress.step < self.steps else NOT_DUE
            if why != NOT_DUE:
                self._save(time.monotonic() - began, heed=why == NOTICE)
        if self.tabled is not None:
            self.tabled.draw_ahead(epoch + 1)
        self.progress.busy_s += self.timer.take()
        return self._over_workers() / len(self.subset)

    def _batches(self, epoch: int, first: int) -> Iterator[Batch | Turn]:
        """What `step` takes, of an epoch from step `first` on."""
        return (self.feed if self.tabled is None else self.tabled).batches(epoch, first)

    def _over_workers(self) -> float:
        """The sum over workers of `total`, which stays this worker's own."""
        if self.worker.world == 1:
            return float(self.total)
        total = self.total.clone()
        distributed.all_reduce(total)
        return float(total)

    def load_batch(self, index: np.ndarray, place: tuple[int, int]) -> Batch:
        """This worker's share of the global batch `index` of training images, on the device, augmented."""
        return self.feed.load(index, place)

    def step(self, batch: Batch | Turn, lr: float) -> torch.Tensor:
        """One optimizer step, whose summed loss `total` gets; returns the loss, or of steps from tables `total`."""
        if isinstance(batch, Turn):
            assert self.tabled is not None
            self.tabled.take(batch)
            return self.total
        assert batch.place is not None
        epoch, step = batch.place
        number = epoch * self.steps + step
        with RANDOM if self.taken.foreign is not None else nullcontext():
            self.taken.seed(batch.place)
            return self.taken(batch, replace(step_numbers(self.spec, number, self.steps), lr=lr), number)

    def _measure(self, epoch: int) -> Measured:
        """What is measured after an epoch: held-out accuracy where its weights are kept, a probe's validation loss."""
        accuracy = self._keep(epoch) if epoch in self.run.keep_epochs else None
        return Measured(accuracy, self.measure.validation_loss() if self.run.validation else None)

    def _keep(self, epoch: int) -> float:
        """Measure the held-out accuracy and write this epoch's weights."""
        accuracy = self.measure.accuracy()
        if self.worker.rank == 0:
            save_weights(self.storage, self.measure.evaluated(), self.notes.checkpoint(epoch, accuracy))
        return accuracy

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
        if not bool(torch.stack([torch.isfinite(weight).all() for weight in self.taken.trained]).all()):
            return "a weight became infinite"
        return None

    def _finish(self, status: RunStatus, reason: str | None) -> None:
        if self.worker.rank != 0:
            return
        self.store.write_epochs(self.progress.history)
        self.store.write_run(self.notes.end(status, reason, self.progress))
        self.storage.delete(resume_name(self.run.run_id))

    def _save_is_due(self, interval_s: float, step: int | None = None) -> int:
        """Whether to write a resume file now, and why; several workers agree on it, every few steps of an epoch."""
        why = NOTICE if self.worker.notice.given else NOT_DUE
        if why == NOT_DUE and self.worker.rank == 0 and self._clock.due(interval_s):
            why = DUE
        if self.worker.world == 1:
            return why
        if step is not None and step % STEPS_A_VOTE:
            return NOT_DUE
        votes = torch.tensor(why, device=self.device, dtype=torch.int)
        distributed.all_reduce(votes, distributed.ReduceOp.MAX)
        return int(votes)

    def _save(self, seconds: float, name: str | None = None, heed: bool = False) -> None:
        """Write the resume file, or the state called `name`; all workers call it together.

        Args:
            seconds: of this epoch, since it began here. heed: the notice of an end.
        """
        began = time.monotonic()
        self.progress.busy_s += self.timer.take()
        self.progress.loss_sum = self._over_workers()
        if self.worker.rank == 0:
            header = RunProgress(**{**vars(self.progress), "seconds": self.progress.seconds + seconds})
            save_resume(self.storage, self.run.run_id, self._kept_modules, self.optimizer, header, name)
        if name is None:
            self._clock.saved(began)
        if heed:
            self.worker.notice.heed(self.run.run_id)
