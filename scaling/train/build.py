"""What a run trains with on its device: model, objective, optimizer, average, feed, and how its steps are computed."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch

from scaling.data.images import ImageData
from scaling.models import build_model
from scaling.models.drop_path import set_drop_path
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec
from scaling.train.average import build_average
from scaling.train.captured import TabledSteps, cannot_capture
from scaling.train.computing import RANDOM, TF32, Computing, check_channels_last, choose_resources, set_up_torch
from scaling.train.distributed.worker import Worker
from scaling.train.dropping import own_draws
from scaling.train.feed import Feed
from scaling.train.objectives.registry import build_objective
from scaling.train.objectives.start import load_start
from scaling.train.optim import build_optimizer
from scaling.train.resident import Resident, cannot_reside
from scaling.train.step import Step
from scaling.train.whiten import whiten_first
from scaling.train.wrap import wrap_network


@dataclass(frozen=True)
class Built:
    """step, feed: of every run. tabled: takes the steps where they come from an epoch's tables; else None."""

    step: Step
    feed: Feed
    tabled: TabledSteps | None
    computing: Computing


def build(
    run: RunSpec, data: ImageData, subset: np.ndarray, worker: Worker, flops: float, tabled: bool | None = None
) -> Built:
    """Build a run on its worker's device.

    Args:
        run: with the training of its own data size. subset: the training images that it sees. flops: of the whole
            training, C. tabled: whether steps come from tables, where they can; None: on a GPU, which captures them.
    """
    device = torch.device(worker.device)
    with RANDOM:
        set_up_torch(run, worker.threads, device)
        step = build_step(run, data, worker, subset, flops)
    feed = Feed(step.run, data, subset, worker, objective_spec(run.objective).needs_maps)
    steps, computing = choose_steps(step, feed, device.type == "cuda" if tabled is None else tabled)
    return Built(step, feed, steps, computing)


def build_step(run: RunSpec, data: ImageData, worker: Worker, subset: np.ndarray, flops: float) -> Step:
    """Model, objective, optimizer and average; weights are drawn from torch's global generator."""
    device, spec = torch.device(worker.device), run.training
    model = build_model(run.model, data.image_size, data.n_classes).to(device)
    run = run.model_copy(update={"resources": choose_resources(run, model, device, flops)})
    if run.resources.channels_last:
        model = model.to(memory_format=torch.channels_last)
        check_channels_last(model, device, run.label())
    options = objective_spec(run.objective)
    if spec.whiten:
        whiten_first(model, data, subset, f"{run.label()}, study '{run.study}'")
    if options.start_from is not None:
        load_start(model, run, options.start_from)
    objective = build_objective(run, data, subset, model)
    set_drop_path(model, spec.drop_path)
    draws = None if run.resources.compile else own_draws(model, device)  # torch.compile takes no generators
    network = wrap_network(model, objective, worker.world)
    if run.resources.compile:
        model.compile(dynamic=False)  # both sizes of an epoch's batches in kernels of their own
    optimizer = build_optimizer(model, spec, objective)
    average = build_average(model) if spec.averages else None
    total = torch.zeros((), dtype=torch.float64, device=device)
    return Step(run, worker, model, network, objective, optimizer, average, draws, total)


def choose_steps(step: Step, feed: Feed, tabled: bool) -> tuple[TabledSteps | None, Computing]:
    """Steps from tables, where they are asked for and can be; and what is recorded of all that was chosen."""
    run, device = step.run, step.total.device
    on_gpu, memory = device.type == "cuda", device_memory(device)
    reason = cannot_capture(step) if tabled else "steps on a CPU are no graphs"
    fed = reason or cannot_reside(run, feed.data, feed.subset, feed.with_maps, memory)
    steps = None
    if reason is None:
        resident = None if fed else Resident(run, feed.data, feed.subset, device, memory)
        steps = TabledSteps(step, feed, resident)
    free = on_gpu and not run.resources.deterministic
    computing = Computing(
        device=torch.cuda.get_device_name(device) if on_gpu else "CPU",
        captured=reason or ("yes" if on_gpu else "tables alone"),
        images=fed or "device",
        compiled=bool(run.resources.compile),
        channels_last=bool(run.resources.channels_last),
        fused=on_gpu,
        tf32=free and TF32,
        benchmark=free,
    )
    return steps, computing


def device_memory(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
