"""Steps that a GPU replays: each a CUDA graph that was captured once, which reads what differs between steps itself.

A step (the batch from images on the device, augmentation, mixing, forward, loss, backward, clipping, optimizer,
average, the sum of the losses) is a function of tensors that lie at fixed places. An epoch's order, draws, rates and
decays are made at once, go to the device in one copy (`tables`), and are read by a counter there; the host launches one
graph a step. Batches of each size have a graph of their own; a run's graphs share one pool of memory. Noise (dropout,
attacks) comes from the run's own generators, which a graph reads anew at each replay and which are seeded before it.

Images that do not fit the device (`resident.SHARE_OF_MEMORY`), and those that the host augments, come as `feed` makes
them, and are copied into the graph's own batch.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from scaling.errors import StudyError
from scaling.specs.horizon import steps_per_epoch
from scaling.train.batch import Batch
from scaling.train.computing import RANDOM
from scaling.train.feed import Feed, Place, epoch_order
from scaling.train.memory import is_out_of_memory, largest_batch
from scaling.train.numbers import NAMES, number_columns, read_numbers, step_numbers
from scaling.train.objectives.views import N_DRAWS, draw_views
from scaling.train.resident import Resident
from scaling.train.step import Step
from scaling.train.tables import Column, Tables

# Share of a device's memory: where less is free, blocks that torch keeps for later go back to it before a capture, in
# which it could not give them back; it then waits for the device, and so for the neighbours' work. Assumption.
ROOM = 0.5


def cannot_capture(step: Step) -> str | None:
    """Why the steps of a run are taken one operation at a time, on any device."""
    run, spec = step.run, step.run.training
    if step.worker.world > 1:
        return f"{step.worker.world} workers exchange gradients within a step"
    if step.objective.on_host is not None:
        return f"objective {step.objective.options.name}: {step.objective.on_host}"
    if spec.weight_decay_end is not None and spec.optimizer != "adamw":
        return f"the weight decay of {spec.optimizer} is a number of the host, and weight_decay_end changes it"
    if step.foreign is not None:
        return f"{step.foreign} draws from torch's own generator"
    return None if run.resources.captured else "resources.captured is false"


@dataclass(frozen=True)
class Turn:
    """A step from tables: its (epoch, step), the number of its images, and its batch, where the host made that."""

    place: Place
    n: int
    batch: Batch | None = None


class Graphs:
    """CUDA graphs of one run's functions, by the size of the batch.

    The first call of a size computes as ever: it makes what is made once (the optimizer's state, workspaces, choices of
    cuDNN). The second captures, which computes nothing, and replays; so do all that follow. No other thread is kept
    from its own work meanwhile, and none captures at the same time.

    Args:
        generators: from which the functions draw. label: of the run, for an error.
    """

    def __init__(self, device: torch.device, generators: list[torch.Generator], label: str) -> None:
        self.generators, self.label = generators, label
        self._stream, self._pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()
        self._room = ROOM * torch.cuda.get_device_properties(device).total_memory
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._met: set[int] = set()

    def run(self, size: int, function: Callable[[], None]) -> None:
        if size not in self._met:
            self._met.add(size)
            self._beside(function)
            return
        if size not in self._graphs:
            self._beside(partial(self._capture, size, function))
        self._graphs[size].replay()

    def _beside(self, function: Callable[[], None]) -> None:
        """On the stream that captures, between what was queued before and what comes after."""
        now = torch.cuda.current_stream()
        self._stream.wait_stream(now)
        with torch.cuda.stream(self._stream):
            function()
        now.wait_stream(self._stream)

    def _capture(self, size: int, function: Callable[[], None]) -> None:
        """Without torch.cuda.graph, which first waits for the whole device, neighbours' work included."""
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        with RANDOM:  # one capture at a time in a process, and nobody draws from torch's generator meanwhile
            if torch.cuda.mem_get_info(self._stream.device)[0] < self._room:
                torch.cuda.empty_cache()
            collects = gc.isenabled()
            gc.disable()  # what it frees may be of a graph, which is not allowed within a capture
            try:
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    function()
                finally:
                    graph.capture_end()
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                raise StudyError(
                    f"a step of {self.label} cannot be captured ({str(error).splitlines()[0]}; resources.captured); "
                    "set resources.captured to false"
                ) from error
            finally:
                if collects:
                    gc.enable()
        self._graphs[size] = graph


