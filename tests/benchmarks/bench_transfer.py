"""How far the best rate moves over 16 x in width, by parametrization: standard against mup, on CIFAR-10 at 12 pixels.

    SCALING_DATA_DIR=... python tests/benchmarks/bench_transfer.py --out FOLDER [--family resnet] [--seeds 2]

Every cell is a run of this project's own training loop, with a record in FOLDER/runs: it is not trained again. A
width's rates are searched in octaves, from the best of the width before, until the best lies between two others, then
filled to steps of 2^(1/2) within an octave of it. The best rate is the vertex of the parabola, in log2 of the rate,
through the final training losses (the last epoch's mean, over seeds) within an octave of the least; its 95 % interval
is that of bootstrapped seeds. What the best rate moves by is the largest over widths, by the least.

Both parametrizations are one model at the base, by default the largest width; its runs count for both. The table is
printed and saved, with each run's loss (CSV) and a figure of loss against rate (PNG, SVG).
"""

from __future__ import annotations

import argparse
import csv
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from scaling.data.image_set import ImageData, ImageSet
from scaling.data.image_source import image_source
from scaling.records import ResultsStore
from scaling.specs.dataset import DatasetSpec
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.study import expand_study, parse_study
from scaling.train.distributed.worker import Worker
from scaling.train.loop import train_run

SIDE, HELDOUT, DRAWS = 12, 500, 2000
PARAMETRIZATIONS = ("standard", "mup")
IMAGES, EPOCHS = 500, 4  # images of a class


@dataclass(frozen=True)
class Case:
    """A family's widths, the training that all have, and the rate at which the search begins."""

    model: dict[str, Any]
    widths: tuple[int, ...]
    start: float
    training: dict[str, Any]


ADAMW = {"optimizer": "adamw", "weight_decay": 0.01}
CASES = {
    "resnet": Case({"family": "resnet", "depth": 10}, (4, 16, 64), 0.1, {"optimizer": "sgd", "weight_decay": 1e-4}),
    "vit": Case({"family": "vit", "depth": 2, "heads": 3}, (12, 48, 192), 2**-9, ADAMW),
    "convnext": Case({"family": "convnext", "depth": 4}, (4, 16, 64), 2**-8, ADAMW),
}


@dataclass(frozen=True)
class Curve:
    """One width in one parametrization: final losses by step of the rate, (seeds,) each; steps are half octaves."""

    family: str
    rule: str
    width: int
    losses: dict[int, list[float]]

    def rate(self, step: float) -> float:
        return CASES[self.family].start * 2 ** (step / 2)

    def best_step(self) -> int:
        return min(self.losses, key=lambda step: float(np.mean(self.losses[step])))


def make_run(family: str, rule: str, width: int, base: int, step: int, seed: int) -> RunSpec:
    case = CASES[family]
    own = {"parametrization": "mup", "base_size": base} if rule == "mup" and width != base else {}
    study = {
        "name": "transfer", "dataset": {"name": "cifar10", "path": "cifar10", "image_size": SIDE},
        "models": [case.model | own | {"sizes": [width]}],
        "data_sizes": [IMAGES], "seeds": [seed],
        "training": {"epochs": EPOCHS, "batch_size": 64, "warmup_epochs": 0.5, "lr": case.start * 2 ** (step / 2)}
        | case.training,
        "checkpoints": {"keep": ["last"]}, "benchmarks": ["simulated-ventral-stream"],
    }  # fmt: skip
    return expand_study(parse_study(study))[0]


_state: dict[str, Any] = {}


def open_worker(data_dir: Path, out: Path) -> None:
    """A process's images, few held-out ones, and the place of the records."""
    data = image_source(DatasetSpec(name="cifar10", path="cifar10", image_size=SIDE), data_dir).open()
    few = ImageSet(np.asarray(data.heldout.images[:HELDOUT]), data.heldout.labels[:HELDOUT])
    _state.update(data=replace(data, heldout=few), storage=Storage(out))


def final_loss(run: RunSpec) -> float:
    """The last epoch's mean loss, trained where there is no record; infinite where it diverged."""
    data: ImageData = _state["data"]
    for _ in train_run(run, data, _state["storage"], Worker()):
        pass
    record = ResultsStore(_state["storage"]).read_run(run.run_id)
    assert record is not None
    return math.inf if record.loss is None or record.status != "finished" else record.loss


class Search:
    """Trains a width's rates until the best is bracketed."""

    def __init__(self, pool: ProcessPoolExecutor, seeds: int) -> None:
        self.pool, self.seeds = pool, seeds

    def curve(self, family: str, rule: str, width: int, base: int, start: int) -> Curve:
        curve = Curve(family, rule, width, {})

        def fill(steps: Iterable[int]) -> None:
            new = [step for step in steps if step not in curve.losses]
            cells = [make_run(family, rule, width, base, step, seed) for step in new for seed in range(self.seeds)]
            losses = list(self.pool.map(final_loss, cells))
            for number, step in enumerate(new):
                curve.losses[step] = losses[number * self.seeds : (number + 1) * self.seeds]

        fill([start])
        for spacing in (2, 1):  # octaves, then half octaves
            while missing := near(curve.best_step(), spacing) - set(curve.losses):
                fill(sorted(missing))
        return curve


