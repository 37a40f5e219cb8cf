"""What stopping saves, and whether its intervals still cover.

    python tests/benchmarks/bench_stopping.py [--repeats 40] [--published PATH/benchmark_scores.csv]

First the published table (Gokce & Schrimpf 2025; the 444 supervised models of its fit in N and D, one law): runs
arrive cheapest first, informative, or at random, and the study ends by the rule of `analysis.stopping`. One line an
order: share of the FLOP and of the runs at the end, N_opt there, and whether it lies inside the interval of all runs.

Then planted laws y = E + A·N^-alpha + B·D^-beta on a grid, with noise of runs (seeds) and scatter of configurations:
how often a study ends early, what it spends, how often the 95 % interval of N_opt at its end covers the planted one,
and how often that of all runs does (of those studies where it is usable).
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import ComputeMap, ScalingTable
from analysis.recipe.optimum import chinchilla_optimum
from analysis.stopping.course import STAYS, Course
from analysis.stopping.delta import Candidate
from analysis.stopping.rule import Known, Look, StopRule, look_at

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "gokce2025" / "benchmark_scores.csv"
ALIASES = {"ResNetFlex": "ResNet", "ViTFlex": "ViT", "ConvNeXtFlex": "ConvNeXt"}
REGION = "mean"


def published_frame(path: Path) -> pd.DataFrame:
    """The 444 runs of the published fit in N and D, as a study's frame of one family."""
    table = ScalingTable.from_csv(path)
    flags = dict.fromkeys(("is_pretrained", "is_random", "is_ssl", "is_adv", "is_ablation"), False)
    rows = table.select(dataset=["imagenet", "ecoset"], **flags)
    rows = rows.with_columns(family=rows.column("family").replace(ALIASES))
    rows = rows.mean_over("region", require=["accuracy", "n_samples", "samples_seen", "flops", "n_params"])
    images = rows.column("images_per_class")
    few = rows.column("family").isin(["ConvNeXt", "ViT"]) & ~(images.isna() | (images == 300).fillna(False))
    frame = rows.where(~few.to_numpy(dtype=bool)).frame
    return frame.assign(arch=frame["family"] + " " + frame["arch"].astype(str), family="all", region=REGION)


def candidates_of(frame: pd.DataFrame) -> list[Candidate]:
    codes = ScalingTable(frame).clusters()
    columns = zip(frame.run_id, codes, frame.n_params, frame.samples_seen, frame.flops, strict=True)
    return [Candidate(str(i), "all", str(c), float(N), float(D), float(C)) for i, c, N, D, C in columns]


def course_of(rule: StopRule, frame: pd.DataFrame, shuffle: int | None = None) -> Course:
    """The course of a frame's runs; shuffle: seed of a random order."""
    rows, runs = frame.set_index("run_id", drop=False), candidates_of(frame)

    def frame_of(ids: Collection[str]) -> pd.DataFrame:
        return rows.loc[list(ids)].reset_index(drop=True)

    course = Course(rule, runs, frame_of)
    if shuffle is not None:
        course.sequence = [runs[i] for i in np.random.default_rng(shuffle).permutation(len(runs))]
    return course


def spent(course: Course, n_runs: int) -> float:
    """Share of the FLOP of all runs that the first ones of the order took."""
    total = course.sequence[:n_runs] + [c for c in course._cheapest if c not in course.sequence[:n_runs]]
    return sum(c.flops for c in course.sequence[:n_runs]) / sum(c.flops for c in total)


def on_the_published_table(path: Path, budget: float, factor: float, shuffles: int) -> None:
    frame = published_frame(path)
    rule = StopRule(REGION, budget, factor, {"all": True}, round=8)
    (full,) = look_at(frame, replace(rule, factor=1e6)).known
    print(f"published table: {len(frame)} runs, {frame.flops.sum():.3g} FLOP; all: {full.text()}")
    print(f"N_opt at {budget:.3g} FLOP within a factor of {factor:g}, a look every {rule.round} runs", flush=True)
    typical = float(frame.flops.median())
    orders: list[tuple[str, StopRule, int | None]] = [("cheapest", rule, None)]
    for cost in (0.0, 0.1, 1.0):
        own = replace(rule, order="informative", run_flops=cost * typical)
        orders.append((f"informative, a run costs {cost:g} median runs beside", own, None))
    orders += [("random", rule, seed) for seed in range(shuffles)]
    for name, own, shuffle in orders:
        course = course_of(own, frame, shuffle)
        course.advance(lambda run_id: True)
        for looks in (1, 1 + STAYS):
            said(name, course, looks, full)


def said(name: str, course: Course, looks: int, full: Known) -> None:
    look = first_end(course, looks)
    if look is None:
        print(f"  {name:<50} {looks} looks: does not end", flush=True)
        return
    known, n = look.known[0], look.n_runs
    inside = "inside" if full.low <= known.value <= full.high else "outside"
    print(
        f"  {name:<50} {looks} looks: ends at {spent(course, n):7.2%} of FLOP, {n} runs ({n / full_runs(course):.0%}); "
        f"{known.text()}, {inside} the interval of all", flush=True,
    )  # fmt: skip


def full_runs(course: Course) -> int:
    return len(course._cheapest)


@dataclass(frozen=True)
class Setting:
    """A planted study: sizes x data sizes, seeds, noise of runs and scatter of configurations, exponents, offset."""

    grid: tuple[int, int]
    seeds: int
    noise: float
    scatter: float
    alpha: float = 0.35
    beta: float = 0.30
    offset: float = 0.25
    factor: float = 2.0

    def text(self) -> str:
        return (f"{self.grid[0]} x {self.grid[1]} x {self.seeds}  noise {self.noise:.2f} scatter {self.scatter:.2f} "
                f"alpha {self.alpha:.2f} beta {self.beta:.2f} E {self.offset:.2f} factor {self.factor:g}")  # fmt: skip


