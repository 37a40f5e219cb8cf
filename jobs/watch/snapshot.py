"""Where a study stands at one moment, read from its folder: what the terminal and the page show."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from jobs.watch.cost import Size, Spending, run_sizes, spending
from jobs.watch.live import LiveRun, live_runs
from scaling.enough import family_names
from scaling.errors import StudyError
from scaling.ledger import OpenWork, Study
from scaling.records import EpochRecord, RunRecord, needs_training
from scaling.specs.run import RunSpec

if TYPE_CHECKING:
    from jobs.watch.firming import Look

# In the order in which they are shown
STATES = ("finished", "to be scored", "running", "interrupted", "waiting", "failed", "out of memory", "diverged", "cut",
          "left out")  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """A run as it is shown. live: of one that has begun and not ended."""

    run: RunSpec
    family: str
    state: str
    size: Size
    reason: str = ""
    live: LiveRun | None = None


@dataclass(frozen=True)
class Throughput:
    """Medians over runs of one family on one resource shape: images and FLOP a second, share of time in steps."""

    what: str
    n_running: int
    n_runs: int
    images_per_s: float
    flops_per_s: float
    compute_share: float


@dataclass(frozen=True)
class NodeLoad:
    """What a node's running runs do together, by their last epochs: images and FLOP a second, median share in steps.

    use: of the node, by all that runs there, as the newest of these epochs says; see `train.node_use`.
    """

    host: str
    n_running: int
    images_per_s: float
    flops_per_s: float
    compute_share: float
    use: Mapping[str, float]


@dataclass(frozen=True)
class Snapshot:
    """A study at `at` (Unix time). laws: as `firming.looks`; no_laws: why there are none yet."""

    name: str
    where: str
    at: float
    runs: tuple[Shown, ...]
    spending: Spending
    throughput: tuple[Throughput, ...]
    nodes: tuple[NodeLoad, ...]
    to_score: int
    laws: Mapping[tuple[str, str], Sequence[Look | None]]
    no_laws: str
    notes: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(shown.state for shown in self.runs)
        return {state: found[state] for state in STATES if found[state]}

    @property
    def running(self) -> list[Shown]:
        """Those that go on, the newest sign of life first."""
        going = [shown for shown in self.runs if shown.state == "running" and shown.live is not None]
        return sorted(going, key=lambda shown: -shown.live.changed_at)  # type: ignore[union-attr]

    @property
    def faults(self) -> list[Shown]:
        return [shown for shown in self.runs if shown.reason]


class Watch:
    """Takes snapshots of one study; what did not change is not computed again."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._laws: tuple[int, dict[tuple[str, str], list[Look | None]], str] = (-1, {}, "")

    def take(self) -> Snapshot:
        """Read the study's folder, and nothing else.

        Raises:
            StudyError: the place does not answer, or holds files of another version.
        """
        study = fresh(self._study)
        work = study.open_work()
        ended = {id for id, record in study.records.items() if record.status != "failed"} - {
            r.run_id for r in work.train
        }
        live = live_runs(study.storage, {run.run_id for run in study.runs} - ended)
        now = time.time()
        sizes = run_sizes(study.runs, study.records, live)
        runs = tuple(shown_runs(study, work, sizes, live, now))
        laws, no_laws = self._looks(study)
        return Snapshot(
            study.name, study.storage.shown, now, runs, spending(study.runs, sizes, study.records, live),
            tuple(throughput(study, runs)), tuple(node_loads(runs)), len(work.score), laws, no_laws,
            tuple(_notes(study, work)),
        )  # fmt: skip

    def _looks(self, study: Study) -> tuple[dict[tuple[str, str], list[Look | None]], str]:
        """Fitted again where scores or runs have come."""
        from jobs.watch.firming import looks

        mark = study.scores.rows()[0].num_rows + len(study.records)
        if mark != self._laws[0]:
            try:
                ended = {run_id: record.ended_at for run_id, record in study.records.items()}
                self._laws = (mark, looks(study.table(), ended), "")
            except StudyError as error:
                self._laws = (mark, {}, str(error))
        return self._laws[1:]


def fresh(study: Study) -> Study:
    """The same study, of which nothing is read yet."""
    return Study(study.spec, study.runs, study.rates, study.untuned)


