"""The neural harmonizer: the model's saliency is drawn to where people look."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from scaling.errors import StudyError
from scaling.train.batch import Batch
from scaling.train.batches import constant
from scaling.train.objectives.base import Objective

STD_EPSILON, MAX_EPSILON = 1e-5, 1e-6  # the authors' code (serre-lab/Harmonization)
BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)
SMALLEST_LEVEL_PX = 4  # assumption: below, the kernel of 5 sees mostly padding


class PlainAttention(TorchFunctionMode):
    """Within, attention runs as `sdpa_kernel(SDPBackend.MATH)` has it, in this thread alone and not in all others."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        device = args[0].device.type
        if torch.is_autocast_enabled(device):  # the operation's own cast, and none within it
            dtype = torch.get_autocast_dtype(device)
            args, kwargs = [_cast(x, dtype) for x in args], {name: _cast(x, dtype) for name, x in kwargs.items()}
        with torch.autocast(device, enabled=False):
            return torch.ops.aten._scaled_dot_product_attention_math(*args, **kwargs)[0]


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value


class Harmonizer(Objective):
    """Cross-entropy + weight . L_align, by double backward.

    L_align is a mean over the whole batch, images without maps included, so `weight` is diluted by their share.
    Attention runs as plain matrix products: fused kernels have no second derivative.

    Source: Fel et al. (2022), arXiv 2211.04533, and its code. Weight decay is the optimizer's.
    """

    def build(self, model: nn.Module) -> None:
        side = self.setting.image_size
        if self.options.weight > 0:
            check_double_backward(model, torch.zeros_like(self.setting.mean).expand(1, 3, side, side))

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        if self.options.weight == 0:
            return self.classification_loss(network(batch.images), batch)
        assert batch.maps is not None
        assert batch.has_map is not None
        images = batch.images.detach().requires_grad_(True)
        with PlainAttention():
            logits = network(images)
        saliency = saliency_gradient(logits, batch.labels, images, create_graph=True).mean(1)
        aligned = alignment_loss(saliency, batch.maps, batch.has_map, self.options.levels)
        return self.classification_loss(logits, batch) + self.options.weight * aligned


def saliency_gradient(
    logits: torch.Tensor, labels: torch.Tensor, images: torch.Tensor, create_graph: bool = False
) -> torch.Tensor:
    """d(sum_b z_b,label(b)) / dx: (n, 3, h, w), signed; z are the logits before the softmax."""
    target = logits.gather(1, labels[:, None]).sum()
    return torch.autograd.grad(target, images, create_graph=create_graph)[0]


def check_double_backward(model: nn.Module, images: torch.Tensor) -> None:
    """Refuse a model before it trains whose saliency torch cannot differentiate; in eval mode, so nothing changes.

    Raises:
        StudyError: there is no second derivative of one of its operations.
    """
    mode, images = model.training, images.clone().requires_grad_(True)
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
    try:
        with PlainAttention():
            logits = model.eval()(images)
        saliency = saliency_gradient(logits, labels, images, create_graph=True)
        torch.autograd.grad(saliency.sum(), list(model.parameters()), allow_unused=True)
    except RuntimeError as error:
        if "is not implemented" not in str(error):
            raise
        raise StudyError(
            f"the model has no double backward ({str(error).splitlines()[0]}; study, objective 'harmonizer'); pick a "
            "model without that operation"
        ) from error
    finally:
        model.train(mode)


def standardize(maps: torch.Tensor) -> torch.Tensor:
    """S(u) = ReLU((u - mean) / (std + 1e-5)) image by image (std with ddof 0): (n, h, w) -> (n, h, w)."""
    centred = maps - maps.mean((1, 2), keepdim=True)
    return functional.relu(centred / (maps.std((1, 2), correction=0, keepdim=True) + STD_EPSILON))


def gaussian_pyramid(maps: torch.Tensor, levels: int) -> list[torch.Tensor]:
    """The maps, and each level filtered by [1 4 6 4 1] x [1 4 6 4 1] / 256 with stride 2, zero-padded as TensorFlow's
    'same' does: 1 before and 2 after on an even side, 2 and 2 on an odd one.

    Levels whose sides would fall below 4 pixels are left out.
    """
    row = constant(BINOMIAL, maps.device, maps.dtype) / sum(BINOMIAL)
    kernel = torch.outer(row, row)[None, None]
    pyramid = [maps]
    while len(pyramid) < levels and min(pyramid[-1].shape[1:]) >= 2 * SMALLEST_LEVEL_PX:
        height, width = pyramid[-1].shape[1:]
        padded = functional.pad(pyramid[-1], (2 - (width + 1) % 2, 2, 2 - (height + 1) % 2, 2))
        pyramid.append(functional.conv2d(padded[:, None], kernel, stride=2)[:, 0])
    return pyramid


def alignment_loss(saliency: torch.Tensor, maps: torch.Tensor, has_map: torch.Tensor, levels: int = 5) -> torch.Tensor:
    """Sum over images of the mean over levels of the mean over pixels of t . (P_l s^ - P_l h^)^2.

    s^ = S(s); h^ = S(h) / (max S(h) + 1e-6) . (stopgrad(max s^) + 1e-6), maxima image by image; t = 1 where the image
    has a map, else 0. Divided by the images of the batch this is L_align.

    Args:
        saliency: (n, h, w) mean over channels of the signed gradient. maps: (n, h, w). has_map: (n,) bool.
    """
    seen, looked = standardize(saliency), standardize(maps)
    scale = (seen.detach().amax((1, 2), keepdim=True) + MAX_EPSILON) / (looked.amax((1, 2), keepdim=True) + MAX_EPSILON)
    pairs = zip(gaussian_pyramid(seen, levels), gaussian_pyramid(looked * scale, levels), strict=True)
    distance = torch.stack([(ours - theirs).square().mean((1, 2)) for ours, theirs in pairs]).mean(0)
    return (distance * has_map).sum()
