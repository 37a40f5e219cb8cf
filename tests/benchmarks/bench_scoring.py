"""All layers of a ResNet-18 on 1,000 stimuli and three regions: ours against torch hooks with scikit-learn, one run.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_scoring.py [--metric ridge] [--px 64] [--stimuli 1000] [--splits 1]
                                                               [--profile]

Both: timm's resnet18 with random weights, its 8 blocks and the pooled features, three regions of 100 simulated neuroids
(linear in the pixels, noisy), layers chosen on one half and scored on the other, in processor seconds of one thread.
Theirs: forward hooks into float32 arrays, `RidgeCV(ALPHAS, alpha_per_target=True)` or `PLSRegression(25, scale=False)`
for each layer, region and split; `--splits` of each half's are timed and scaled up to all.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import time
import warnings

import numpy as np
import timm
import torch
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import RidgeCV
from threadpoolctl import threadpool_limits

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.features.activations import collect_activations
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.metrics.registry import METRICS
from scaling.alignment.metrics.ridge import ALPHAS
from scaling.alignment.score import Subject, score_model
from scaling.alignment.scoring import ScoringOptions
from scaling.data.recordings.stimuli import Stimuli
from scaling.models.any_timm import block_layers

REGIONS, N_NEUROIDS = ("V1", "V4", "IT"), 100


def benchmarks(n: int, px: int, metric: str) -> list[Benchmark]:
    """Three regions on the same stimuli."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, px, px, 3), dtype=np.uint8)
    stimuli = Stimuli(images, tuple(map(str, range(n))), np.arange(n) % 8, "noise")
    pixels = images[:, ::8, ::8].reshape(n, -1) / 127.5 - 1
    made = []
    for region in REGIONS:
        signal = pixels @ rng.standard_normal((pixels.shape[1], N_NEUROIDS))
        recording = signal + signal.std() * rng.standard_normal((4, n, N_NEUROIDS))
        made.append(Benchmark(f"b.{region}", region, metric, stimuli, recording, "split_half", strata=stimuli.labels))
    return made


def theirs(subject: Subject, made: list[Benchmark], n_splits: int) -> tuple[float, float]:
    """(seconds of the features, seconds of all mappings)."""
    began = time.process_time()
    pixels = subject.preprocessing.apply(made[0].stimuli.images)
    features = collect_activations(subject.model, subject.layers, pixels)
    forward, mapping = time.process_time() - began, 0.0
    for values in features.values():
        for benchmark in made:
            y = benchmark.assembly.mean(axis=0)
            for half in benchmark.halves:
                splits = METRICS[benchmark.metric].splits(len(half), benchmark.strata[half])
                began = time.process_time()
                x = values[half].astype(np.float64)
                for train, test in splits[:n_splits]:
                    fit(benchmark.metric, x[train], y[half][train]).predict(x[test])
                mapping += (time.process_time() - began) * len(splits) / n_splits
    return forward, mapping


def fit(metric: str, x: np.ndarray, y: np.ndarray) -> RidgeCV | PLSRegression:
    if metric == "pls":
        return PLSRegression(25, scale=False).fit(x, y)
    return RidgeCV(ALPHAS * np.sum((x - x.mean(axis=0)) ** 2) / len(x), alpha_per_target=True).fit(x, y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metric", choices=("ridge", "pls"), default="ridge")
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--stimuli", type=int, default=1000)
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="ours alone, by function")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    imports = time.process_time()
    torch.manual_seed(0)
    model = timm.create_model("resnet18").eval()
    subject = Subject(model, block_layers(model), Preprocessing.square(args.px, (0.5,) * 3, (0.2,) * 3))
    made = benchmarks(args.stimuli, args.px, args.metric)
    profile, began = cProfile.Profile(), time.process_time()
    with threadpool_limits(1):
        if args.profile:
            profile.enable()
        scores = score_model(subject, made, ScoringOptions(resamples=0))
        profile.disable()
        ours = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        assert all(score.result is not None for score in scores), scores
        print(f"{args.metric}, {args.px} px, {args.stimuli} stimuli: imports {imports:.1f} s, ours {ours:.2f} s, "
              f"peak {peak:.2f} GB", flush=True)  # fmt: skip
        if args.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(18)
            return
        forward, mapping = theirs(subject, made, args.splits)
    total = forward + mapping
    print(f"hooks {forward:.2f} s + scikit-learn {mapping:.2f} s ({args.splits} splits, scaled): "
          f"{total / ours:.1f}x ours, {(total + imports) / (ours + imports):.1f}x with imports")  # fmt: skip


if __name__ == "__main__":
    main()
