"""The scoring pool: Ray actors that score checkpoints beside training, as soon as they are reported."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from scaling.cluster.failures import LostWeights, is_lost, is_place, origin, reason_of
from scaling.cluster.placement import Node
from scaling.cluster.retries import Checkpoint, Retries
from scaling.specs.scoring import ScoringSpec
from scaling.storage import Storage

if TYPE_CHECKING:
    from scaling.alignment.pooled import AnyBenchmark
    from scaling.alignment.protocol import Protocol
    from scaling.alignment.score import Untrained
    from scaling.alignment.scoring import ScoringOptions
    from scaling.records import AlignmentRecord
    from scaling.zoo.model import ZooModel

LOW_PRIORITY = 10  # niceness of actors that reserve no CPU: training keeps its cores
TASK_RETRIES = 3  # a killed actor is restarted and its checkpoint tried again


class Score(NamedTuple):
    """A scored checkpoint, or why it could not be scored at all. lost: its weights are missing or damaged."""

    checkpoint: Checkpoint
    records: list[AlignmentRecord]
    error: str | None
    lost: bool = False


class ScoringActor:
    """Holds the benchmarks (their arrays stay in the node's object store) and scores one checkpoint a call."""

    def __init__(self, storage_uri: str, spec: ScoringSpec, protocols: Mapping[str, Protocol]) -> None:
        self.storage_uri, self.protocols = storage_uri, protocols
        self.work: tuple[Sequence[AnyBenchmark], ScoringOptions, Mapping[str, ZooModel]] | None = None
        self.untrained: Untrained = {}
        self.device = "cuda" if spec.gpus else "cpu"
        if not spec.cpus:
            os.nice(LOW_PRIORITY)

    def score(self, checkpoint: Checkpoint, shared: Sequence[ray.ObjectRef]) -> list[AlignmentRecord]:
        """`shared`: reference of the benchmarks, options and models of a zoo, fetched once in an actor's life.

        Raises:
            LostWeights: of the checkpoint. Everything else as `score_checkpoint` and the storage raise it.
        """
        from scaling.alignment.score import score_checkpoint  # torch: imported here, not by the driver

        if self.work is None:
            self.work = ray.get(shared[0])
        storage, (benchmarks, options, zoo) = Storage(self.storage_uri), self.work
        wanted = [benchmark for benchmark in benchmarks if benchmark.name in checkpoint.benchmarks]
        if checkpoint.run_id in zoo:
            from scaling.zoo.scoring import score_zoo_model

            return score_zoo_model(storage, zoo[checkpoint.run_id], wanted, options, self.protocols, self.device)
        place = (checkpoint.run_id, checkpoint.epoch)
        try:
            return score_checkpoint(storage, *place, wanted, options, self.protocols, self.device, self.untrained)
        except Exception as error:  # asked again below, whatever it was: only lost weights are taken from it
            if is_lost(error):
                _check_weights(storage, checkpoint)
            raise


def _check_weights(storage: Storage, checkpoint: Checkpoint) -> None:
    """Tell lost weights from any other file that is lost, such as a benchmark's.

    Raises:
        LostWeights: the checkpoint's weights are missing or damaged.
    """
    from scaling.checkpoints.weights import load_weights

    try:
        load_weights(storage, checkpoint.run_id, checkpoint.epoch)
    except Exception as error:  # damage shows as any error of a reader
        if is_lost(error):
            raise LostWeights(str(error)) from error
        raise


class ScoringPool:
    """A queue of checkpoints and the actors that work on it; scores are written by the actors themselves.

    A checkpoint that failed for the storage's sake is tried again, after a while.

    Args:
        storage_uri: the study's folder, reachable from every node.
        benchmarks, options: sent to the object store once.
        protocols: of the benchmarks, by name; see `protocol.scoring_protocols`.
        homes: where actors that reserve something lie, see `placement.beside_scoring`.
        zoo: models that were trained elsewhere, by the id that stands in place of a run's.
    """

    def __init__(
        self,
        storage_uri: str,
        benchmarks: Sequence[AnyBenchmark],
        options: ScoringOptions,
        spec: ScoringSpec,
        protocols: Mapping[str, Protocol],
        homes: Sequence[Node] = (),
        zoo: Mapping[str, ZooModel] | None = None,
    ) -> None:
        self._shared = ray.put((list(benchmarks), options, dict(zoo or {})))
        self._idle: deque[Any] = deque(
            _actor_class(spec, homes[i] if i < len(homes) else None).remote(storage_uri, spec, protocols)
            for i in range(spec.actors)
        )
        self._waiting: deque[Checkpoint] = deque()
        self._running: dict[ray.ObjectRef, tuple[Any, Checkpoint]] = {}
        self._retries = Retries()

    @property
    def n_open(self) -> int:
        """Checkpoints waiting or being scored."""
        return len(self._waiting) + len(self._running) + len(self._retries)

    def submit(self, checkpoint: Checkpoint) -> None:
        self._waiting.append(checkpoint)
        self._dispatch()

    def finished(self, timeout_s: float = 0.0) -> Iterator[Score]:
        """Scores that are ready, waiting up to `timeout_s` for the first one."""
        self._waiting.extend(self._retries.due())
        self._dispatch()
        if not self._running:
            time.sleep(timeout_s)
            return
        ready, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        for ref in ready:
            actor, checkpoint = self._running.pop(ref)
            self._idle.append(actor)
            self._dispatch()
            score = self._take(ref, checkpoint)
            if score is not None:
                yield score

    def _take(self, ref: ray.ObjectRef, checkpoint: Checkpoint) -> Score | None:
        """A score or its failure; None: it is tried again."""
        try:
            return Score(checkpoint, ray.get(ref), None)
        except RayError as error:
            cause = origin(error)
            if is_place(cause) and self._retries.again(checkpoint):
                return None
            return Score(checkpoint, [], reason_of(error), lost=isinstance(cause, LostWeights))

    def _dispatch(self) -> None:
        while self._idle and self._waiting:
            actor, checkpoint = self._idle.popleft(), self._waiting.popleft()
            self._running[actor.score.remote(checkpoint, [self._shared])] = (actor, checkpoint)


def _actor_class(spec: ScoringSpec, home: Node | None) -> Any:
    placed = {} if home is None else {"scheduling_strategy": NodeAffinitySchedulingStrategy(home.name, soft=True)}
    return ray.remote(ScoringActor).options(
        num_cpus=spec.cpus, num_gpus=spec.gpus, max_restarts=-1, max_task_retries=TASK_RETRIES, **placed
    )