def shown_runs(
    study: Study, work: OpenWork, sizes: Mapping[str, Size], live: Mapping[str, LiveRun], now: float
) -> list[Shown]:
    """Every run of the grid, in its order."""
    left_out = {run.run_id for run, _ in work.enough.left_out} if work.enough else set()
    unscored = {run_id for run_id, _ in work.score}
    names = family_names(study.runs)
    found = []
    for run in study.runs:
        run_id, record = run.run_id, study.records.get(run.run_id)
        going = live.get(run_id)
        if run_id in left_out:
            state = "left out"
        elif going is not None and needs_training(run, record) and going.is_recent(now):
            state = "running"
        else:
            state = _state(run, record, going, run_id in unscored)
        reason = (record.reason or "") if record is not None and state != "running" else ""
        reason = work.gone.get(run_id, reason)
        found.append(Shown(run, names[run_id], state, sizes[run_id], reason, going))
    return found


def _state(run: RunSpec, record: RunRecord | None, live: LiveRun | None, unscored: bool) -> str:
    if record is None:
        return "waiting" if live is None else "interrupted"
    if record.status == "finished" and unscored:
        return "to be scored"
    return record.status.replace("_", " ")


def throughput(study: Study, runs: Sequence[Shown]) -> list[Throughput]:
    """By family and resources: of the running runs' last epoch, or else of what ended."""
    groups: defaultdict[tuple[str, str], list[Shown]] = defaultdict(list)
    for shown in runs:
        groups[shown.family, shown.run.resources.text()].append(shown)
    found = []
    for (family, shape), own in groups.items():
        ended = [study.records[shown.run.run_id] for shown in own if shown.run.run_id in study.records]
        going = [shown.live.history for shown in own if shown.state == "running" and shown.live is not None]
        measured = [m for m in map(_of_epochs, going) if m] or [m for m in map(_of_record, ended) if m]
        if measured:
            images, flops, share = (median(values) for values in zip(*measured, strict=True))
            found.append(Throughput(f"{family}, {shape}", len(going), len(own), images, flops, share))
    return found


def node_loads(runs: Sequence[Shown]) -> list[NodeLoad]:
    """By node, of the running runs whose last epoch says where it was trained."""
    groups: defaultdict[str, list[tuple[EpochRecord, tuple[float, float, float]]]] = defaultdict(list)
    for shown in runs:
        history = shown.live.history if shown.state == "running" and shown.live is not None else ()
        measured = _of_epochs(history)
        if measured and history[-1].host:
            groups[history[-1].host].append((history[-1], measured))
    found = []
    for host, own in sorted(groups.items()):
        images, flops, shares = zip(*(measured for _, measured in own), strict=True)
        newest = max((epoch for epoch, _ in own), key=lambda epoch: epoch.ended_at or 0.0)
        use = json.loads(newest.node_use or "{}")
        found.append(NodeLoad(host, len(own), sum(images), sum(flops), median(shares), use))
    return found


def _of_epochs(history: Sequence[EpochRecord]) -> tuple[float, float, float] | None:
    last = next((epoch for epoch in reversed(history) if epoch.images_per_s and epoch.compute_share), None)
    if last is None or not last.samples_seen:
        return None
    images, share = float(last.images_per_s or 0), float(last.compute_share or 0)
    return images, images * last.flops / last.samples_seen, share


def _of_record(record: RunRecord) -> tuple[float, float, float] | None:
    if record.images_per_s is None or record.flops_per_s is None or record.compute_share is None:
        return None
    return record.images_per_s, record.flops_per_s, record.compute_share


def _notes(study: Study, work: OpenWork) -> list[str]:
    notes = [f"damaged, counted as absent: {name} ({why})" for name, why in study.store.damaged.items()]
    simulated = [name for name in study.spec.benchmarks if name.startswith("simulated")]
    if simulated:
        notes.append(f"scores by {', '.join(simulated)} are of simulated recordings")
    if study.untuned:
        notes.append("not tuned yet: `scaling run` finds rates first, and the runs get other ids then")
    if work.enough is not None:
        notes.append(f"enough is known: {work.enough.text}; {work.enough.share:.0%} of the grid's FLOP is left out")
    return notes
