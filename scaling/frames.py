"""Results as data frames: one row a run and benchmark, in the words of `scaling.records`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scaling.errors import StudyError
from scaling.place import shown
from scaling.records import AlignmentRecord, Record, ResultsStore, RunRecord
from scaling.specs.objective import HarmonizerSpec, ObjectiveSpec, objective_spec
from scaling.specs.run import RunSpec
from scaling.storage import Storage

if TYPE_CHECKING:
    import pandas as pd

SCORE_WORDS = {"status": "score_status", "reason": "score_reason"}  # what a run has too
LEFT_OUT = "left_out"  # in a frame's attrs: reason -> number of runs or rows


def results_frame(
    records: Sequence[RunRecord], scores: Sequence[AlignmentRecord], left_out: Mapping[str, int] | None = None,
    all_epochs: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Finished runs joined with their scores at the last epoch, or at all; what is left out is counted in `attrs`.

    samples_seen, flops and accuracy are those of the scored checkpoint. `objective` is the objective's label, told
    apart by the options in which those of one name differ; objective_name and objective_weight are its parts.

    Args:
        left_out: what the caller has left out already.
    """
    counts = dict(left_out or {})
    for record in records:
        if record.status != "finished":
            _count(counts, f"run {record.status}")
    finished = [record for record in records if record.status == "finished"]
    epochs = {record.run_id: record.epochs for record in finished}
    rows = []
    for score in (score for score in scores if score.run_id in epochs):
        reason = _unused(score, epochs[score.run_id], all_epochs)
        if reason is None:
            rows.append(score)
        else:
            _count(counts, reason)
    scored = {score.run_id for score in scores}
    for run_id in epochs:
        if run_id not in scored:
            _count(counts, "run without scores")
    frame = _join(finished, rows)
    frame.attrs[LEFT_OUT] = counts
    return frame


def mapping_frame(scores: Sequence[AlignmentRecord]) -> pd.DataFrame:
    """One row a score, number of stimuli that the mapping is fitted on, and order of these; for `analysis.fit.mapping`.

    Columns: run_id, epoch, flops, benchmark, region, layer, mapping_samples, seed, raw, score. The mapping on all
    stimuli is of no order: seed 0.
    """
    import pandas as pd

    rows = []
    for record in (record for record in scores if record.mapping_curve is not None):
        facts = record.model_dump(include={"run_id", "epoch", "flops", "benchmark", "region", "layer"})
        whole = {"mapping_samples": record.mapping_samples, "seed": 0, "raw": record.raw, "score": record.score}
        points = [*json.loads(record.mapping_curve or "[]"), whole]
        rows += [
            facts | {name: point[name] for name in ("mapping_samples", "seed", "raw", "score")} for point in points
        ]
    return pd.DataFrame(rows)


def _count(counts: dict[str, int], reason: str) -> None:
    counts[reason] = counts.get(reason, 0) + 1


def _unused(score: AlignmentRecord, last: int, all_epochs: bool) -> str | None:
    """Why a score enters no table of trained models."""
    if score.status != "scored":
        return f"{score.benchmark}: score failed"
    if score.epoch == 0:
        return "untrained (epoch 0)"
    return "earlier checkpoint" if score.epoch != last and not all_epochs else None


def _join(records: Sequence[RunRecord], scores: Sequence[AlignmentRecord]) -> pd.DataFrame:
    runs = _frame(RunRecord, records).assign(**objective_columns(records))
    measured = _frame(AlignmentRecord, scores).rename(columns=SCORE_WORDS)
    shared = [name for name in measured.columns if name in runs.columns and name != "run_id"]
    return measured.merge(runs.drop(columns=shared), on="run_id", how="inner").reset_index(drop=True)


def _frame(kind: type[Record], records: Sequence[Record]) -> pd.DataFrame:
    rows = [record.model_dump() for record in records]
    frame: pd.DataFrame = pa.Table.from_pylist(rows, schema=kind.schema_arrow()).to_pandas()
    return frame


def objective_columns(records: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """The columns of the runs' objectives."""
    specs = [objective_spec(RunSpec.model_validate_json(record.spec).objective) for record in records]
    labels = objective_labels(specs)
    return {
        "objective": [labels[spec] for spec in specs],
        "objective_name": [spec.name for spec in specs],
        "objective_weight": [spec.weight if isinstance(spec, HarmonizerSpec) else float("nan") for spec in specs],
    }


def objective_labels(specs: Iterable[ObjectiveSpec]) -> dict[ObjectiveSpec, str]:
    """Each objective's name, with the options in which those of one name differ: 'harmonizer weight=10'."""
    different = list(dict.fromkeys(specs))
    labels = {}
    for spec in different:
        alike = [other for other in different if other.name == spec.name]
        told = [field for field in type(spec).model_fields if len({getattr(other, field) for other in alike}) > 1]
        labels[spec] = spec.label(told)
    return labels


def results_table(folder: str | Path, all_epochs: bool = False) -> pd.DataFrame:
    """The table of a results folder without its study file; of several protocols of a benchmark, the commonest.

    Raises:
        StudyError: no results there.
    """
    store = ResultsStore(Storage(folder))
    records, scores = list(store.read_runs().values()), store.read_scores()
    if not records or not scores:
        raise StudyError(
            f"'{shown(str(folder))}' holds no scored runs; give a study's results folder, such as results/quickstart"
        )
    counts = Counter((score.benchmark, score.protocol) for score in scores)
    chosen = {name: protocol for (name, protocol), _ in reversed(counts.most_common())}
    own = [score for score in scores if chosen[score.benchmark] == score.protocol]
    others = Counter(
        f"{s.benchmark} scored by another protocol ({s.protocol})" for s in scores if chosen[s.benchmark] != s.protocol
    )
    return results_frame(records, own, dict(others), all_epochs)
