"""Cells of a trained study that are left out of its laws, predicted by them, and what they came to.

    python tests/benchmarks/bench_held_out.py jobs/studies/repeats.yaml --region accuracy --region IT [--all]

A cell is a model size, a number of unique images and a number of epochs, with all its seeds. By default one is left
out: the most of all three. With --all, each in its turn. A law is that of the answer, `analysis.answer`: where images
repeat, the data-constrained one, if the rows identify it. A line a cell: the predicted mean of such runs and a single
run, with 95 % intervals, the law's status, and the mean measured; the last line counts the runs inside.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import analysis
import scaling
from analysis.answers.text import repeated_text

CELL = ["family", "n_params", "n_samples", "samples_seen"]


def cells(table: pd.DataFrame, every: bool) -> Iterator[tuple]:
    found = sorted(table[CELL].drop_duplicates().itertuples(index=False, name=None))
    most = max(found, key=lambda cell: cell[1:])
    yield from found if every else [most]


def measured(rows: pd.DataFrame, region: str) -> pd.Series:
    """The score of each run."""
    runs = rows.groupby("run_id")
    return runs.accuracy.first() if region == "accuracy" else rows[rows.region == region].groupby("run_id").score.mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--storage", help="by default the study's own")
    parser.add_argument("--region", action="append", required=True)
    parser.add_argument("--all", action="store_true", help="each cell in its turn")
    args = parser.parse_args()
    table = scaling.open_study(args.study, args.storage).table()
    table = table[table.region.isin(args.region) | (table.region == table.region.iloc[0])]
    whole = analysis.answer(table)
    print(repeated_text(whole.laws))
    inside = predicted = 0
    for cell in cells(table, args.all):
        out = (table[CELL] == pd.Series(cell, index=CELL)).all(axis=1)
        left = table[out]
        axes = dict(zip(CELL[1:], map(float, cell[1:]), strict=True)) | {"flops": float(left.flops.iloc[0])}
        said = analysis.answer(table[~out]).predict(cell[0], **axes)
        for region in args.region:
            got, name = measured(left, region), f"{region}, N {cell[1]:,}, {cell[2]:,} images, {cell[3]:,} seen"
            if region not in said:
                print(f"{name}: no usable law; got {got.mean():.3f}")
                continue
            one = said[region].run
            predicted += len(got)
            inside += int(got.between(one.low, one.high).sum())
            print(f"{name}: predicted {said[region].text()} ({said[region].status}); got {got.mean():.3f}")
    print(f"{inside} of {predicted} runs inside")


if __name__ == "__main__":
    main()
