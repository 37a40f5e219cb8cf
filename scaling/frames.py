"""Results as data frames: one row a run and benchmark, in the words of `scaling.records`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from scaling.errors import StudyError
from scaling.place import shown
from scaling.records import AlignmentRecord, ResultsStore, RunRecord
from scaling.rows import table_of
from scaling.specs.objective import HarmonizerSpec, ObjectiveSpec, objective_spec
from scaling.specs.run import RunSpec
from scaling.storage import Storage

if TYPE_CHECKING:
    import pandas as pd

SCORE_WORDS = {"status": "score_status", "reason": "score_reason"}  # what a run has too
LEFT_OUT = "left_out"  # in a frame's attrs: reason -> number of runs or rows


def results_frame(
    records: Sequence[RunRecord],
    scores: Sequence[AlignmentRecord] | pa.Table,
    left_out: Mapping[str, int] | None = None,
    all_epochs: bool = False,
) -> pd.DataFrame:
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
    table = scores if isinstance(scores, pa.Table) else table_of(AlignmentRecord, scores)
    keys = table.select(["run_id", "epoch", "benchmark", "status"]).to_pandas()
    last = keys["run_id"].map({record.run_id: record.epochs for record in finished})
    reasons = _unused(keys, last, all_epochs)
    for reason, n in reasons[last.notna() & (reasons != "")].value_counts(sort=False).items():
        counts[str(reason)] = counts.get(str(reason), 0) + n
    scored = set(keys["run_id"])
    for record in finished:
        if record.run_id not in scored:
            _count(counts, "run without scores")
    frame = _join(finished, table.filter(pa.array(last.notna() & (reasons == ""))).to_pandas())
    frame.attrs[LEFT_OUT] = counts
    return frame


def untrained_frame(records: Sequence[RunRecord], scores: pa.Table) -> pd.DataFrame:
    """Finished runs joined with their scores before the first step (epoch 0), whose compute is none; may be empty."""
    chosen = pc.and_(pc.equal(scores["epoch"], 0), pc.equal(scores["status"], "scored"))
    finished = [record for record in records if record.status == "finished"]
    return _join(finished, scores.filter(chosen).to_pandas()).assign(flops=float("nan"))


def _count(counts: dict[str, int], reason: str) -> None:
    counts[reason] = counts.get(reason, 0) + 1


def _unused(scores: pd.DataFrame, last: pd.Series, all_epochs: bool) -> pd.Series:
    """Why each score enters no table of trained models; empty where it does."""
    import pandas as pd

    reasons = pd.Series("", index=scores.index, dtype=object)
    if not all_epochs:
        reasons = reasons.mask(scores["epoch"] != last, "earlier checkpoint")
    reasons = reasons.mask(scores["epoch"] == 0, "untrained (epoch 0)")
    return reasons.mask(scores["status"] != "scored", scores["benchmark"] + ": score failed")


def best_scores(own: pa.Table, benchmarks: Sequence[str]) -> pa.Array:
    """Row numbers of each checkpoint's first score of each benchmark; of a failure only where there is none.

    Args:
        own: rows of AlignmentRecords by these benchmarks, ordered by checkpoint. benchmarks: their order then.
    """
    keys = own.select(["run_id", "epoch", "benchmark", "status"]).to_pandas()
    keys["failed"] = keys["status"] != "scored"
    keys["checkpoint"] = (keys[["run_id", "epoch"]] != keys[["run_id", "epoch"]].shift()).any(axis=1).cumsum()
    keys["place"] = keys["benchmark"].map({name: place for place, name in enumerate(benchmarks)})
    first = keys.sort_values(["checkpoint", "place", "failed"], kind="stable").drop_duplicates(["checkpoint", "place"])
    return pa.array(first.index.to_numpy(dtype="int64"))


def _join(records: Sequence[RunRecord], scores: pd.DataFrame) -> pd.DataFrame:
    runs = table_of(RunRecord, records).to_pandas().assign(**objective_columns(records))
    measured = scores.rename(columns=SCORE_WORDS)
    shared = [name for name in measured.columns if name in runs.columns and name != "run_id"]
    return measured.merge(runs.drop(columns=shared), on="run_id", how="inner").reset_index(drop=True)


def objective_columns(records: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """The columns of the runs' objectives."""
    read: dict[str, ObjectiveSpec] = {}  # a study has few: runs are read for those alone that say something new
    specs = []
    for record in records:
        said = json.dumps(json.loads(record.spec).get("objective"))
        if said not in read:
            read[said] = objective_spec(RunSpec.model_validate_json(record.spec).objective)
        specs.append(read[said])
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
    records, scores = list(store.read_runs().values()), store.scores_table()
    if not records or not scores.num_rows:
        raise StudyError(
            f"'{shown(str(folder))}' holds no scored runs; give a study's results folder, such as results/quickstart"
        )
    scores = scores.sort_by([("run_id", "ascending"), ("epoch", "ascending")])
    pairs = list(zip(scores["benchmark"].to_pylist(), scores["protocol"].to_pylist(), strict=True))
    chosen = {name: protocol for (name, protocol), _ in reversed(Counter(pairs).most_common())}
    is_own = [chosen[name] == protocol for name, protocol in pairs]
    others = Counter(
        f"{name} scored by another protocol ({protocol})"
        for (name, protocol), own in zip(pairs, is_own, strict=True) if not own
    )  # fmt: skip
    return results_frame(records, scores.filter(pa.array(is_own)), dict(others), all_epochs)
