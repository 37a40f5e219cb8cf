"""The training loop against the loop that one would write by hand, on the same images in memory, in one process.

    python tests/benchmarks/bench_training.py [--seconds 30] [--rounds 21] [--threads 1]
    python tests/benchmarks/bench_training.py --device cuda [--seconds 2]

On a GPU: see gpu_training.py. On a CPU:

By hand: images normalised once and held as float32 on the device, batches by index, forward, cross-entropy, backward,
SGD with momentum, a cosine schedule by the step, the loss summed. Ours: a whole run's epochs from uint8 images in the
host's memory, with everything that a study needs: order by seed, transfer and normalisation a batch, loss, throughput
and divergence recorded, resume files when they are due. Both take turns; the table holds the median of the rounds'
ratios, of processor time.
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
from gpu_training import print_table
from torch import nn

from scaling.data.images import ImageData, ImageSet
from scaling.models import build_model
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.study import expand_study, parse_study
from scaling.train.batches import epoch_batches, to_input
from scaling.train.distributed.worker import Worker
from scaling.train.loop import Training

CASES: dict[str, dict[str, Any]] = {
    "ResNet-10 w8, 28 px, batch 64": {"family": "resnet", "depth": 10, "size": 8, "side": 28, "batch": 64},
    "ResNet-18 w16, 32 px, batch 64": {"family": "resnet", "depth": 18, "size": 16, "side": 32, "batch": 64},
    "ViT-6 w48, 32 px, batch 64": {"family": "vit", "depth": 6, "size": 48, "side": 32, "batch": 64, "heads": 3},
    "ConvNeXt-4 w16, 32 px, batch 64": {"family": "convnext", "depth": 4, "size": 16, "side": 32, "batch": 64},
}
LR = 0.01
BATCHES = 10  # an epoch: short, so that both loops meet the same state of the machine


def random_images(n: int, side: int) -> ImageData:
    random = np.random.default_rng(0)
    sets = [
        ImageSet(random.integers(0, 256, (m, side, side, 3), np.uint8), np.arange(m, dtype=np.int64) % 10)
        for m in (n, 100)
    ]
    return ImageData("random", *sets, (0.5, 0.5, 0.5), (0.29, 0.29, 0.29))


def make_run(case: dict[str, Any]) -> RunSpec:
    family = {"family": case["family"], "sizes": [case["size"]]} | {k: case[k] for k in ("depth", "heads") if k in case}
    study = {
        "name": "bench",
        "dataset": "digits",
        "models": [family],
        "training": {
            "epochs": 10**5,
            "batch_size": case["batch"],
            "lr": LR,
            "precision": case.get("precision", "float32"),
        },
        "resources": {"channels_last": case.get("channels_last", False)},
        "checkpoints": {"keep": ["last"]},
        "benchmarks": ["simulated-ventral-stream"],
    }
    return expand_study(parse_study(study))[0]


class ByHand:
    """The plain loop."""

    def __init__(self, run: RunSpec, data: ImageData, device: torch.device) -> None:
        torch.manual_seed(0)
        self.run, self.device, self.epoch = run, device, 0
        layout = torch.channels_last if run.resources.channels_last else torch.contiguous_format
        self.images = to_input(data.train.images.copy(), data.mean, data.std, device).contiguous(memory_format=layout)
        self.labels = torch.from_numpy(data.train.labels.copy()).to(device)
        self.model = build_model(run.model, data.image_size, 10).train().to(device, memory_format=layout)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4)
        self.criterion = nn.CrossEntropyLoss()

    def train_epoch(self) -> float:
        total = torch.zeros((), device=self.device)
        batches = epoch_batches(len(self.labels), self.run.training.batch_size, 0, self.epoch)
        for step, index in enumerate(batches):
            rate = LR * (1 + math.cos(math.pi * step / len(batches) / 1e6)) / 2
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            chosen = torch.from_numpy(index).to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, self.run.training.precision == "bfloat16"):
                loss = self.criterion(self.model(self.images[chosen]), self.labels[chosen])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(index)
        self.epoch += 1
        return float(total) / len(self.labels)


def measure(case: dict[str, Any], seconds: float, rounds: int, threads: int) -> tuple[float, float, list[float]]:
    """Images a second by hand and ours (medians), and the ratio ours / by hand of every round."""
    data, run = random_images(BATCHES * case["batch"], case["side"]), make_run(case)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(threads=threads)
        hand, epochs = ByHand(run, data, torch.device("cpu")), Training(run, data, Storage(folder), worker).epochs()
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
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seconds", type=float, help="of each case (30), on a GPU of each figure (2)")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.device == "cuda":
        print_table(random_images, args.seconds or 2.0)
        return
    print(f"torch {torch.__version__}; images a second, {args.threads} threads of processor time")
    print(f"{'':<52}{'by hand':>10}{'ours':>10}{'ratio':>8}  of rounds")
    for name, case in CASES.items():
        hand, ours, ratios = measure(case, args.seconds or 30.0, args.rounds, args.threads)
        spread = f"{min(ratios):.3f}-{max(ratios):.3f}"
        print(f"{name:<52}{hand:>10.0f}{ours:>10.0f}{statistics.median(ratios):>8.3f}  {spread}", flush=True)


if __name__ == "__main__":
    main()
