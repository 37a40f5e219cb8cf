"""Training on a GPU: the best loops that one would write by hand, ours alone, and several of ours in one process.

Bare: normalised images that lie on the device, batches by index, forward, cross-entropy, backward, SGD with momentum in
one kernel, the loss summed there; no augmentation, no records. Eager: one operation at a time. Best: the faster of the
step in a CUDA graph and the compiled step in one. Ours: whole epochs of runs with random crops and flips, losses and
throughput recorded; at 224 pixels images come from the host.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scaling.data.images import ImageData
from scaling.models import build_model
from scaling.specs.run import RunSpec
from scaling.storage import Storage
from scaling.study import expand_study, parse_study
from scaling.train import resident
from scaling.train.batches import epoch_batches, to_input
from scaling.train.computing import set_up_torch
from scaling.train.distributed.worker import Worker
from scaling.train.loop import Training

HALF = {"precision": "bfloat16"}
SMALL = HALF | {"side": 32, "batch": 128, "batches": 390, "together": (2, 4, 8, 16)}
LARGE = HALF | {"side": 224, "batch": 256, "batches": 16, "together": (), "compile": True}
CASES: dict[str, dict[str, Any]] = {
    "ResNet-10 w16, 32 px": SMALL | {"family": "resnet", "depth": 10, "size": 16},
    "ViT-6 w96, 32 px": SMALL | {"family": "vit", "depth": 6, "heads": 3, "size": 96},
    "ResNet-18 w64, 32 px, channels last": SMALL | {"family": "resnet", "depth": 18, "size": 64, "last": True},
    "ResNet-50, 224 px, channels last": LARGE | {"family": "resnet", "size": "50", "last": True},
    "ViT-S, 224 px": LARGE | {"family": "vit", "size": "small"},
    "ViT-B, 224 px": LARGE | {"family": "vit", "size": "base"},
    "ConvNeXt-T, 224 px, channels last": LARGE | {"family": "convnext", "size": "tiny", "last": True},
}
# Images a second that are asked of an H200 or H100, of all runs together; or the best bare rate x 0.97 if that is lower
GOALS = dict(zip(CASES, (160_000, 60_000, 45_000, 6_500, 6_500, 3_300, 4_300), strict=True))
LR, WARM_STEPS = 0.01, 12


def gpu_run(case: dict[str, Any], epochs: int, seed: int = 0) -> RunSpec:
    family = {"family": case["family"], "sizes": [case["size"]]} | {k: case[k] for k in ("depth", "heads") if k in case}
    training = {"epochs": epochs, "batch_size": case["batch"], "lr": LR, "precision": case["precision"]}
    study = {
        "name": "bench", "dataset": "digits", "models": [family], "seeds": [seed],
        "training": training | {"augmentation": "crop_flip"}, "checkpoints": {"keep": ["last"]},
        "resources": {"channels_last": case.get("last", False), "compile": case.get("compile", False)},
        "benchmarks": ["simulated-ventral-stream"],
    }  # fmt: skip
    return expand_study(parse_study(study))[0]


class Bare:
    """One step by hand, with its input at a fixed place."""

    def __init__(self, run: RunSpec, data: ImageData, compiled: bool) -> None:
        set_up_torch(run, 1, torch.device("cuda"))
        layout = torch.channels_last if run.resources.channels_last else torch.contiguous_format
        parts = torch.arange(len(data.train)).split(1024)
        self.images = torch.cat([
            to_input(data.train.images[part.numpy()], data.mean, data.std, torch.device("cuda"))
            .to(torch.bfloat16, memory_format=layout) for part in parts
        ])  # fmt: skip
        self.labels = torch.from_numpy(data.train.labels.copy()).cuda()
        self.model = build_model(run.model, data.image_size, 10).train().cuda().to(memory_format=layout)
        if compiled:
            self.model.compile(dynamic=False)
        self.lr = torch.tensor(LR, device="cuda")
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=self.lr, momentum=0.9, weight_decay=1e-4, fused=True
        )
        self.index = torch.arange(run.training.batch_size, device="cuda")
        self.total, self.criterion = torch.zeros((), device="cuda"), nn.CrossEntropyLoss()
        self.order = epoch_batches(len(self.labels), len(self.index), 0, 0)

    def step(self) -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = self.criterion(self.model(self.images[self.index]), self.labels[self.index])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.total += loss.detach()

    def captured(self) -> Any:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            self.step()
        return graph.replay

    def rate(self, step: Any, seconds: float) -> float:
        """Images a second of steps through shuffled batches, the median of five parts."""
        rows = torch.stack([torch.from_numpy(index[: len(self.index)]) for index in self.order]).cuda()

        def some(n: int) -> float:
            torch.cuda.synchronize()
            began = time.perf_counter()
            for number in range(n):
                self.index.copy_(rows[number % len(rows)])
                step()
            float(self.total)
            return n * len(self.index) / (time.perf_counter() - began)

        n = max(WARM_STEPS, round(some(WARM_STEPS) * seconds / 5 / len(self.index)))
        return statistics.median(some(n) for _ in range(5))


def alone(run: RunSpec, data: ImageData, seconds: float) -> float:
    """Images a second of a run's epochs, their first left out; the median."""
    with tempfile.TemporaryDirectory() as folder:
        epochs = Training(run, data, Storage(folder), Worker(device="cuda")).epochs()
        next(epochs)
        rates, end = [], time.perf_counter() + seconds
        while len(rates) < 3 or time.perf_counter() < end:
            began = time.perf_counter()
            next(epochs)
            rates.append(len(data.train) / (time.perf_counter() - began))
        epochs.close()
    return statistics.median(rates)


