"""Do channels-last memory or torch.compile train small models faster than eager steps on a CPU, compilation included?

    python tests/benchmarks/bench_compile.py [--seconds 6] [--threads 1]

Steps of training (forward, cross-entropy, backward, SGD) of the quickstart's models and of CIFAR's small ones, ways
taking turns, in processor time. Compiling counts the compilers' processes too. A run gains from it by
eager / (compiled + compiling / steps), printed for the steps of its study's longest run; 1.15 would make it a default.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from scaling.models import build_model
from scaling.specs.model import ModelSpec
from scaling.train.computing import NARROW_CHANNELS

WAYS = ("eager", "channels last", "compiled")
ROUNDS = 7
# name: model, pixels a side, batch, steps of the study's longest run
CASES: dict[str, tuple[ModelSpec, int, int, int]] = {
    "quickstart ResNet-10 w2": (ModelSpec(family="resnet", depth=10, size=2), 8, 16, 1760),
    "quickstart ResNet-10 w16": (ModelSpec(family="resnet", depth=10, size=16), 8, 16, 1760),
    "quickstart AlexNet w16": (ModelSpec(family="alexnet", size=16), 8, 16, 1760),
    "CIFAR ResNet-18 w8": (ModelSpec(family="resnet", depth=18, size=8), 32, 128, 3910),
    "CIFAR ResNet-18 w32": (ModelSpec(family="resnet", depth=18, size=32), 32, 128, 3910),
    "CIFAR ViT-6 w48": (ModelSpec(family="vit", depth=6, heads=3, size=48), 32, 128, 3910),
}


def processor_s() -> float:
    """Seconds of this process and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Way:
    def __init__(self, spec: ModelSpec, side: int, batch: int, way: str) -> None:
        torch.manual_seed(0)
        self.model = build_model(spec, side, 10).train()
        self.images, self.labels = torch.randn(batch, 3, side, side), torch.arange(batch) % 10
        if way == "channels last":
            self.model = self.model.to(memory_format=torch.channels_last)
            self.images = self.images.contiguous(memory_format=torch.channels_last)
        if way == "compiled":
            self.model.compile(dynamic=False)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)

    def steps(self, n: int) -> float:
        """Seconds a step."""
        began = processor_s()
        for _ in range(n):
            self.optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(self.model(self.images), self.labels).backward()
            self.optimizer.step()
        return (processor_s() - began) / n


def can_be_channels_last(model: nn.Module) -> bool:
    """See `computing.check_channels_last`."""
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    return all(c.in_channels >= NARROW_CHANNELS for c in convolutions if c.kernel_size == (1, 1) != c.stride)


def measure(spec: ModelSpec, side: int, batch: int, seconds: float) -> tuple[dict[str, float], float]:
    """Seconds a step of each way (medians of rounds that take turns), and of compiling."""
    ways: dict[str, Any] = {way: Way(spec, side, batch, way) for way in WAYS}
    if not can_be_channels_last(ways["eager"].model):
        del ways["channels last"]
    first = {way: made.steps(1) for way, made in ways.items()}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, made in ways.items():
            times[way].append(made.steps(max(2, round(seconds / ROUNDS / len(ways) / max(1e-4, made.steps(1))))))
    found = {way: statistics.median(each) for way, each in times.items()}
    return found, first["compiled"] - found["compiled"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each model")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}; {args.threads} threads, nice {os.nice(0)}, {os.cpu_count()} CPUs")
    print(f"{'':<26}{'eager ms':>10}{'last':>8}{'compiled':>10}{'compiling s':>13}{'of a run':>10}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # nothing is compiled already
        for name, (spec, side, batch, n_steps) in CASES.items():
            torch.compiler.reset()
            found, compiling = measure(spec, side, batch, args.seconds)
            eager = found["eager"]
            last = f"{eager / found['channels last']:.2f}" if "channels last" in found else "-"
            whole = eager / (found["compiled"] + compiling / n_steps)
            row = f"{eager * 1e3:>10.2f}{last:>8}{eager / found['compiled']:>10.2f}{compiling:>13.1f}{whole:>10.2f}"
            print(f"{name:<26}{row}", flush=True)


if __name__ == "__main__":
    main()
