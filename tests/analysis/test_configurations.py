"""What makes a configuration: names of runs change no statistics, checkpoints and seeds stay together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis import ScalingTable, fit_law

SIZES, DATA = 7, 6


def _grid() -> pd.DataFrame:
    """42 runs: sizes x amounts of data, y = 0.3 + 20 N^-.35 + 15 D^-.4, 1 % noise."""
    rng = np.random.default_rng(0)
    N, D = (a.ravel().round() for a in np.meshgrid(np.geomspace(1e5, 1e8, SIZES), np.geomspace(1e4, 1e7, DATA)))
    y = (0.3 + 20 * N**-0.35 + 15 * D**-0.4) * np.exp(rng.normal(0, 0.01, len(N)))
    return pd.DataFrame({
        "run_id": [f"r{i}" for i in range(len(N))], "family": "resnet", "n_params": N, "samples_seen": D,
        "flops": 6 * N * D, "region": "IT", "score": 1 - y,
    })  # fmt: skip


def _repeated(*changes: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([change(_grid()) for change in changes], ignore_index=True)


def _seeds(**columns: object) -> pd.DataFrame:
    return _repeated(*(lambda f, s=s: f.assign(run_id=f["run_id"] + f"-{s}", seed=s, **columns) for s in range(3)))


def _checkpoints() -> pd.DataFrame:
    def at(share: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
        return lambda f: f.assign(samples_seen=f["samples_seen"] * share, flops=f["flops"] * share, epochs=share)

    return _repeated(*(at(share) for share in (0.25, 0.5, 1.0)))


def _streamed() -> pd.DataFrame:
    return _checkpoints().assign(n_samples=lambda f: f["samples_seen"])


NAMES = {
    "a name a run": _grid(),
    "no names": _grid().drop(columns="run_id"),
    "names that are missing": _grid().assign(run_id=np.nan),
    "names that are missing in half": _grid().assign(run_id=lambda f: f["run_id"].where(f.index % 2 == 0)),
    "one name for all": _grid().assign(run_id="exp"),
    "a name a family": _grid().assign(run_id="resnet"),
    "numbers": _grid().assign(run_id=range(SIZES * DATA)),
    "another name beside": _grid().assign(run_name=lambda f: f["run_id"]),
    "one seed": _grid().assign(seed=0),
    "a seed a run": _grid().assign(seed=range(SIZES * DATA)),
    "seeds": _seeds(),
    "seeds that no column names": _seeds().drop(columns="seed"),
    "seeds without names": _seeds().drop(columns="run_id"),
    "checkpoints": _checkpoints(),
    "checkpoints that see each image once": _streamed(),
    "checkpoints of seeds": pd.concat([
        _checkpoints().assign(run_id=lambda f, s=s: f["run_id"] + f"-{s}", seed=s) for s in range(2)
    ]),
    "a name a size": _grid().assign(run_id=lambda f: f["n_params"], n_samples=lambda f: f["samples_seen"] / 2),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES)
def test_sizes_times_amounts_of_data_are_the_configurations(case: str) -> None:
    table = ScalingTable.from_frame(NAMES[case])
    codes = table.clusters(("n_params", "samples_seen"))
    assert len(set(codes)) == SIZES * DATA
    if "checkpoints" not in case:
        grid = table.frame.groupby(["n_params", "samples_seen"], sort=False).ngroup()
        assert len(set(zip(codes, grid, strict=True))) == SIZES * DATA


@pytest.mark.parametrize("case", ["a name a run", "no names", "one name for all", "a seed a run"])
def test_names_do_not_change_the_law(case: str) -> None:
    law = fit_law(ScalingTable.from_frame(NAMES[case]), "chinchilla", bootstrap=0)
    assert law.status == "ok"
    assert law.params == fit_law(ScalingTable.from_frame(NAMES["no names"]), "chinchilla", bootstrap=0).params


def test_rows_of_one_run_are_one_configuration_whatever_grew() -> None:
    table = ScalingTable.from_frame(_checkpoints())
    assert (pd.Series(table.clusters()).groupby(table.column("run_id")).nunique() == 1).all()


def test_an_outcome_parts_no_seeds() -> None:
    frame = _seeds().assign(loss=lambda f: np.linspace(1, 2, len(f)))
    assert len(set(ScalingTable.from_frame(frame).clusters(("loss",)))) == SIZES * DATA


def test_an_axis_of_their_own_parts_runs() -> None:
    frame = pd.DataFrame({"run_id": list("abcd"), "family": "x", "width": 1.0, "lr": [1, 1, 2, 2], "score": 0.3})
    table = ScalingTable.from_frame(frame)
    assert table.clusters(("lr",)).tolist() == [0, 0, 1, 1]
    assert len(set(table.clusters())) == 1


def test_a_mean_keeps_models_of_one_name_apart() -> None:
    """As where run_id names the family, or is empty."""
    for name in ("resnet", None):
        parts = [
            _grid().assign(run_id=name, region=region, score=score) for region, score in (("V1", 0.2), ("IT", 0.4))
        ]
        mean = ScalingTable.from_frame(pd.concat(parts)).mean_over("region")
        assert len(mean) == SIZES * DATA
        assert mean.values("score") == pytest.approx(0.3)
