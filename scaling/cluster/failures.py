"""What an exception or a death means for a run or a score, and what follows: decided here and nowhere else.

| cause  | what                                            | the run's record     | started again  |
| run    | an error of the run itself: a bug, a bad value  | failed               | no             |
| memory | of a device or the process                      | out_of_memory        | no             |
| device | an error that leaves the device unusable        | failed when given up | `max_failures` |
| place  | storage or data that refuse or do not answer    | likewise             | times in all,  |
| peer   | the exchange with a run's other workers broke   | likewise             | by a new       |
| death  | the process, its node or worker group is gone   | likewise             | process        |

Tune alone counts, save for elastic groups, where Ray Train does. Beyond that Ray Train restarts only what a cloud
announces to take away (preemption, which Tune does not count either). Imports neither Ray nor torch before an error is
there to be judged.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from typing import Literal

from scaling.errors import DamagedFile, MissingFile, StorageError, StudyError
from scaling.place import scrub
from scaling.records import ResultsStore, RunRecord, RunStatus, needs_training, run_record
from scaling.specs.run import RunSpec

Cause = Literal["run", "memory", "device", "place", "peer", "death"]
AGAIN: frozenset[Cause] = frozenset({"device", "place", "peer", "death"})
# Of several workers' causes, the first here is the group's: the others follow from it. A worker whose group broke
# raises whatever its library says of it, so a death outranks the errors of those that are left.
_FIRST: tuple[Cause, ...] = ("memory", "death", "device", "place", "run", "peer")
_PEER = ("gloo/transport", "connection closed by peer", "connection reset by peer", "nccl error", "ncclunhandled")


class LostWeights(StudyError):
    """Weights that are to be scored are missing or damaged: only a new training brings them back."""


def cause_of(error: BaseException) -> Cause:
    """What lies behind an exception of a run, as it comes from Ray or as it was raised."""
    several = _workers(error)
    if several:
        return min((cause_of(one) for one in several), key=_FIRST.index)
    error = origin(error)
    if _is_ray(error):
        return "death"
    cause = _of_torch(error)
    return "place" if cause == "run" and is_place(error) else cause


def _of_torch(error: BaseException) -> Cause:
    from scaling.train.memory import is_out_of_memory, ruins_device

    if is_out_of_memory(error):
        return "memory"
    if _lost_peer(error):
        return "peer"
    return "device" if ruins_device(error) else "run"


def is_place(error: BaseException) -> bool:
    """Whether storage, or files on their way from it, refused or did not answer: later the same may work."""
    return isinstance(error, OSError | StorageError)


def is_lost(error: BaseException) -> bool:
    """Whether a file is gone or holds something else, which no other try mends."""
    return isinstance(error, DamagedFile | MissingFile)


def origin(error: BaseException) -> BaseException:
    """The exception that a process raised, without what Ray wraps around it."""
    for name in ("_base_exc", "controller_failure", "cause"):  # Train's worker and controller, Core's tasks
        inner = getattr(error, name, None)
        if _is_ray(error) and isinstance(inner, BaseException) and inner is not error:
            return origin(inner)
    return error


def describe(error: BaseException) -> str:
    """An exception's type, message and, where it was raised, the place that raised it, on one line."""
    message = scrub(" ".join(str(error).split())) or "no message"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {message}{place}"


def reason_of(error: BaseException) -> str:
    """What the driver says of an exception that came by Ray."""
    several = _workers(error)
    if several:
        return reason_of(min(several, key=lambda one: _FIRST.index(cause_of(one))))
    found = origin(error)
    if _is_ray(found):
        lines = str(found).strip().splitlines()
        return scrub(lines[-1].strip()) if lines else type(found).__name__
    said = str(found) if isinstance(found, StudyError) else f"{type(found).__name__}: {' '.join(str(found).split())}"
    return scrub(said)


def record_own(store: ResultsStore, run: RunSpec, error: BaseException) -> bool:
    """Record an error that is the run's own, where it was raised; False: others follow from it, see the table.

    Training itself has recorded most of what ran out of memory, with an estimate.
    """
    cause = cause_of(error)
    if cause in AGAIN:
        return False
    before = store.read_run(run.run_id) if cause == "memory" else None
    if before is None or needs_training(run, before):
        status: RunStatus = "out_of_memory" if cause == "memory" else "failed"
        store.write_run(run_record(run, status, describe(error), ended_at=time.time()))
    return True


def first_line(error: BaseException) -> str:
    """Of what an exception says, without credentials of a URI; its type where it says nothing."""
    return scrub(next(iter(str(error).strip().splitlines()), type(error).__name__))


def failed_record(run: RunSpec, reason: str) -> RunRecord:
    """A run that failed. Its time tells it from the record of an earlier try."""
    return run_record(run, "failed", reason, ended_at=time.time())


def _workers(error: BaseException) -> Sequence[BaseException]:
    """The failures of a worker group, by rank."""
    found = origin(error)
    failures = getattr(found, "worker_failures", None)
    return list(failures.values()) if _is_ray(found) and failures else []


def _is_ray(error: BaseException) -> bool:
    """An exception of Ray's own. Core's task errors are of their cause's type as well, and unwrapped by then."""
    return any(kind.__module__.split(".")[0] == "ray" for kind in type(error).__mro__)


def _lost_peer(error: BaseException) -> bool:
    """Whether another worker of the run went away in the middle of an exchange."""
    from torch import distributed

    text = str(error).lower()
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in text for word in _PEER)
    )
