"""The harmonizer's loss against the formulae evaluated pixel by pixel, and its gradients in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from scaling.data.images import ImageSet
from scaling.errors import StudyError
from scaling.train.loop import Training
from scaling.train.objectives.harmonizer import (
    alignment_loss,
    check_double_backward,
    gaussian_pyramid,
    saliency_gradient,
    standardize,
)

KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def slow_standardize(u: np.ndarray) -> np.ndarray:
    return np.maximum((u - u.mean()) / (u.std() + 1e-5), 0)


def slow_reduce(u: np.ndarray) -> np.ndarray:
    """Stride 2, 'same': ceil(side / 2) outputs; all zeros that are needed, the smaller half of them before."""
    sides = [-(-side // 2) for side in u.shape]
    needed = [max((out - 1) * 2 + 5 - side, 0) for out, side in zip(sides, u.shape, strict=True)]
    before = [n // 2 for n in needed]
    result = np.zeros(sides)
    for y in range(sides[0]):
        for x in range(sides[1]):
            for dy in range(5):
                for dx in range(5):
                    row, column = 2 * y + dy - before[0], 2 * x + dx - before[1]
                    if 0 <= row < u.shape[0] and 0 <= column < u.shape[1]:
                        result[y, x] += KERNEL[dy, dx] * u[row, column]
    return result


def slow_alignment(
    s: np.ndarray, h: np.ndarray, t: np.ndarray, n_levels: int, peaks: list[float] | None = None
) -> float:
    """peaks: max of S(s) of each image, where it is not to follow s."""
    total = 0.0
    for image in range(len(s)):
        ours, theirs = slow_standardize(s[image]), slow_standardize(h[image])
        theirs = theirs / (theirs.max() + 1e-6) * ((ours.max() if peaks is None else peaks[image]) + 1e-6)
        levels = []
        for _ in range(n_levels):
            levels.append(float(t[image]) * np.mean((ours - theirs) ** 2))
            ours, theirs = slow_reduce(ours), slow_reduce(theirs)
        total += np.mean(levels)
    return total


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(("side", "n_levels"), [(8, 2), (11, 2), (16, 3), (19, 3)])
def test_the_alignment_loss_is_a_direct_evaluation(side, n_levels):
    s, h, t = random(3, side, side), random(3, side, side).exp(), torch.tensor([True, False, True])
    assert float(alignment_loss(s, h, t)) == pytest.approx(
        slow_alignment(*map(np.asarray, (s, h, t)), n_levels), rel=1e-12
    )


@pytest.mark.parametrize(
    ("side", "sides"), [(224, [224, 112, 56, 28, 14]), (32, [32, 16, 8, 4]), (8, [8, 4]), (7, [7]), (9, [9, 5])]
)
def test_five_levels_or_what_the_image_holds(side, sides):
    assert [level.shape[-1] for level in gaussian_pyramid(torch.zeros(1, side, side), 5)] == sides


def test_the_padding_is_not_symmetric():
    """1 before and 2 after: the kernel's middle lies on the second pixel of an even side, and on its last but none."""
    first, last = torch.zeros(2, 1, 8, 8).unbind(0)
    first[0, 0, 0], last[0, 7, 7] = 256.0, 256.0
    assert float(gaussian_pyramid(first, 2)[1][0, 0, 0]) == 16.0
    assert float(gaussian_pyramid(last, 2)[1][0, 3, 3]) == 36.0, "2 and 2 would give 36 and 16"
    centre = torch.zeros(1, 8, 8)
    centre[0, 1, 1] = 256.0
    assert float(gaussian_pyramid(centre, 2)[1][0, 0, 0]) == 36.0


def test_a_map_that_equals_the_saliency_costs_nothing():
    s = random(2, 16, 16)
    assert float(alignment_loss(s, 3 * s + 1, torch.ones(2, dtype=torch.bool))) == pytest.approx(0, abs=1e-8)


