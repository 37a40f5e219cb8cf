"""Accuracy of self-supervised models: a linear readout of the penultimate features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.nn import functional

PENALTIES = tuple(10 ** (exponent / 2) for exponent in range(-8, 5))  # times n: 1e-4 ... 1e2; assumption


@dataclass(frozen=True)
class Readout:
    """Scores = (x - mean) / std @ weights + bias; the class is the highest.

    mean, std: (d,). weights: (d, n_classes). bias: (n_classes,). penalty: the ridge's, chosen by `fit_readout`.
    """

    mean: torch.Tensor
    std: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor
    penalty: float

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """(n, d) -> (n, n_classes)."""
        return (features.double() - self.mean) / self.std @ self.weights + self.bias

    def predict(self, features: torch.Tensor) -> torch.Tensor:
        """(n, d) -> (n,) classes."""
        return self.scores(features).argmax(1)


def fit_readout(batches: Iterable[tuple[torch.Tensor, torch.Tensor]], n_classes: int) -> Readout:
    """Ridge regression from standardised features to one-hot classes, with the penalty of least GCV error.

    W = argmin |Y - Z W|^2 + penalty |W|^2 with Z and Y centred; GCV(penalty) = |Y - Z W|^2 / (1 - (1 + df) / n)^2,
    df = tr Z (Z'Z + penalty)^-1 Z' (Golub, Heath & Wahba 1979). Float64; memory d^2 whatever the number of images.

    Args:
        batches: features (b, d) and classes (b,), once through. A feature that never varies is left out (weight 0).
    """
    n, sums = 0, [torch.zeros(())] * 4
    for features, labels in batches:
        x, y = features.double(), functional.one_hot(labels, n_classes).double()
        sums = [a.to(x) + b for a, b in zip(sums, (x.sum(0), x.T @ x, x.T @ y, y.sum(0)), strict=True)]
        n += len(x)
    total, gram, cross, counts = sums
    mean, share = total / n, counts / n
    variance = (gram.diagonal() / n - mean.square()).clamp(min=0)
    varies = variance > 1e-12 * (mean.square() + variance)
    std = torch.where(varies, variance.sqrt(), torch.inf)
    z_gram = (gram - n * torch.outer(mean, mean)) / std[:, None] / std
    z_cross = (cross - n * torch.outer(mean, share)) / std[:, None]
    weights, penalty = _ridge(z_gram, z_cross, float((counts - n * share.square()).sum()), n)
    return Readout(mean, std, weights, share, penalty)


def _ridge(gram: torch.Tensor, cross: torch.Tensor, spread: float, n: int) -> tuple[torch.Tensor, float]:
    """The weights at the penalty of least GCV; `spread` = |Y|^2 of the centred targets."""
    values, vectors = torch.linalg.eigh(gram)
    values = values.clamp(min=0)
    turned = vectors.T @ cross
    power = turned.square().sum(1)

    def gcv(penalty: float) -> float:
        shrunk = 1 / (values + penalty)
        residual = spread - (2 * power * shrunk - values * power * shrunk.square()).sum()
        return float(residual / (1 - (1 + (values * shrunk).sum()) / n).square())

    penalty = min((n * factor for factor in PENALTIES), key=gcv)
    return vectors @ (turned / (values + penalty)[:, None]), penalty