N0, D0, N_FOLD, D_FOLD = 1e5, 1e4, 64.0, 256.0


def planted(setting: Setting, seed: int) -> pd.DataFrame:
    """A study's frame."""
    rng = np.random.default_rng((seed, 7))
    grid = itertools.product(
        np.geomspace(N0, N0 * N_FOLD, setting.grid[0]), np.geomspace(D0, D0 * D_FOLD, setting.grid[1])
    )
    N, D = np.array(list(grid)).T
    mean = setting.offset + 0.3 * (N / N0) ** -setting.alpha + 0.3 * (D / D0) ** -setting.beta
    mean = mean * np.exp(rng.normal(0, setting.scatter, len(N)))
    parts = [
        pd.DataFrame({"n_params": N, "samples_seen": D, "flops": 6 * N * D, "seed": s, "size": N, "n_samples": D,
                      "score": 1 - mean * np.exp(rng.normal(0, setting.noise, len(N)))})
        for s in range(setting.seeds)
    ]  # fmt: skip
    frame = pd.concat(parts, ignore_index=True)
    words = {"family": "all", "region": REGION, "benchmark": REGION, "accuracy": 0.5}
    return frame.assign(run_id=[f"{i:04}" for i in range(len(frame))], **words)


def truth(setting: Setting, budget: float) -> float:
    params = {"A": 0.3 * N0**setting.alpha, "alpha": setting.alpha, "B": 0.3 * D0**setting.beta, "beta": setting.beta}
    compute = ComputeMap(kind="given", m=6, n=1, gamma=1)
    return float(chinchilla_optimum({k: np.asarray(v) for k, v in params.items()}, compute, np.asarray(budget))[0])


def covers(known: Known, value: float) -> bool | None:
    """Whether the interval covers; None where there is none."""
    return None if not np.isfinite(known.low) else bool(known.low <= value <= known.high)


def share(found: list[bool | None]) -> str:
    told = [one for one in found if one is not None]
    return f"{np.mean(told):6.1%} of {len(told):<4}" if told else f"{'-':>6} of 0   "


def first_end(course: Course, looks: int) -> Look | None:
    """The first look at which the rule held, and had held at the looks before it, `looks` in all."""
    held = [look.within for look in course.looks]
    return next((course.looks[i] for i in range(looks - 1, len(held)) if all(held[i - looks + 1 : i + 1])), None)


def simulate(setting: Setting, repeats: int, order: str) -> None:
    """One line a number of looks that have to hold: a single one, and as many as the product asks for."""
    budget = BEYOND * 6 * N0 * N_FOLD * D0 * D_FOLD
    rule = StopRule(REGION, budget, setting.factor, {"all": True}, order, round=4, bootstrap=BOOTSTRAP)  # type: ignore[arg-type]
    value, found = truth(setting, budget), []
    for repeat in range(repeats):
        frame = planted(setting, repeat)
        course = course_of(replace(rule, run_flops=0.1 * float(np.median(frame.flops))), frame)
        course.advance(lambda run_id: True)
        found.append((course, look_at(frame, replace(rule, factor=1e9)).known[0]))
    whole = [covers(full, value) for _, full in found]
    for looks in (1, 1 + STAYS):
        ends = [(course, look, full) for course, full in found if (look := first_end(course, looks)) is not None]
        shares = [(spent(course, look.n_runs), look.n_runs / full_runs(course)) for course, look, _ in ends]
        flops, runs = np.mean(shares, axis=0) if shares else (np.nan, np.nan)
        here = [look.known[0].value / value for _, look, _ in ends]
        there = [full.value / value for _, _, full in ends]
        print(
            f"{setting.text()}  {order:<11} {looks} looks: ends {len(ends) / repeats:4.0%}, at {flops:6.1%} of FLOP, "
            f"{runs:4.0%} of runs; covers there {share([covers(look.known[0], value) for _, look, _ in ends])}, "
            f"all runs of those {share([covers(full, value) for _, _, full in ends])}, of every study {share(whole)}; "
            f"median N_opt is {np.median(here or [np.nan]):.2f}, {np.median(there or [np.nan]):.2f} of the planted",
            flush=True,
        )  # fmt: skip


BEYOND, BOOTSTRAP = 1.0, 100
SETTINGS = [
    Setting((6, 8), 1, 0.01, 0.0, 0.5, 0.4, 0.1, 3.0),
    Setting((5, 6), 2, 0.01, 0.01, 0.5, 0.4, 0.1, 3.0),
    Setting((6, 8), 1, 0.02, 0.0, 0.35, 0.30, 0.25, 3.0),
    Setting((6, 8), 2, 0.02, 0.01, 0.3, 0.5, 0.0, 2.0),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--shuffles", type=int, default=3, help="random orders of the published table")
    parser.add_argument("--published", type=Path, default=DATA)
    parser.add_argument("--budget", type=float, default=1e20)
    parser.add_argument("--factor", type=float, default=3.0)
    parser.add_argument("--settings", type=int, nargs="+", default=range(len(SETTINGS)), help="of the planted ones")
    parser.add_argument("--orders", nargs="+", default=["cheapest", "informative"])
    chosen = parser.parse_args()
    if chosen.published.exists() and chosen.shuffles >= 0:  # -1: planted laws alone
        on_the_published_table(chosen.published, chosen.budget, chosen.factor, chosen.shuffles)
    settings = [SETTINGS[i] for i in chosen.settings] if chosen.repeats else []
    for setting, order in itertools.product(settings, chosen.orders):
        simulate(setting, chosen.repeats, order)


if __name__ == "__main__":
    main()