def test_an_image_without_a_map_adds_nothing_and_no_gradient():
    s = random(2, 8, 8).requires_grad_()
    loss = alignment_loss(s, torch.zeros(2, 8, 8, dtype=torch.float64), torch.zeros(2, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(s.grad.abs().max()) == 0


def test_the_maximum_carries_no_gradient():
    """The gradient is that of the loss with the maps' scale held fixed, and not of the loss as a whole."""
    s, h, t = random(2, 8, 8).requires_grad_(), random(2, 8, 8).exp(), torch.ones(2, dtype=torch.bool)
    (ours,) = torch.autograd.grad(alignment_loss(s, h, t), s)
    fixed = standardize(h) / (standardize(h).amax((1, 2), keepdim=True) + 1e-6)
    peak = standardize(s).amax((1, 2), keepdim=True) + 1e-6

    def by_hand(scale: torch.Tensor) -> torch.Tensor:
        pairs = zip(gaussian_pyramid(standardize(s), 5), gaussian_pyramid(fixed * scale, 5), strict=True)
        return sum(functional.mse_loss(a, b, reduction="sum") / a[0].numel() for a, b in pairs) / 2

    torch.testing.assert_close(ours, torch.autograd.grad(by_hand(peak.detach()), s, retain_graph=True)[0])
    assert not torch.allclose(ours, torch.autograd.grad(by_hand(peak), s)[0])


def smooth_net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(2 * 64, 3)).double()


def test_double_backward_is_right_in_float64():
    """The whole loss, with the maps' scale held at its value: numbers cannot see a stopped gradient."""
    net, images, labels = smooth_net(), random(2, 3, 8, 8), torch.tensor([2, 0])
    h = random(2, 8, 8).exp()

    def loss(weight: torch.Tensor) -> torch.Tensor:
        x = images.clone().requires_grad_(True)
        logits = torch.func.functional_call(net, {"0.weight": weight}, (x,))
        s = standardize(saliency_gradient(logits, labels, x, create_graph=True).mean(1))
        pairs = zip(gaussian_pyramid(s, 5), gaussian_pyramid(standardize(h), 5), strict=True)
        return sum((a - b).square().mean() for a, b in pairs) + functional.cross_entropy(logits, labels)

    assert torch.autograd.gradcheck(loss, net[0].weight.detach().clone().requires_grad_(), atol=1e-6)


def test_the_whole_chain_is_the_slow_loss_differentiated_numerically():
    """Weights -> logits -> saliency -> loss, in float64, with the peak that carries no gradient held where it is."""
    net, images, labels = smooth_net(), random(2, 3, 8, 8), torch.tensor([2, 0])
    h, has_map = random(2, 8, 8).exp(), torch.ones(2, dtype=torch.bool)
    weight = net[0].weight.detach().clone().requires_grad_()

    def saliency(weight: torch.Tensor) -> torch.Tensor:
        x = images.clone().requires_grad_(True)
        logits = torch.func.functional_call(net, {"0.weight": weight}, (x,))
        return saliency_gradient(logits, labels, x, create_graph=True).mean(1)

    (found,) = torch.autograd.grad(alignment_loss(saliency(weight), h, has_map), weight)
    peaks = [slow_standardize(s).max() for s in saliency(weight).detach().numpy()]

    def slow(weight: torch.Tensor) -> float:
        return slow_alignment(saliency(weight).detach().numpy(), h.numpy(), has_map.numpy(), 2, peaks)

    step, numeric = 1e-5, torch.zeros_like(found)
    for place in np.ndindex(*weight.shape):
        sides = [weight.detach().clone() for _ in range(2)]
        sides[0][place] += step
        sides[1][place] -= step
        numeric[place] = (slow(sides[0]) - slow(sides[1])) / (2 * step)
    torch.testing.assert_close(found, numeric, rtol=1e-5, atol=1e-7)
    assert float(found.abs().max()) > 0.01


def test_the_gradient_of_the_alignment_loss_in_float64():
    """Under a flat map, whose scale does not matter."""
    h, t = torch.zeros(1, 8, 8, dtype=torch.float64), torch.ones(1, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda s: alignment_loss(s, h, t), random(1, 8, 8).requires_grad_())


def test_the_saliency_is_the_gradient_of_the_true_logit():
    net, images, labels = smooth_net(), random(2, 3, 8, 8).requires_grad_(), torch.tensor([2, 0])
    found = saliency_gradient(net(images), labels, images)
    for image in range(2):
        x = images[image : image + 1].detach().requires_grad_()
        net(x)[0, labels[image]].backward()
        torch.testing.assert_close(found[image], x.grad[0])


@pytest.mark.parametrize(
    "family",
    [{"family": "resnet", "depth": 10, "sizes": [2]}, {"family": "vit", "heads": 3, "depth": 2, "sizes": [12]}],
)
def test_the_objective_is_cross_entropy_plus_weight_times_alignment(make_run, build, make_batch, family):
    training = {"label_smoothing": 0.1, "epochs": 1, "batch_size": 10}
    batch = make_batch(6)
    losses = {}
    for weight in (0.0, 1.0, 10.0):
        model, objective = build(
            make_run(models=[family], training=training, objective={"name": "harmonizer", "weight": weight})
        )
        losses[weight] = float(objective.loss(model, batch).detach())
    model, _ = build(make_run(models=[family], objective="harmonizer"))
    x = batch.images.clone().requires_grad_()
    logits = model(x)
    plain = functional.cross_entropy(logits, batch.labels, reduction="sum", label_smoothing=0.1)
    assert losses[0.0] == pytest.approx(plain.item(), rel=1e-5)
    s = saliency_gradient(logits, batch.labels, x).mean(1)
    aligned = slow_alignment(*(np.asarray(v, dtype=float) for v in (s, batch.maps, batch.has_map)), 2)
    assert losses[1.0] - losses[0.0] == pytest.approx(aligned, rel=1e-3)
    assert losses[10.0] - losses[0.0] == pytest.approx(10 * aligned, rel=1e-3)


def test_a_model_without_second_derivatives_is_refused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Hardsigmoid(), nn.Linear(4, 2))
    with pytest.raises(StudyError, match=r"no double backward \(derivative for aten::hardsigmoid_backward"):
        check_double_backward(net, torch.rand(1, 3, 8, 8))
    assert net.training
    check_double_backward(smooth_net(), random(1, 3, 8, 8))


def test_images_without_any_map_are_refused(make_run, digits_data, mapped_data, storage):
    run, train = make_run(objective="harmonizer"), mapped_data.train
    empty = ImageSet(train.images, train.labels, np.full_like(train.maps, np.nan))
    for data in (digits_data, replace(mapped_data, train=empty)):
        with pytest.raises(StudyError, match=r"'harmonizer' needs .* dataset 'digits' has none for the 20 images of"):
            Training(run, data, storage)
