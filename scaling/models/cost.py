"""How much a model is: parameters N, forward FLOPs of one image, training FLOPs C. No training state, no I/O."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from scaling.models import build_model
from scaling.specs.model import ModelSpec
from scaling.specs.objective import objective_spec
from scaling.specs.run import RunSpec

BACKWARD_FACTOR = 3  # forward 1 + backward 2 (gradients for inputs and for weights), as in the published tables
# FLOPs of one forward pass below which time does not fall further. Measured: ResNet-18s at widths 2 to 16, 7e4 to 4e6
# FLOPs, take 23-40 ms for 32 digits on a core, the one of 2e7 136 ms; likewise ViTs and ConvNeXts.
LEAST_FLOPS = 1e7


class ModelCost(NamedTuple):
    """`n_params` N; `flops_per_image` = 2 x MACs of one forward pass of one image (norms and activations left out)."""

    n_params: int
    flops_per_image: float


@lru_cache(maxsize=4096)
def model_cost(spec: ModelSpec, image_size: int, n_classes: int) -> ModelCost:
    """Count parameters and FLOPs on the meta device: no memory is taken and no number is computed.

    FLOPs are those of convolutions, matrix products and attention, by `torch.utils.flop_counter`. Counted once a model.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = build_model(spec, image_size, n_classes).eval()
        image = torch.empty(1, 3, image_size, image_size)
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _OneModule()  # type: ignore[assignment]
    with counter, torch.no_grad():
        model(image)
    return ModelCost(sum(p.numel() for p in model.parameters()), float(counter.get_total_flops()))


class _OneModule:
    """In place of the counter's own tracker of modules, whose hooks are all threads', a neighbour's model included."""

    parents = ("Global",)

    def __enter__(self) -> None: ...

    def __exit__(self, *of: object) -> None: ...


def training_flops(flops_per_image: float, samples_seen: int, passes: float = BACKWARD_FACTOR) -> float:
    """C = passes . flops_per_image . samples_seen (Gokce & Schrimpf 2025; evaluation and augmentation not counted).

    Args:
        passes: what a step costs for one image seen, in forward passes of one image: 3 for supervised training, else
            `ObjectiveSpec.passes` (extra views, attack steps, double backward, a teacher).
    """
    return passes * flops_per_image * samples_seen


def image_cost(run: RunSpec, image_size: int, n_classes: int) -> float:
    """FLOP of training on one image, of models of LEAST_FLOPS at least: time in a unit that runs share."""
    flops = model_cost(run.model, image_size, n_classes).flops_per_image
    return training_flops(max(flops, LEAST_FLOPS), 1, objective_spec(run.objective).passes)


def expected_cost(run: RunSpec, n_samples: int, image_size: int, n_classes: int) -> float:
    """A run's training time in a unit that runs of one resource shape share: `image_cost` x the images that it sees.

    What a branch shares with its trunk takes it no time. What is measured corrects it, see `scaling.cluster.measured`.

    Args:
        n_samples: unique training images. image_size, n_classes: of the data set.
    """
    samples = run.training.epochs * n_samples - run.shared_samples(n_samples)
    return image_cost(run, image_size, n_classes) * samples


@lru_cache(maxsize=4096)
def training_memory(spec: ModelSpec, image_size: int, n_classes: int, batch: int, optimizer: str) -> int:
    """Bytes that one training step needs in float32: weights, gradients, optimizer state, saved activations.

    Activations are the distinct tensors that autograd saves in a forward pass of `batch` images, counted on the
    meta device; the framework's own memory and workspaces come on top. Attention counts its tokens x tokens
    matrices, which fused kernels do not keep: for ViTs an upper bound.
    """
    import torch

    sizes: dict[int, int] = {}
    keep = []  # the tensors must stay alive, else their ids would be used again

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        keep.append(tensor)
        sizes[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.device("meta"):
        model = build_model(spec, image_size, n_classes)
        images = torch.empty(batch, 3, image_size, image_size)
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(images).sum()
    activations = sum(size for storage, size in sizes.items() if storage not in weights)
    copies = {"sgd": 3, "lars": 3, "adamw": 4}[optimizer]  # weights, gradients, and one momentum or two moments
    return copies * 4 * sum(p.numel() for p in model.parameters()) + activations
