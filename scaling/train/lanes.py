"""Several runs in one process, side by side: a thread a run and, on a GPU, a stream a run. It knows nothing of Ray.

Processes share a GPU in time slices; streams of one process share it in space, so that small models fill it together.
On a CPU the same path runs without streams.

Each run is a `Training` of its own, made and advanced by its own thread: model, optimizer, random numbers, resume file
and records are those of the run alone, and whatever ends it ends its thread. A thread that measures accuracy or writes
a checkpoint waits for its own stream and its own file, while the others train on. What torch has once a process (global
generators, flags of determinism) is used under `computing.RANDOM`; no number of a run depends on its neighbours, on a
CPU bit for bit.
"""

from __future__ import annotations

import contextlib
import gc
import math
import queue
import threading
import traceback
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from scaling.data.images import ImageData
from scaling.data.subsets import run_images
from scaling.records import EpochRecord
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.train.computing import RANDOM
from scaling.train.distributed.worker import Worker
from scaling.train.loop import Training
from scaling.train.memory import is_out_of_memory, record_out_of_memory, release_memory, step_memory

# Of a step's estimated memory: workspaces and the allocator's rounding come on top, on a GPU up to half of it (checked
# by tests/scaling/train/test_cuda.py).
MARGIN = 1.5


class Job(NamedTuple):
    """A run, and what it is trained with. paced: each epoch waits until the one before it was taken."""

    run: RunSpec
    data: ImageData
    storage: Storage
    worker: Worker
    paced: bool = False


class End(NamedTuple):
    """How a lane ended. error: what the run raised; None: it is done, or its record says why not."""

    error: Exception | None = None


News = EpochRecord | End


@dataclass(eq=False)
class Lane:
    """One run's place in the process. need: bytes that a step takes; alone: it is to have no neighbours."""

    key: Hashable
    job: Job
    need: float
    alone: bool = False
    left: bool = False
    taken: int = 0
    records: list[EpochRecord] = field(default_factory=list)
    end: End | None = None
    training: Training | None = None

    @property
    def images_done(self) -> float:
        """Images that its steps have seen, those before a resume included; 0 before the first step."""
        training = self.training
        if training is None:
            return 0.0
        return (training.progress.epoch + training.progress.step / training.steps) * len(training.subset)