class TabledSteps:
    """Takes a run's steps from an epoch's tables: as graphs on a GPU, elsewhere the same function as it is.

    Args:
        resident: the images on the device; None: `feed` brings each batch.
    """

    def __init__(self, step: Step, feed: Feed, resident: Resident | None) -> None:
        self.step, self.feed, self.resident = step, feed, resident
        self.steps = steps_per_epoch(len(feed.subset), step.run.training.batch_size)
        device = step.total.device
        columns = number_columns() | ({} if resident is None else resident.columns())
        if views := step.objective.n_views:
            columns["views"] = Column((largest_batch(step.run, len(feed.subset)), views, N_DRAWS), torch.float32)
        self.tables = Tables(columns, self.steps, device)
        self.graphs = None
        if device.type == "cuda":
            draws = [] if step.draws is None else [step.draws.generator]
            random = [] if step.objective.random is None else [step.objective.random]
            self.graphs = Graphs(device, draws + random, step.run.label())
        self._batches: dict[int, Batch] = {}  # where a graph finds the batches that the feed brings, by their size
        self._drawn: tuple[int, list[int]] | None = None

    def batches(self, epoch: int, first: int) -> Iterator[Turn]:
        """What `take` takes, of an epoch from step `first` on."""
        sizes = self._draw(epoch, first)
        self.tables.send(first)
        self._drawn = None
        if self.resident is None:
            for number, batch in enumerate(self.feed.batches(epoch, first), start=first):
                yield Turn((epoch, number), batch.n_global, batch)
        else:
            yield from (Turn((epoch, number), sizes[number]) for number in range(first, self.steps))

    def draw_ahead(self, epoch: int) -> None:
        """Make an epoch's tables on the host while the device still computes what was launched."""
        if epoch < self.step.run.training.epochs:
            self._drawn = (epoch, self._draw(epoch, 0))

    def _draw(self, epoch: int, first: int) -> list[int]:
        """Fill the next columns; the sizes of the epoch's batches."""
        if self._drawn is not None and self._drawn[0] == epoch:
            return self._drawn[1]
        columns, spec = self.tables.blank(), self.step.run.training
        order = epoch_order(self.step.run, self.feed.data, self.feed.subset, epoch)
        for number in range(first, self.steps):
            numbers = step_numbers(spec, epoch * self.steps + number, self.steps)
            for name in NAMES:
                columns[name][number] = getattr(numbers, name)
            place, n = (epoch, number), len(order[number])
            if self.resident is not None:
                self.resident.draw(order[number], place, columns)
            if views := self.step.objective.n_views:
                columns["views"][number, :n] = draw_views(self.step.run.seed, place, n, views)
        return [len(index) for index in order]

    def take(self, turn: Turn) -> None:
        """One step; nothing of it is waited for."""
        self.step.seed(turn.place)
        self.step.objective.seed(turn.place)
        function = partial(self._resident_step, turn.n)
        if turn.batch is not None:
            function = partial(self._fed_step, self._keep(turn.batch))
        if self.graphs is None:
            function()
        else:
            self.graphs.run(turn.n, function)

    def _keep(self, batch: Batch) -> Batch:
        """The batch at its graph's place."""
        kept = self._batches.get(batch.n_global)
        if kept is None:
            copies: dict[str, Any] = {name: tensor.clone() for name, tensor in batch.tensors().items()}
            kept = self._batches[batch.n_global] = replace(batch, place=None, **copies)
            return kept
        for name, tensor in batch.tensors().items():
            getattr(kept, name).copy_(tensor)
        return kept

    def _resident_step(self, n: int) -> None:
        assert self.resident is not None
        self._fed_step(self.resident.batch(self.tables, n))

    def _fed_step(self, batch: Batch) -> None:
        if self.step.objective.n_views:
            batch = replace(batch, views=self.tables.row("views")[: batch.n_global])
        self.step(batch, read_numbers(self.tables, self.step.run.training), None)
        self.tables.advance()
