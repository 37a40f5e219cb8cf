"""The scoring pool: Ray actors that score checkpoints beside training, as soon as they are reported."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from ray.exceptions import RayError

from scaling.specs.scoring import ScoringSpec
from scaling.storage import Storage

if TYPE_CHECKING:
    from scaling.alignment.benchmark import Benchmark
    from scaling.alignment.protocol import Protocol
    from scaling.alignment.scoring import ScoringOptions
    from scaling.records import AlignmentRecord

LOW_PRIORITY = 10  # niceness of actors that reserve no CPU: training keeps its cores
TASK_RETRIES = 3  # a killed actor is restarted and its checkpoint tried again


class Checkpoint(NamedTuple):
    """What is scored, and on which benchmarks."""

    run_id: str
    epoch: int
    benchmarks: tuple[str, ...]


class Score(NamedTuple):
    """A scored checkpoint, or why it could not be scored at all."""

    checkpoint: Checkpoint
    records: list[AlignmentRecord]
    error: str | None


class ScoringActor:
    """Holds the benchmarks (their arrays stay in the node's object store) and scores one checkpoint a call."""

    def __init__(self, storage_uri: str, spec: ScoringSpec, protocols: Mapping[str, Protocol]) -> None:
        self.storage, self.protocols = Storage(storage_uri), protocols
        self.work: tuple[Sequence[Benchmark], ScoringOptions] | None = None
        self.device = "cuda" if spec.gpus else "cpu"
        if not spec.cpus:
            os.nice(LOW_PRIORITY)

    def score(self, checkpoint: Checkpoint, shared: Sequence[ray.ObjectRef]) -> list[AlignmentRecord]:
        """`shared`: reference of the benchmarks and options, fetched once in an actor's life."""
        from scaling.alignment.score import score_checkpoint  # torch: imported here, not by the driver

        if self.work is None:
            self.work = ray.get(shared[0])
        benchmarks, options = self.work
        wanted = [benchmark for benchmark in benchmarks if benchmark.name in checkpoint.benchmarks]
        place = (checkpoint.run_id, checkpoint.epoch)
        return score_checkpoint(self.storage, *place, wanted, options, self.protocols, self.device)


class ScoringPool:
    """A queue of checkpoints and the actors that work on it; scores are written by the actors themselves.

    Args:
        storage_uri: the study's folder, reachable from every node.
        benchmarks, options: sent to the object store once.
        protocols: of the benchmarks, by name; see `protocol.scoring_protocols`.
    """

    def __init__(
        self,
        storage_uri: str,
        benchmarks: Sequence[Benchmark],
        options: ScoringOptions,
        spec: ScoringSpec,
        protocols: Mapping[str, Protocol],
    ) -> None:
        self._shared = ray.put((list(benchmarks), options))
        actor = ray.remote(ScoringActor).options(
            num_cpus=spec.cpus, num_gpus=spec.gpus, max_restarts=-1, max_task_retries=TASK_RETRIES
        )
        self._idle: deque[Any] = deque(actor.remote(storage_uri, spec, protocols) for _ in range(spec.actors))
        self._waiting: deque[Checkpoint] = deque()
        self._running: dict[ray.ObjectRef, tuple[Any, Checkpoint]] = {}

    @property
    def n_open(self) -> int:
        """Checkpoints waiting or being scored."""
        return len(self._waiting) + len(self._running)

    def submit(self, checkpoint: Checkpoint) -> None:
        self._waiting.append(checkpoint)
        self._dispatch()

    def finished(self, timeout_s: float = 0.0) -> Iterator[Score]:
        """Scores that are ready, waiting up to `timeout_s` for the first one."""
        if not self._running:
            return
        ready, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        for ref in ready:
            actor, checkpoint = self._running.pop(ref)
            self._idle.append(actor)
            self._dispatch()
            try:
                yield Score(checkpoint, ray.get(ref), None)
            except RayError as error:
                yield Score(checkpoint, [], str(error).strip().splitlines()[-1])

    def _dispatch(self) -> None:
        while self._idle and self._waiting:
            actor, checkpoint = self._idle.popleft(), self._waiting.popleft()
            self._running[actor.score.remote(checkpoint, [self._shared])] = (actor, checkpoint)