def together(case: dict[str, Any], data: ImageData, n: int, epochs: int) -> float:
    """Images a second of n runs in one process, from when all have trained an epoch until the first has ended."""
    from scaling.train.lanes import End, Job, train_side_by_side

    seen: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        jobs = [
            Job(gpu_run(case, epochs, seed), data, Storage(Path(folder)), Worker(device="cuda")) for seed in range(n)
        ]
        for run_id, news in train_side_by_side(jobs):
            if isinstance(news, End):
                if news.error is not None:
                    raise news.error
                continue
            seen.setdefault(run_id, []).append(time.perf_counter())
    began, ended = max(times[0] for times in seen.values()), min(times[-1] for times in seen.values())
    done = sum(sum(began < moment <= ended for moment in times) for times in seen.values())
    return done * len(data.train) / (ended - began)


def measure(case: dict[str, Any], data: ImageData, seconds: float) -> dict[str, float]:
    run, found = gpu_run(case, 10**5), {}
    bare = Bare(run, data, compiled=False)
    found["eager"] = bare.rate(bare.step, seconds)
    best = bare.rate(bare.captured(), seconds)
    del bare
    if run.resources.compile:
        bare = Bare(run, data, compiled=True)
        best = max(best, bare.rate(bare.captured(), seconds))
        del bare
        resident.SHARE_OF_MEMORY = 0.0  # ImageNet does not fit a GPU: its images come from the host
    found["best"], found["ours"] = best, alone(run, data, seconds)
    for n in case["together"]:
        epochs = max(4, round(2.5 * seconds * found["ours"] / len(data.train) / n))
        found[f"{n} runs"] = together(case, data, n, epochs)
    return found


def print_table(random_images: Any, seconds: float) -> None:
    print(f"torch {torch.__version__}; images a second, bfloat16, {torch.cuda.get_device_name()}")
    columns = ("eager", "best", "ours", "2 runs", "4 runs", "8 runs", "16 runs")
    print(f"{'':<38}" + "".join(f"{column:>10}" for column in columns) + f"{'goal':>10}", flush=True)
    for name, case in CASES.items():
        found = measure(case, random_images(case["batches"] * case["batch"], case["side"]), seconds)
        row = "".join(f"{found[column]:>10,.0f}" if column in found else f"{'-':>10}" for column in columns)
        ours = max(rate for column, rate in found.items() if column not in ("eager", "best"))
        goal = GOALS[name] if case["together"] else min(GOALS[name], 0.97 * found["best"])
        print(f"{name:<38}{row}{goal:>10,.0f}  {'reached' if ours >= goal else 'MISSED'}", flush=True)
        torch.cuda.empty_cache()
