"""Tables as people save them: separators, decimal marks, packings, and what only looks like a table."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import ScalingTable

FRAME = pd.DataFrame({
    "run_id": ["a", "b", "c"], "family": "resnet", "n_params": [100_000, 250_000, 1_500_000],
    "samples_seen": [60_000, 60_000, 120_000], "region": "IT", "score": [0.25, 0.5, 0.125],
})  # fmt: skip
TEXT = FRAME.to_csv(index=False)
POINTER = "version https://git-lfs.github.com/spec/v1\n"
Write = Callable[[Path], object]


def _csv(**options: object) -> Write:
    return lambda path: FRAME.to_csv(path, index=False, **options)  # type: ignore[call-overload]


def _text(change: Callable[[str], str], **options: object) -> Write:
    return lambda path: path.write_text(change(FRAME.to_csv(index=False, **options)), newline="")  # type: ignore[call-overload]


READ: dict[str, tuple[str, Write]] = {
    "commas": ("t.csv", _csv()),
    "capitals": ("T.CSV", _csv()),
    "tabs": ("t.tsv", _csv(sep="\t")),
    "tabs, commas in a name": ("t.tsv", _text(lambda t: t.replace("family", "family, kind, a, b, c, d"), sep="\t")),
    "commas in a .tsv": ("t.tsv", _csv()),
    "semicolons": ("t.csv", _csv(sep=";")),
    "semicolons and decimal commas": ("t.csv", _csv(sep=";", decimal=",")),
    "tabs and decimal commas": ("t.txt", _csv(sep="\t", decimal=",")),
    "bars": ("t.txt", _csv(sep="|")),
    "blanks": ("t.txt", _csv(sep=" ")),
    "blanks after commas": ("t.csv", _text(lambda t: t.replace(",", ", "))),
    "a byte order mark": ("t.csv", _csv(encoding="utf-8-sig")),
    "Excel's Unicode text": ("t.txt", _csv(encoding="utf-16", sep="\t")),
    "Excel's first line": ("t.csv", _text(lambda t: "sep=;\n" + t, sep=";")),
    "old line ends": ("t.csv", _csv(lineterminator="\r")),
    "Windows' line ends": ("t.csv", _csv(lineterminator="\r\n")),
    "gzip": ("t.csv.gz", _csv()),
    "gzip in capitals": ("T.CSV.GZ", lambda path: path.write_bytes(gzip.compress(TEXT.encode()))),
    "gzip that its name hides": ("t.csv", lambda path: path.write_bytes(gzip.compress(TEXT.encode()))),
    "bzip2": ("t.csv.bz2", _csv()),
    "xz": ("t.tsv.xz", _csv(sep="\t")),
    "zip": ("t.csv.zip", _csv()),
    "Parquet": ("t.parquet", FRAME.to_parquet),
    "Parquet in capitals": ("T.PARQUET", FRAME.to_parquet),
    "Parquet whose index names the runs": ("t.pq", FRAME.set_index("run_id").to_parquet),
    "Parquet of categories": ("t.parquet", FRAME.astype({"family": "category", "region": "category"}).to_parquet),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_tables_are_read_as_they_were_meant(tmp_path: Path, case: str) -> None:
    name, write = READ[case]
    write(tmp_path / name)
    read = ScalingTable.from_parquet if name.lower().endswith(("parquet", "pq")) else ScalingTable.from_csv
    table = read(tmp_path / name)
    for column in ("n_params", "samples_seen", "score"):
        assert table.values(column).tolist() == FRAME[column].tolist()
    assert table.column("run_id").tolist() == ["a", "b", "c"]
    assert table.unique("region") == ["IT"]


def _with(**columns: object) -> Write:
    return lambda path: FRAME.assign(**columns).to_csv(path, index=False)


def _joined(text: str) -> str:
    return text + text


def _zip(*names: str) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "a,b\n1,2\n")

    return write


REFUSED: dict[str, tuple[str, Write, str]] = {
    "a column twice": ("t.csv", _text(lambda t: t.replace("family", "score", 1)), "header has 'score' 2 times"),
    "a column twice but for blanks": ("t.csv", _text(lambda t: t.replace("family", " score", 1)), "'score' 2 times"),
    "two files in one": ("t.csv", _text(_joined), "row 3 is the header again"),
    "rows longer than the header": ("t.csv", _text(lambda t: t.replace("\n", ",\n").replace(",\n", "\n", 1)),
                                    "more fields"),
    "a comma of either mark": ("t.csv", _text(lambda t: t.replace("60000", "60,000").replace("0.25", "1")
                               .replace("0.5", "1").replace("0.125", "1"), sep=";"), "decimals or thousands"),
    "no UTF-8": ("t.csv", lambda path: path.write_bytes("a,é\n1,2\n".encode("latin-1")), "no UTF-8 text"),
    "gzip cut short": ("t.csv.gz", lambda path: path.write_bytes(gzip.compress(b"a,b\n1,2\n")[:15]), "cut short"),
    "a zip of two": ("t.csv.zip", _zip("a.csv", "b.csv"), "zip of 2 files"),
    "a workbook": ("t.csv", _zip("xl/workbook.xml", "x"), "Excel workbook"),
    "an old workbook": ("t.csv", lambda path: path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1"), "Excel workbook"),
    "a Git LFS pointer": ("t.csv", lambda path: path.write_text(POINTER), "git lfs pull"),
    "a page": ("t.csv", lambda path: path.write_text("\n<!DOCTYPE html>\n<html>a, b</html>"), "web page"),
    "Parquet as CSV": ("t.csv", FRAME.to_parquet, "it is Parquet"),
    "one column": ("t.csv", lambda path: path.write_text("score\n1\n2\n"), "one column"),
    "counts in millions": ("t.csv", _with(n_params=[11.7, 25.6, 44.5]), "n_params=11.7 .*whole"),
    "counts below one": ("t.csv", _with(n_params=0.5), "n_params=0.5 .*whole"),
    "negative counts": ("t.csv", _with(n_params=-5), "n_params=-5 .*above 0"),
    "thousands": ("t.csv", _with(n_params="1,500,000"), "n_params='1,500,000'.*no number"),
    "flags that say neither": ("t.csv", _with(is_ssl="perhaps"), "is_ssl='perhaps'.*true or false"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_plain_table_is_refused_with_what_it_is(tmp_path: Path, case: str) -> None:
    name, write, words = REFUSED[case]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=words):
        ScalingTable.from_csv(tmp_path / name)


def test_text_that_says_no_is_no() -> None:
    table = ScalingTable.from_frame(FRAME.assign(is_ssl=["no", "False", "yes"]))
    assert table.column("is_ssl").tolist() == [False, False, True]


@pytest.mark.parametrize("junk", ["-", "X", "1,234", "5 %"])
def test_text_among_numbers_of_any_column_is_named_with_its_row(junk: str) -> None:
    values = pd.Series([0.1, junk, 0.3], dtype=object)
    table = ScalingTable.from_frame(FRAME.assign(val_loss=values), where="t.csv")
    with pytest.raises(ValueError, match=rf"val_loss='{junk}' \(row 1 of t\.csv\) is no number"):
        table.values("val_loss")
    with pytest.raises(ValueError, match=r"\(row 1 of t\.csv\)"):  # also where the rows above it are gone
        table.select(run_id=["b", "c"]).mean_over("region", of="val_loss")
    assert table.select(run_id=["a", "c"]).values("val_loss").tolist() == [0.1, 0.3]
    with pytest.raises(ValueError, match=rf"flops='{junk}' \(row 1 of t\.csv\).*unit: FLOP"):
        ScalingTable.from_frame(FRAME.assign(theirs=values), {"theirs": "flops"}, "t.csv")


def test_a_list_in_a_cell_is_no_number() -> None:
    with pytest.raises(ValueError, match=r"score=\[1\] \(row 0 of"):
        ScalingTable.from_frame(FRAME.assign(score=pd.Series([[1], 1, 1], dtype=object)))


def test_the_published_table_takes_a_map_of_further_columns(published_csv: Path) -> None:
    plain = ScalingTable.from_csv(published_csv)
    mapped = ScalingTable.from_csv(published_csv, {"macs": "operations"})
    assert mapped.values("flops").tolist() == pytest.approx(plain.values("flops").tolist(), nan_ok=True)
    assert {"operations", "samples_seen", "family"} <= set(mapped.columns)
    assert "flops" in ScalingTable.from_csv(published_csv, {"total_flops": "flops"}).columns
    assert np.isfinite(mapped.values("score")).any()
