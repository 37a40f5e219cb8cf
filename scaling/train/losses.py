"""Losses of classification, summed over images."""

from __future__ import annotations

import torch
from torch.nn import functional


def classification_loss(kind: str, logits: torch.Tensor, target: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """The sum over images of

    cross_entropy, soft_cross_entropy: -sum_k q_k log softmax(z)_k;
    binary_cross_entropy: the mean over classes of -q_k log sigma(z_k) - (1 - q_k) log(1 - sigma(z_k)).

    Args:
        logits: (n, K). target: (n,) labels, which are smoothed, or (n, K) soft targets, which are taken as they are.

    Source: timm's SoftTargetCrossEntropy and BinaryCrossEntropy, which take the mean over images.
    """
    if kind == "cross_entropy" and target.ndim == 1:
        return functional.cross_entropy(logits, target, reduction="sum", label_smoothing=smoothing)
    if target.ndim == 1:
        target = soft_targets(target, logits.shape[1], smoothing)
    if kind == "binary_cross_entropy":
        each = functional.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
        return each.mean(1).sum()
    return functional.cross_entropy(logits, target.to(logits.dtype), reduction="sum")


def soft_targets(labels: torch.Tensor, n_classes: int, smoothing: float = 0.0) -> torch.Tensor:
    """(n,) -> (n, K) float32: 1 - smoothing + smoothing / K at the label, smoothing / K elsewhere."""
    hard = functional.one_hot(labels, n_classes).float()
    return hard * (1 - smoothing) + smoothing / n_classes
