"""A study's results store as a frame: runs joined with their scores. Nothing else here knows how results are stored."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as fs

STORE_RENAMES = {"status": "score_status", "reason": "score_reason"}


def _read_folder(path: str) -> pd.DataFrame:
    """A Parquet file, or all those of a folder, as a frame; `path` may be local or a URI that pyarrow knows."""
    filesystem, inside = _open(path)
    info = filesystem.get_file_info(inside)
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError(f"no Parquet file or folder at {path}")
    if info.type == fs.FileType.Directory:
        selector = filesystem.get_file_info(fs.FileSelector(inside, recursive=True))
        files = sorted(f.path for f in selector if f.path.endswith(".parquet") and f.size)
    else:
        files = [inside]
    if not files:
        raise ValueError(f"{path} holds no Parquet files")
    try:
        return _concatenate([ds.dataset(file, filesystem=filesystem, format="parquet").to_table() for file in files])
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not Parquet: {error}") from error


def _concatenate(tables: list[pa.Table]) -> pd.DataFrame:
    """Tables that may differ in null columns, as one frame."""
    frame: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    return frame


def _open(path: str) -> tuple[fs.FileSystem, str]:
    if "://" in path:
        filesystem, inside = fs.FileSystem.from_uri(path)
        return filesystem, inside
    return fs.LocalFileSystem(), str(Path(path).absolute())


def read_study(study_dir: str, run_ids: Iterable[str] | None = None, all_epochs: bool = False) -> pd.DataFrame:
    """Runs joined with their scores; attrs["left_out"]: the number of runs or rows left out, by reason.

    Runs: study_dir/runs/*.parquet; scores: study_dir/scores/*.parquet, whose samples_seen, flops and accuracy are
    those of the scored checkpoint.
    """
    root = study_dir.rstrip("/")
    runs, scores = _read_folder(f"{root}/runs"), _read_folder(f"{root}/scores")
    for name, frame in (("runs", runs), ("scores", scores)):
        if "run_id" not in frame:
            raise ValueError(f"{root}/{name} has no column 'run_id'; its columns: {', '.join(frame.columns)}")
    if run_ids is not None:
        runs, scores = _restrict(runs, scores, set(run_ids), root)
    left_out = {f"run {status}": int(n) for status, n in runs["status"].value_counts().items() if status != "finished"}
    runs = runs[runs["status"] == "finished"]
    scores = scores.rename(columns=STORE_RENAMES)
    shared = [name for name in scores.columns if name in runs.columns and name != "run_id"]
    frame = scores.merge(runs.drop(columns=shared), on="run_id", how="inner")
    unscored = int((~runs["run_id"].isin(scores["run_id"])).sum())
    frame = _drop(frame, frame["score_status"] != "scored", "score failed", left_out)
    frame = _drop(frame, frame["epoch"] == 0, "untrained (epoch 0)", left_out)
    if not all_epochs:
        frame = _drop(frame, frame["epoch"] != frame["epochs"], "earlier checkpoint", left_out)
    left_out |= {"run without scores": unscored}
    frame = frame.reset_index(drop=True)
    frame.attrs["left_out"] = {reason: n for reason, n in left_out.items() if n}
    return frame


def _restrict(
    runs: pd.DataFrame, scores: pd.DataFrame, wanted: set[str], root: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    absent = sorted(wanted - set(runs["run_id"]))
    if absent:
        raise ValueError(f"{len(absent)} of {len(wanted)} run_ids are not in {root}/runs, the first {absent[0]!r}")
    return runs[runs["run_id"].isin(wanted)], scores[scores["run_id"].isin(wanted)]


def _drop(frame: pd.DataFrame, drop: pd.Series, reason: str, left_out: dict[str, int]) -> pd.DataFrame:
    left_out[reason] = left_out.get(reason, 0) + int(drop.sum())
    return frame[~drop]