def near(step: int, spacing: int) -> set[int]:
    """The steps within an octave of one."""
    return set(range(step - 2, step + 3, spacing))


def best_step(curve: Curve, random: np.random.Generator | None = None) -> float:
    """The vertex of the parabola through the losses within an octave of the least; seeds are drawn anew by `random`."""
    centre = curve.best_step()
    steps = [s for s in range(centre - 2, centre + 3) if np.isfinite(curve.losses[s]).all()]
    values = [np.asarray(curve.losses[s]) for s in steps]
    means = [float(v.mean() if random is None else random.choice(v, len(v)).mean()) for v in values]
    a, b, _ = np.polyfit(steps, means, 2)
    return float(np.clip(-b / (2 * a), min(steps), max(steps))) if a > 0 else float(steps[int(np.argmin(means))])


def interval(curve: Curve) -> tuple[float, float]:
    random = np.random.default_rng(0)
    low, high = np.quantile([best_step(curve, random) for _ in range(DRAWS)], [0.025, 0.975])
    return float(low), float(high)


def moves(curves: Sequence[Curve]) -> tuple[float, float, float]:
    """By what factor the best rate moves over widths, and the 95 % interval of bootstrapped seeds."""
    random = np.random.default_rng(0)
    steps = np.array([best_step(curve) for curve in curves])
    draws = np.array([[best_step(curve, random) for curve in curves] for _ in range(DRAWS)])
    low, high = np.quantile(2 ** (np.ptp(draws, axis=1) / 2), [0.025, 0.975])
    return float(2 ** (np.ptp(steps) / 2)), float(low), float(high)


def table(curves: Sequence[Curve]) -> Iterator[str]:
    for family, rule in dict.fromkeys((curve.family, curve.rule) for curve in curves):
        own = [curve for curve in curves if (curve.family, curve.rule) == (family, rule)]
        for curve in own:
            step, (low, high) = best_step(curve), interval(curve)
            least = float(np.mean(curve.losses[curve.best_step()]))
            rates = f"{curve.rate(step):.3g} [{curve.rate(low):.3g}, {curve.rate(high):.3g}]"
            yield f"{family:<10}{rule:<10}w{curve.width:<6}{rates:<30}loss {least:.4f}"
        factor, low, high = moves(own)
        wider = own[-1].width / own[0].width
        yield f"{family:<10}{rule:<10}moves by {factor:.2f} [{low:.2f}, {high:.2f}] over {wider:g} x in width"


def save(curves: Sequence[Curve], out: Path) -> None:
    with (out / "transfer.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["family", "parametrization", "width", "lr", "seed", "loss"])
        for c in curves:
            for step, losses in sorted(c.losses.items()):
                rows = [(c.family, c.rule, c.width, f"{c.rate(step):.6g}", seed, x) for seed, x in enumerate(losses)]
                writer.writerows(rows)
    (out / "transfer.txt").write_text("\n".join(table(curves)) + "\n")
    draw(curves, out)


def draw(curves: Sequence[Curve], out: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator

    families = list(dict.fromkeys(curve.family for curve in curves))
    shape = len(families), len(PARAMETRIZATIONS)
    size = 7.5, 2.6 * shape[0]
    figure, panels = pyplot.subplots(
        *shape, figsize=size, squeeze=False, sharex="row", sharey="row", layout="constrained"
    )
    for curve in curves:
        panel = panels[families.index(curve.family)][PARAMETRIZATIONS.index(curve.rule)]
        steps = [step for step in sorted(curve.losses) if np.isfinite(curve.losses[step]).all()]
        means = [float(np.mean(curve.losses[step])) for step in steps]
        (line,) = panel.plot([curve.rate(s) for s in steps], means, marker="o", markersize=3, label=f"w{curve.width}")
        panel.axvline(curve.rate(best_step(curve)), color=line.get_color(), linewidth=0.8, linestyle=":")
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_locator(LogLocator(2, numticks=6))
        panel.xaxis.set_major_formatter(lambda rate, position: f"{rate:.2g}")
        panel.set(xlabel="peak rate", ylabel="training loss", title=f"{curve.family}, {curve.rule}")
        panel.legend(frameon=False)
    for kind in ("png", "svg"):
        figure.savefig(out / f"transfer.{kind}", dpi=150)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--family", choices=list(CASES), action="append", help="by default all")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument("--base", choices=["largest", "smallest"], default="largest")
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("SCALING_DATA_DIR", "data")))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    curves: list[Curve] = []
    workers = {"mp_context": get_context("spawn"), "initializer": open_worker, "initargs": (args.data_dir, args.out)}
    with ProcessPoolExecutor(args.processes, **workers) as pool:
        search = Search(pool, args.seeds)
        for family in args.family or list(CASES):
            widths = CASES[family].widths
            base = max(widths) if args.base == "largest" else min(widths)
            best = dict.fromkeys(PARAMETRIZATIONS, 0)
            for width in widths:
                for rule in PARAMETRIZATIONS:
                    curve = search.curve(family, rule, width, base, best[rule])
                    best[rule] = curve.best_step()
                    curves.append(curve)
                    print(next(table([curve])), flush=True)
            save(curves, args.out)
    print(*table(curves), sep="\n")


if __name__ == "__main__":
    main()