class Lanes:
    """The runs of this process.

    They train in the order in which they came, as many together as memory holds and `width` allows, one at least; the
    others wait, and nobody overtakes. A run whose memory runs out beside others waits until it is alone, and goes on
    from its resume file; alone, it ends with status 'out_of_memory'.

    Args:
        limit: bytes that the steps of all together may need, see `memory.step_memory`.
        width: the most runs at once; asked when a place may be free.
        hear: called of every record and end, by the thread of its run.
    """

    def __init__(
        self, limit: float = math.inf, width: Callable[[], float] = lambda: math.inf,
        hear: Callable[[Hashable, News], None] = lambda key, news: None,
    ) -> None:  # fmt: skip
        self._limit, self._width, self._hear = limit, width, hear
        self._lanes: dict[Hashable, Lane] = {}
        self._waiting: list[Lane] = []
        self._active: list[Lane] = []
        self._streams: list[torch.cuda.Stream] = []
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """Lanes that were not left yet."""
        return len(self._lanes)

    @property
    def active(self) -> list[Lane]:
        """Those that train now."""
        with self._changed:
            return list(self._active)

    def start(self, key: Hashable, job: Job) -> None:
        """Have a run trained under a key; one that is there already goes on."""
        lane = Lane(key, job, 0.0 if math.isinf(self._limit) else MARGIN * _step_bytes(job))
        with self._changed:
            if self._lanes.setdefault(key, lane) is not lane:
                return
            self._waiting.append(lane)
            thread = threading.Thread(target=self._work, args=(lane,), name=job.run.run_id, daemon=True)
            self._threads = [*(other for other in self._threads if other.is_alive()), thread]
            thread.start()

    def take(self, key: Hashable, seen: int, wait_s: float = 0.0) -> tuple[list[EpochRecord], End | None]:
        """A lane's records after the first `seen`, and its end; waits for more than was seen, or for the end.

        A paced run trains its next epoch once all before it were seen.
        """
        with self._changed:
            lane = self._lanes[key]
            lane.taken = max(lane.taken, seen)
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(lane.records) > seen or lane.end is not None, wait_s)
            return lane.records[seen:], lane.end

    def images_done(self, key: Hashable) -> float:
        """Of a lane, see `Lane.images_done`."""
        return self._lanes[key].images_done

    def leave(self, key: Hashable) -> None:
        """Forget a lane; a run that goes on stops after its current epoch, and its resume file stays."""
        with self._changed:
            if (lane := self._lanes.pop(key, None)) is not None:
                lane.left = True
            self._changed.notify_all()

    def close(self) -> None:
        """Leave all lanes, and wait for their threads."""
        for key in list(self._lanes):
            self.leave(key)
        for thread in self._threads:
            thread.join()

    def look(self) -> None:
        """`width` may have grown."""
        with self._changed:
            self._changed.notify_all()

    def _work(self, lane: Lane) -> None:
        """A lane's thread."""
        while self._enter(lane):
            error = self._error_of(lane)
            if error is None or not is_out_of_memory(error):
                return self._leave_active(lane, End(error))
            if not self._retreat(lane):
                return self._leave_active(lane, _out_of_memory(lane.job, error))
        return None

    def _error_of(self, lane: Lane) -> Exception | None:
        """Train, and let go of all that the run held; what it raised, with the place and without its tensors."""
        error = None
        try:
            with self._stream(lane.job.worker.device):
                self._train(lane)
        except Exception as raised:  # whatever it is, it ends this run alone
            error = raised
            traceback.clear_frames(error.__traceback__)
        lane.training = None
        gc.collect()
        return error

    def _train(self, lane: Lane) -> None:
        lane.training = Training(*lane.job[:4])
        for record in lane.training.epochs():
            if not self._tell(lane, record):
                return

    def _tell(self, lane: Lane, record: EpochRecord) -> bool:
        """Keep an epoch's record, once; whether the lane goes on, where it is paced after the record was taken."""
        with self._changed:
            if not lane.records or record.epoch > lane.records[-1].epoch:
                lane.records.append(record)
                self._hear(lane.key, record)
                self._changed.notify_all()
            if lane.job.paced:
                self._changed.wait_for(lambda: lane.left or lane.taken >= len(lane.records))
            return not lane.left

    def _enter(self, lane: Lane) -> bool:
        """Wait for a place; False where the lane was left meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: lane.left or self._may_enter(lane))
            self._waiting.remove(lane)
            if not lane.left:
                self._active.append(lane)
            self._changed.notify_all()
            return not lane.left

    def _may_enter(self, lane: Lane) -> bool:
        if self._waiting[0] is not lane:
            return False
        together = [*self._active, lane]
        fits = sum(one.need for one in together) <= self._limit and not any(one.alone for one in together)
        return len(together) == 1 or (fits and len(together) <= self._width())

    def _retreat(self, lane: Lane) -> bool:
        """Whether a lane whose memory ran out had neighbours: it is then the next to enter, alone."""
        with self._changed:
            if len(self._active) == 1:
                return False
            self._active.remove(lane)
            lane.alone = True
            self._waiting.insert(0, lane)
            self._changed.notify_all()
            return True

    def _leave_active(self, lane: Lane, end: End) -> None:
        with self._changed:
            if len(self._active) == 1:  # no neighbour's compiled code or free memory is lost by it
                release_memory()
            self._active.remove(lane)
            lane.end = end
            self._hear(lane.key, end)
            self._changed.notify_all()

    @contextlib.contextmanager
    def _stream(self, device: str) -> Iterator[None]:
        """On a GPU, a stream of the lane's own; a later lane takes it over, and with it the memory that it freed."""
        if torch.device(device).type != "cuda":
            yield
            return
        stream = self._streams.pop() if self._streams else torch.cuda.Stream(device)
        try:
            with torch.cuda.stream(stream):
                yield
        finally:
            self._streams.append(stream)


def train_side_by_side(jobs: Sequence[Job], limit: float = math.inf) -> Iterator[tuple[str, News]]:
    """Train runs in this process, a thread each; yields (run_id, its next record or its End) as they come.

    Args:
        limit: as of `Lanes`.
    """
    heard: queue.SimpleQueue[tuple[Hashable, News]] = queue.SimpleQueue()
    lanes = Lanes(limit, hear=lambda key, news: heard.put((key, news)))
    names: dict[Hashable, str] = {number: job.run.run_id for number, job in enumerate(jobs)}
    for number, job in enumerate(jobs):
        lanes.start(number, job)
    left = set(names)
    try:
        while left:
            key, news = heard.get()
            if isinstance(news, End):
                left.remove(key)
            yield names[key], news
    finally:
        lanes.close()


def _out_of_memory(job: Job, error: Exception) -> End:
    """Record it as `train_run` does."""
    try:
        with RANDOM:  # its estimate builds a model
            record_out_of_memory(job.run, job.data, job.storage, error)
    except Exception as raised:  # a storage that refuses: the lane has to end all the same
        return End(raised)
    return End()


def _step_bytes(job: Job) -> int:
    n_samples = len(run_images(job.data.train.labels, job.run)[0])
    with RANDOM:  # it builds a model
        return step_memory(job.run, job.data.image_size, job.data.n_classes, n_samples)
