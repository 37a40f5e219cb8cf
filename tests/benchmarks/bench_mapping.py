"""Speed of the mappings against scikit-learn's and himalaya's, on the same splits, in one run, same threads.

    OMP_NUM_THREADS=2 python tests/benchmarks/bench_mapping.py [--pls 3200x1000x168 ...] [--ridge 135x1000x102 ...]
                                                               [--folds 1] [--ridge-folds 2]

PLS: 10 stratified splits of 90 %, 25 components. scikit-learn's `PLSRegression(25, scale=False)` fits and predicts
the first `--folds` of them, scaled up to 10 (`--folds 10` for all); it gets float64. Ours: `Representation.of` from
the raw float32 features, then fit and prediction of all 10. RidgeCV: `--ridge-folds` splits and 21 penalties each, for
all three; scikit-learn and ours choose by leave-one-out, himalaya (numpy backend, float64) by its default 5 folds, so
its score differs.

Data: 100 latent variables with standard deviations i^-0.5; features are a random mixture of them plus noise and an
offset; neuroids mix them plus noise of about as much variance. Seconds are wall time, for both sides the least of 3
where one takes under 2 s; `cpu` is the ratio of processor times, the fairer one where other work slows the machine.
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import RidgeCV

from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.pls import fit_pls
from scaling.alignment.metrics.ridge import ALPHAS, ridge_cv_predictions
from scaling.alignment.metrics.splits import StimulusSplit, split_correlations, stratified_shuffle_splits
from scaling.alignment.numerics import Array

N_SPLITS, N_LATENT, N_CATEGORIES, SEED = 10, 100, 8, 0
SHORT_S = 2.0
TARGETS = {(3200, 1000, 168): 40, (3200, 25088, 168): 150, (135, 1000, 102): 7}
PLS_SHAPES = ["135x1000x102", "3200x1000x168", "3200x4096x168", "3200x25088x168"]
RIDGE_SHAPES = ["135x1000x102", "3200x1000x168", "3200x4096x168"]

Shape = tuple[int, int, int]
Result = TypeVar("Result")


class Timed(NamedTuple):
    """Wall and processor seconds."""

    wall: float
    cpu: float

    def times(self, factor: float) -> Timed:
        return Timed(self.wall * factor, self.cpu * factor)


def timed(call: Callable[[], Result]) -> tuple[Result, Timed]:
    """The least of 3 times where one is short."""
    best = Timed(np.inf, np.inf)
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        spent = Timed(time.perf_counter() - wall, time.process_time() - cpu)
        best = Timed(min(best.wall, spent.wall), min(best.cpu, spent.cpu))
        if spent.wall > SHORT_S:
            break
    return result, best


def data(shape: Shape) -> tuple[np.ndarray, Array, list[StimulusSplit]]:
    """Float32 features, responses and the 10 splits."""
    n, p, q = shape
    rng = np.random.default_rng(SEED)
    latent = rng.standard_normal((n, N_LATENT)) * np.arange(1.0, N_LATENT + 1) ** -0.5
    x = np.empty((n, p), dtype=np.float32)
    for start in range(0, p, 1000):
        width = min(1000, p - start)
        noise = rng.standard_normal((n, width))
        x[:, start : start + width] = latent @ rng.standard_normal((N_LATENT, width)) + 0.5 * noise + 2.0
    signal = latent @ rng.standard_normal((N_LATENT, q))
    y = signal + signal.std(axis=0) * rng.standard_normal((n, q))
    return x, y, stratified_shuffle_splits(np.arange(n) % N_CATEGORIES, N_SPLITS)


def score(predictions: Sequence[Array], y: Array, splits: Sequence[StimulusSplit]) -> float:
    """Median r over neuroids, mean over splits."""
    return float(np.mean(np.median(split_correlations(predictions, y, splits), axis=1)))


def compare_pls(shape: Shape, n_folds: int) -> None:
    """One line of the table."""
    x, y, splits = data(shape)
    tracemalloc.start()
    fit_pls(Representation.of(x), y, splits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    rep, gram = timed(lambda: Representation.of(x))
    ours, fit = timed(lambda: fit_pls(rep, y, splits))
    total = Timed(gram.wall + fit.wall, gram.cpu + fit.cpu)

    theirs, n_iter, seconds = [], [], Timed(0.0, 0.0)
    for train, test in splits[:n_folds]:
        model = PLSRegression(25, scale=False)
        held_out = x[test].astype(np.float64)
        predicted, spent = timed(lambda m=model, i=train, h=held_out: m.fit(x[i], y[i]).predict(h))  # type: ignore[misc]
        seconds = Timed(seconds.wall + spent.wall, seconds.cpu + spent.cpu)
        theirs.append(predicted)
        n_iter.append(list(model.n_iter_))
    seconds = seconds.times(N_SPLITS / n_folds)
    scores = [score(each[:n_folds], y, splits[:n_folds]) for each in (ours.predictions, theirs)]
    worst = max(float(np.abs(a - b).max()) for a, b in zip(ours.predictions, theirs, strict=False))
    target, same = TARGETS.get(shape), n_iter == ours.n_iter[:n_folds]
    print(f"{'x'.join(map(str, shape)):<16}{n_folds:>6}{seconds.wall:>10.2f}{gram.wall:>8.2f}{fit.wall:>8.2f}"
          f"{seconds.wall / total.wall:>8.1f}x{seconds.cpu / total.cpu:>8.1f}x{target or '-':>8}"
          f"{abs(scores[0] - scores[1]):>11.1e}{worst:>11.1e}{'equal' if same else 'DIFFER':>8}"
          f"{sum(map(sum, ours.n_iter)):>8}{peak / 1e6:>9.0f}", flush=True)  # fmt: skip


def sklearn_ridge(x: Array, y: Array, splits: Sequence[StimulusSplit]) -> list[Array]:
    return [
        RidgeCV(ALPHAS * scale(x[train]), alpha_per_target=True).fit(x[train], y[train]).predict(x[test])
        for train, test in splits
    ]


def himalaya_ridge(x: Array, y: Array, splits: Sequence[StimulusSplit]) -> list[Array]:
    """The faster of its two for the shape: singular values of X if narrow, else eigenvalues of the kernel."""
    from himalaya.kernel_ridge import KernelRidgeCV as Kernel
    from himalaya.ridge import RidgeCV as Narrow

    build = Narrow if x.shape[1] < len(splits[0].train) else Kernel
    return [
        build(alphas=ALPHAS * scale(x[train]), fit_intercept=True).fit(x[train], y[train]).predict(x[test])
        for train, test in splits
    ]


def scale(x: Array) -> float:
    """Mean eigenvalue of the training kernel."""
    return float(np.sum((x - x.mean(axis=0)) ** 2)) / len(x)


def compare_ridge(shape: Shape, n_folds: int, with_himalaya: bool) -> None:
    """One line of the table."""
    x, y, splits = data(shape)
    splits, wide = splits[:n_folds], x.astype(np.float64)
    ours, own = timed(lambda: ridge_cv_predictions(Representation.of(x), y, splits))
    theirs, sklearn = timed(lambda: sklearn_ridge(wide, y, splits))
    worst = max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))
    himalaya, note = Timed(np.inf, np.inf), "-"
    if with_himalaya:
        folds, himalaya = timed(lambda: himalaya_ridge(wide, y, splits))
        note = f"{score(folds, y, splits) - score(ours, y, splits):+.1e}"
    fastest = Timed(min(sklearn.wall, himalaya.wall), min(sklearn.cpu, himalaya.cpu))
    print(f"{'x'.join(map(str, shape)):<16}{n_folds:>6}{sklearn.wall:>10.2f}{himalaya.wall:>10.2f}{own.wall:>8.2f}"
          f"{fastest.wall / own.wall:>8.1f}x{fastest.cpu / own.cpu:>8.1f}x{worst:>11.1e}{note:>11}",
          flush=True)  # fmt: skip


def has_himalaya() -> bool:
    try:
        import himalaya  # noqa: F401
    except ImportError:
        print("himalaya is not installed: its column is left out")
        return False
    return True


def shape_of(text: str) -> Shape:
    n, p, q = map(int, text.split("x"))
    return n, p, q


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pls", nargs="*", default=PLS_SHAPES, help="stimuli x features x neuroids")
    parser.add_argument("--ridge", nargs="*", default=RIDGE_SHAPES, help="stimuli x features x neuroids")
    parser.add_argument("--folds", type=int, default=1, help="splits that scikit-learn's PLS is timed on, of 10")
    parser.add_argument("--ridge-folds", type=int, default=2, help="splits of RidgeCV, for all three")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}, {os.cpu_count()} cores, load "
          f"{os.getloadavg()[0]:.1f}; seconds; scikit-learn's for 10 splits, ours: Gram, 10 splits")  # fmt: skip
    if args.pls:
        print(f"{'PLS':<16}{'folds':>6}{'sklearn':>10}{'Gram':>8}{'PLS':>8}{'ratio':>9}{'cpu':>9}{'target':>8}"
              f"{'d score':>11}{'d pred':>11}{'n_iter':>8}{'total':>8}{'peak MB':>9}", flush=True)  # fmt: skip
    for text in args.pls:
        compare_pls(shape_of(text), args.folds)
    if not args.ridge:
        return
    with_himalaya = has_himalaya()
    print(f"{'RidgeCV':<16}{'folds':>6}{'sklearn':>10}{'himalaya':>10}{'ours':>8}{'ratio':>9}{'cpu':>9}"
          f"{'d pred':>11}{'himalaya':>11}", flush=True)  # fmt: skip
    for text in args.ridge:
        compare_ridge(shape_of(text), args.ridge_folds, with_himalaya)


if __name__ == "__main__":
    main()
