"""An opened study: its runs, its folder, its records, the protocol of each benchmark, open work, tables.

The one place that knows them: a study's grid is expanded, its folder listed and its records read once, here.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from scaling import layout
from scaling.alignment.protocol import Protocol, scoring_protocols
from scaling.alignment.suites.registry import benchmark_regions
from scaling.driver_lock import only_driver
from scaling.enough import RunSize, build_course, check_stop, read_sizes, shortened
from scaling.errors import StudyError
from scaling.first_images import check_same_images
from scaling.frames import best_scores, results_frame, untrained_frame
from scaling.journal import FILES
from scaling.mlflow_store import tracking_uri
from scaling.open_work import CheckpointKey as CheckpointKey
from scaling.open_work import OpenWork as OpenWork
from scaling.rates import StudyRates, at_rates, read_rates
from scaling.records import SCORE_KEYS, AlignmentRecord, ResultsStore, RunRecord, kept_epochs, needs_training
from scaling.score_book import ScoreBook, own_rows
from scaling.specs.run import RunSpec
from scaling.specs.scoring import ScoringSpec
from scaling.specs.study import StudySpec
from scaling.storage import Storage
from scaling.study import expand_study, read_study

if TYPE_CHECKING:
    import pandas as pd

    from analysis.stopping.course import Course
    from analysis.stopping.rule import Look
    from scaling.data.image_set import ImageData


def open_study(source: str | Path | StudySpec, storage: str | Path | None = None) -> Study:
    """A study by its file or its spec, with its results; nothing is read of them before it is asked for.

    Args:
        storage: in place of the study's own: a local path or a URI such as s3://bucket/folder.

    Raises:
        StudyError: a field that is unknown or impossible, a run that cannot be.
    """
    spec = source if isinstance(source, StudySpec) else read_study(source)
    if storage is not None:
        if not str(storage).strip():
            raise StudyError("storage='' names no place; give --storage a folder or a URI, or leave it out")
        spec = spec.model_copy(update={"storage": str(storage)})
    where = f"study '{spec.name}'" if isinstance(source, StudySpec) else str(source)
    runs = tuple(expand_study(spec, where))
    check_stop(spec, runs, where)
    rates = read_rates(spec, Storage(spec.storage).child(spec.name))
    if spec.tune is None or rates is None:
        return Study(spec, runs, untuned=spec.tune is not None and spec.tune.is_on)
    return Study(spec, at_rates(runs, spec.tune, rates, where), rates)


class Study:
    """See `open_study`. Records and scores are read once; who writes one tells, by `run_ended` and `scored`.

    Attributes:
        spec: as the study file has it. runs: of the grid, in its order. storage: the study's own folder. store: its
            records. rates: that its runs have, where it is tuned; untuned: it is to be, and its runs have values in
            the middle of their ranges, until `scaling run` has found better ones.
    """

    def __init__(
        self, spec: StudySpec, runs: Sequence[RunSpec], rates: StudyRates | None = None, untuned: bool = False
    ) -> None:
        self.spec, self.runs, self.rates, self.untuned = spec, tuple(runs), rates, untuned
        self._ids = [run.run_id for run in self.runs]  # each is a hash of the whole run
        self.storage = Storage(spec.storage).child(spec.name)
        self.store = ResultsStore(self.storage)
        self._weights: dict[str, list[str]] = {}
        self._looks: dict[str, Look] = {}

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def tracking_uri(self) -> str:
        """MLflow's, see `mlflow_store.tracking_uri`."""
        return tracking_uri(self.spec, self.storage)

    def scored_by(self, benchmarks: Iterable[str] = (), scoring: ScoringSpec | None = None) -> Study:
        """The same runs on further benchmarks, or by other settings.

        Raises:
            StudyError: an unknown benchmark.
        """
        names = tuple(dict.fromkeys([*self.spec.benchmarks, *benchmarks]))
        benchmark_regions(names)
        changes = {"benchmarks": names, "scoring": scoring or self.spec.scoring}
        return Study(self.spec.model_copy(update=changes), self.runs, self.rates, self.untuned)

    @cached_property
    def protocols(self) -> dict[str, Protocol]:
        """The study's benchmarks, by full name, and how each is scored."""
        return scoring_protocols(self.spec.scoring, self.spec.benchmarks)

    @cached_property
    def records(self) -> dict[str, RunRecord]:
        """The runs that ended, by run_id."""
        return self.store.read_runs(self._ids)

    @cached_property
    def scores(self) -> ScoreBook:
        """All that was ever scored of the study's runs, by checkpoint, whatever the benchmark and protocol."""
        return ScoreBook(self.store.scores_table(self._ids), self.is_own)

    def run_ended(self, run_id: str) -> RunRecord | None:
        """Read a run's record again: its worker has written it, or died."""
        record = self.store.read_run(run_id)
        self._weights.pop(run_id, None)
        if record is None:
            self.records.pop(run_id, None)
        else:
            self.records[run_id] = record
        return record

    def write_run(self, record: RunRecord) -> None:
        """A record that no worker could write."""
        self.store.write_run(record)
        self.records[record.run_id] = record

    def scored(self, new: Iterable[AlignmentRecord]) -> None:
        """Scores that an actor has written."""
        self.scores.put(new)

    def gather(self, busy: Collection[str] = (), at_least: int = FILES) -> None:
        """Gather the rows of ended runs into few files, see `ResultsStore.gather`; of the driver alone."""
        self.store.gather(busy, at_least)

    def results(self, run_id: str) -> tuple[RunRecord | None, list[AlignmentRecord]]:
        """A run's record and scores, for another thread too.

        A score by the study's own protocol carries its text, however a version before wrote it.
        """
        return self.records.get(run_id), [self._named(score) for score in self.scores.of_run(run_id)]

    def lacking(self, run_id: str, epoch: int) -> tuple[str, ...]:
        """The study's benchmarks that a checkpoint has no score of, by the study's own protocols."""
        done = self.scores.done(run_id, epoch)
        return tuple(name for name in self.protocols if name not in done)

    def is_own(self, benchmark: str, protocol: str) -> bool:
        """Whether a score by a benchmark and a protocol is what the study asks for."""
        return benchmark in self.protocols and self.protocols[benchmark].made(protocol)

    def _named(self, score: AlignmentRecord) -> AlignmentRecord:
        if not self.is_own(score.benchmark, score.protocol):
            return score
        return score.model_copy(update={"protocol": self.protocols[score.benchmark].text})

    def open_work(self, sizes: Mapping[str, RunSize] | None = None) -> OpenWork:
        """Compare the grid with the records. sizes: as of `course`, where they are known beside the study's folder.

        Failed runs and failed scores are open again, diverged runs are not; one that ran out of memory is once it asks
        for other resources, a finished one where weights that are to be scored are gone.

        Raises:
            StudyError: an ended run did not keep an epoch that is now to be scored, or its weights are pruned.
        """
        train, score, gone = [], dict[CheckpointKey, tuple[str, ...]](), dict[str, str]()
        for run, run_id in zip(self.runs, self._ids, strict=True):
            record = self.records.get(run_id)
            lacking = {e: names for e in run.score_epochs if (names := self.lacking(run_id, e))}
            if needs_training(run, record):
                train.append(run)
            elif record is not None and lacking:
                lacking = _scorable(run, record, lacking)
                missed = self._missed(run, record, lacking)
                if missed:
                    gone[run_id] = missed
                    train.append(run)
            score |= {(run_id, epoch): names for epoch, names in lacking.items()}
        stuck = {run_id for run_id, record in self.records.items() if record.status == "out_of_memory"}
        stuck -= {run.run_id for run in train}
        work = OpenWork(tuple(train), score, tuple(sorted(stuck)), gone, self._prunable())
        return work if self.spec.stop is None else self._without_left_out(work, sizes)

    def course(self, sizes: Mapping[str, RunSize]) -> Course:
        """The order of the runs of a study with a `stop`, and its looks; sizes: of every run."""
        return build_course(self.spec, self.runs, sizes, self._frame, self._looks)

    def _without_left_out(self, work: OpenWork, sizes: Mapping[str, RunSize] | None) -> OpenWork:
        sizes = read_sizes(self.storage) if sizes is None else sizes
        if not {run.run_id for run in self.runs} <= sizes.keys():
            return work  # the driver has not run with this grid and `stop` yet
        return shortened(work, self.course(sizes), sizes, self.records)

    def _prunable(self) -> frozenset[CheckpointKey]:
        checkpoints, runs = self.spec.checkpoints, zip(self._ids, self.runs, strict=True)
        return frozenset((run_id, e) for run_id, run in runs for e in checkpoints.prunable(run.training.epochs))

    def _missed(self, run: RunSpec, record: RunRecord, epochs: Iterable[int]) -> str | None:
        """Why an ended run has to be trained again, where the weights of epochs to be scored are gone.

        Raises:
            StudyError: they went because the study prunes what is scored.
        """
        there = self.weights(run.run_id)
        gone = [epoch for epoch in epochs if layout.weights_name(run.run_id, epoch) not in there]
        pruned = [e for e in gone if any(s.status == "scored" for s in self.scores.of(run.run_id, e))]
        if pruned and self.spec.checkpoints.prune != "never":
            left = [epoch for epoch in kept_epochs(record) if layout.weights_name(run.run_id, epoch) in there]
            raise StudyError(
                f"epoch {pruned[0]} of {record.status} run {run.run_id} ({run.label()}) lacks a score, but its weights "
                f"were pruned when it had all that were asked for (still there: "
                f"{', '.join(map(str, left)) or 'none'}; checkpoints.prune); score epochs that are there, or give the "
                "study a new name"
            )
        if not gone or record.status != "finished":
            return None
        return f"the weights of epoch {gone[0]} are gone"

    def weights(self, run_id: str) -> list[str]:
        """Names of a run's weights that are there, by epoch; listed once."""
        if run_id not in self._weights:
            self._weights[run_id] = layout.weights_names(self.storage, run_id)
        return self._weights[run_id]

    def reopen(self, run_id: str, reason: str) -> None:
        """Have an ended run trained again: its record becomes that of a failed one."""
        self.records[run_id] = self.store.reopen(self.records[run_id], f"{reason}; it is trained again")

    def prune_scored(self, work: OpenWork) -> None:
        """Delete what is scored and was to go: a process killed between the two left it."""
        epochs: dict[str, list[int]] = {}
        for run_id, epoch in sorted(work.prune - set(work.score)):
            epochs.setdefault(run_id, []).append(epoch)
        for run_id, gone in epochs.items():
            layout.delete_weights(self.storage, run_id, gone)
            self._weights.pop(run_id, None)

    def check_same_data(self, data: ImageData) -> None:
        """Refuse other images under the study's name, see `first_images.check_same_images`."""
        check_same_images(self.storage, data)

    def table(self, all_epochs: bool = False) -> pd.DataFrame:
        """One row a finished run and benchmark, at its last epoch or at all; see `frames.results_frame`.

        Only the study's own benchmarks, by its own protocols: the rest is counted in `attrs["left_out"]`.

        Raises:
            StudyError: nothing is scored yet.
        """
        self.check_tuned()
        frame = self._frame(self._ids, self._others(), all_epochs)
        if frame.empty:
            counts = ", ".join(f"{n} x {reason}" for reason, n in frame.attrs["left_out"].items())
            there = f" ({counts})" if counts else "; run it first: scaling run STUDY"
            raise StudyError(f"study '{self.name}' has no finished, scored run{there}")
        return frame

    def check_tuned(self) -> None:
        """Refuse to look for what needs the runs of a study whose rates are not found yet.

        Raises:
            StudyError: it is to be tuned first.
        """
        if self.untuned:
            raise StudyError(
                f"study '{self.name}' is not tuned yet ({self.storage.shown}); `scaling run STUDY` finds its rates "
                "and then trains it"
            )

    def _frame(
        self, run_ids: Collection[str], left_out: Mapping[str, int] | None = None, all_epochs: bool = False
    ) -> pd.DataFrame:
        """`table` of some runs; may be empty."""
        there, scores = self._own(run_ids)
        return results_frame(there, scores, left_out, all_epochs)

    def untrained(self) -> pd.DataFrame:
        """One row a finished run and benchmark before its first step, by the study's own protocols; may be empty."""
        return untrained_frame(*self._own(self._ids))

    def _own(self, run_ids: Collection[str]) -> tuple[list[RunRecord], pa.Table]:
        """Records of some runs that are there, and their scores by the study's own protocols, each once."""
        wanted = set(run_ids)
        scores, order = self.scores.rows()
        keys = scores.select([*SCORE_KEYS, "status"]).take(order)
        own = pc.and_(own_rows(keys, self.is_own), pc.is_in(keys["run_id"], pa.array(wanted, pa.string())))
        best = order.filter(own).take(best_scores(keys.filter(own), list(self.protocols)))
        there = [run_id for run_id in self._ids if run_id in self.records and run_id in wanted]
        return [self.records[run_id] for run_id in there], scores.take(best)

    def _others(self) -> dict[str, int]:
        """How many scores are not the study's, by the reason."""
        table = self.scores.rows()[0].select(["benchmark", "protocol"])
        others = table.filter(pc.invert(own_rows(table, self.is_own)))
        pairs = Counter(zip(others["benchmark"].to_pylist(), others["protocol"].to_pylist(), strict=True))
        found: Counter[str] = Counter()
        for (benchmark, protocol), n in pairs.items():
            if benchmark in self.protocols:
                found[f"{benchmark} scored by another protocol ({protocol})"] += n
            else:
                found[f"benchmark {benchmark}, which is not the study's"] += n
        return dict(found)

    def locked(
        self, say: Callable[[str], None] = lambda line: None, lost: Callable[[str], None] = lambda line: None
    ) -> AbstractContextManager[None]:
        """Keep a second driver out for a block's time, see `driver_lock.only_driver`."""
        return only_driver(self.storage, say, lost)

    @contextmanager
    def answer_files(self) -> Iterator[Path]:
        """A local folder with what was saved of the study's answer; a copy where its storage is remote."""
        if self.storage.is_local:
            yield Path(self.storage.path(layout.ANSWER))
            return
        with tempfile.TemporaryDirectory() as folder:
            for name in self.storage.names(layout.ANSWER):
                Path(folder, name).write_bytes(self.storage.read_bytes(f"{layout.ANSWER}/{name}"))
            yield Path(folder)

    def save_answer(self, folder: Path) -> None:
        """Replace the study's saved answer by the files of a local folder; none of an earlier answer stays."""
        names = sorted(path.name for path in folder.iterdir())
        for name in [n for n in names if n != layout.ANSWER_INDEX] + [n for n in names if n == layout.ANSWER_INDEX]:
            self.storage.write_bytes(f"{layout.ANSWER}/{name}", (folder / name).read_bytes())
        for name in set(self.storage.names(layout.ANSWER)) - set(names):
            self.storage.delete(f"{layout.ANSWER}/{name}")


def _scorable(run: RunSpec, record: RunRecord, lacking: dict[int, tuple[str, ...]]) -> dict[int, tuple[str, ...]]:
    """Which epochs that lack a score an ended run has kept."""
    kept = kept_epochs(record)
    lost = [epoch for epoch in lacking if epoch not in kept]
    if lost and record.status == "finished":
        raise StudyError(
            f"epoch {lost[0]} of finished run {run.run_id} ({run.label()}) is to be scored but was not kept "
            f"(kept: {', '.join(map(str, kept))}; checkpoints.score); score kept epochs, or give the study a new name"
        )
    return {epoch: names for epoch, names in lacking.items() if epoch in kept}
