"""The training loop against the loop that one would write by hand, on the same images in memory, in one process.

    python tests/benchmarks/bench_training.py [--seconds 8] [--rounds 5] [--threads 1]

By hand: images normalised once and held as float32, batches by index, forward, cross-entropy, backward, SGD with
momentum, a cosine schedule by the step, the loss summed. Ours: a whole run's epochs from uint8 images, with everything
that a study needs: order by seed, normalisation a batch, loss, throughput and divergence recorded, resume files when
they are due. Both take turns; the table holds the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from scaling.data.images import ImageData, ImageSet
from scaling.models import build_model
from scaling.storage import Storage
from scaling.study import RunSpec, expand_study, parse_study
from scaling.train.batches import epoch_batches, to_input
from scaling.train.loop import Training

CASES: dict[str, dict[str, Any]] = {
    "ResNet-10 w8, 28 px, batch 64": {"family": "resnet", "depth": 10, "size": 8, "side": 28, "batch": 64},
    "ResNet-18 w32, 32 px, batch 128": {"family": "resnet", "depth": 18, "size": 32, "side": 32, "batch": 128},
    "ViT-6 w96, 32 px, batch 128": {"family": "vit", "depth": 6, "size": 96, "side": 32, "batch": 128, "heads": 3},
    "ConvNeXt-4 w16, 32 px, batch 64": {"family": "convnext", "depth": 4, "size": 16, "side": 32, "batch": 64},
}
LR = 0.01


def random_images(n: int, side: int) -> ImageData:
    random = np.random.default_rng(0)
    sets = [
        ImageSet(random.integers(0, 256, (m, side, side, 3), np.uint8), np.arange(m, dtype=np.int64) % 10)
        for m in (n, 100)
    ]
    return ImageData("random", *sets, (0.5, 0.5, 0.5), (0.29, 0.29, 0.29))


def make_run(case: dict[str, Any]) -> RunSpec:
    family = {"family": case["family"], "depth": case["depth"], "sizes": [case["size"]], "heads": case.get("heads")}
    study = {
        "name": "bench",
        "dataset": "digits",
        "models": [family],
        "training": {"epochs": 10**6, "batch_size": case["batch"], "lr": LR},
        "checkpoints": {"keep": ["last"]},
        "benchmarks": ["simulated-ventral-stream"],
    }
    return expand_study(parse_study(study))[0]


class ByHand:
    """The plain loop."""

    def __init__(self, run: RunSpec, data: ImageData) -> None:
        torch.manual_seed(0)
        self.run, self.epoch = run, 0
        self.images = to_input(data.train.images.copy(), data.mean, data.std, torch.device("cpu"))
        self.labels = torch.from_numpy(data.train.labels.copy())
        self.model = build_model(run.model, data.image_size, 10).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4)
        self.criterion = nn.CrossEntropyLoss()

    def train_epoch(self) -> float:
        total = 0.0
        batches = epoch_batches(len(self.labels), self.run.training.batch_size, 0, self.epoch)
        for step, index in enumerate(batches):
            rate = LR * (1 + math.cos(math.pi * step / len(batches) / 1e6)) / 2
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            chosen = torch.from_numpy(index)
            loss = self.criterion(self.model(self.images[chosen]), self.labels[chosen])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(index)
        self.epoch += 1
        return total / len(self.labels)


def measure(case: dict[str, Any], seconds: float, rounds: int, threads: int) -> tuple[float, float, list[float]]:
    """Images a second by hand and ours (medians), and the ratio ours / by hand of every round."""
    data, run = random_images(20 * case["batch"], case["side"]), make_run(case)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        hand, epochs = ByHand(run, data), Training(run, data, Storage(folder)).epochs()
        torch.set_num_threads(threads)
        loops = [hand.train_epoch, lambda: next(epochs)]
        began = time.perf_counter()
        for loop in loops:  # warm-up, and how many epochs a round takes
            loop()
        each = max(1, round(seconds / rounds / (time.perf_counter() - began)))
        rates: list[list[float]] = [[], []]
        for number in range(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                began = time.process_time()
                for _ in range(each):
                    loops[which]()
                rates[which].append(each * len(data.train) / (time.process_time() - began))
    ratios = [ours / theirs for theirs, ours in zip(*rates, strict=True)]
    return statistics.median(rates[0]), statistics.median(rates[1]), ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each case")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {args.threads} threads; images a second of processor time")
    print(f"{'':<34}{'by hand':>10}{'ours':>10}{'ratio':>8}  of rounds")
    for name, case in CASES.items():
        hand, ours, ratios = measure(case, args.seconds, args.rounds, args.threads)
        spread = f"{min(ratios):.3f}-{max(ratios):.3f}"
        print(f"{name:<34}{hand:>10.0f}{ours:>10.0f}{statistics.median(ratios):>8.3f}  {spread}", flush=True)


if __name__ == "__main__":
    main()
