"""Mixup and CutMix against timm's, at the numbers that it draws; losses against timm's and torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.data import mixup as timm_mixup
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

from scaling.specs.training import TrainingSpec
from scaling.train.augment.mixing import Mixing, apply_mixing, cut_box, draw_mixing
from scaling.train.losses import classification_loss, soft_targets

N, CLASSES, SIDE = 8, 5, 12
RANDOM = torch.Generator().manual_seed(0)
PIXELS = torch.rand(N, 3, SIDE, SIDE, generator=RANDOM)
LABELS = torch.randint(0, CLASSES, (N,), generator=RANDOM)
LOGITS = torch.randn(N, CLASSES, generator=RANDOM)
REVERSED = np.arange(N)[::-1].copy()


def spec(mixup: float, cutmix: float) -> TrainingSpec:
    return TrainingSpec(mixup=mixup, cutmix=cutmix, loss="soft_cross_entropy")


def mixed(mixing: Mixing, smoothing: float) -> tuple[torch.Tensor, torch.Tensor]:
    targets, partner = soft_targets(LABELS, CLASSES, smoothing), torch.from_numpy(mixing.partner)
    return apply_mixing(mixing, PIXELS, PIXELS[partner], targets, targets[partner])


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_images_and_targets_are_timms_with_its_reversed_partners(kind, smoothing, seed):
    both = {"mixup": (0.8, 0.0), "cutmix": (0.0, 1.0)}[kind]
    theirs = timm_mixup.Mixup(*both, label_smoothing=smoothing, num_classes=CLASSES)
    np.random.seed(seed)  # noqa: NPY002 - timm draws from NumPy's global generator
    pixels, targets = theirs(PIXELS.clone(), LABELS)
    np.random.seed(seed)  # noqa: NPY002
    np.random.rand()  # noqa: NPY002 - whether to mix at all
    weight = float(np.random.beta(max(both), max(both)))  # noqa: NPY002
    if kind == "mixup":
        mixing = Mixing(REVERSED, weight)
    else:
        y, x = int(np.random.randint(0, SIDE, size=None)), int(np.random.randint(0, SIDE, size=None))  # noqa: NPY002
        box = cut_box(weight, y, x, SIDE)
        mixing = Mixing(REVERSED, 1 - (box[1] - box[0]) * (box[3] - box[2]) / SIDE**2, box)
    ours, our_targets = mixed(mixing, smoothing)
    torch.testing.assert_close(ours, pixels, atol=1e-6, rtol=0)
    torch.testing.assert_close(our_targets, targets, atol=1e-6, rtol=0)


def test_the_label_weight_is_the_area_that_stays():
    for step in range(50):
        mixing = draw_mixing(spec(0, 1.0), 0, (0, step), N, SIDE)
        assert mixing is not None
        top, bottom, left, right = mixing.box
        assert 0 <= top <= bottom <= SIDE
        assert 0 <= left <= right <= SIDE
        own, other = torch.zeros(2, 3, SIDE, SIDE), torch.ones(2, 3, SIDE, SIDE)
        cut, _ = apply_mixing(mixing, own, other, torch.zeros(2, 2), torch.zeros(2, 2))
        assert 1 - float(cut.mean()) == pytest.approx(mixing.weight, abs=1e-6)


def test_draws_depend_on_seed_and_place_and_follow_their_distributions():
    draws = [draw_mixing(spec(0.8, 1.0), 1, (epoch, step), N, SIDE) for epoch in range(30) for step in range(20)]
    again = draw_mixing(spec(0.8, 1.0), 1, (7, 3), N, SIDE)
    assert again.weight == draws[7 * 20 + 3].weight
    assert np.array_equal(again.partner, draws[7 * 20 + 3].partner)
    assert len({draw.weight for draw in draws if draw.box is None}) == sum(draw.box is None for draw in draws)
    assert np.mean([draw.box is None for draw in draws]) == pytest.approx(0.5, abs=0.08)
    assert np.mean([draw.weight for draw in draws if draw.box is None]) == pytest.approx(0.5, abs=0.07)
    assert all(sorted(draw.partner) == list(range(N)) for draw in draws)
    assert np.mean([draw.partner for draw in draws], axis=0) == pytest.approx(np.full(N, (N - 1) / 2), abs=0.5)


@pytest.mark.parametrize(("mixup", "cutmix", "has_box"), [(0.5, 0, False), (0, 0.5, True)])
def test_one_alone_is_always_drawn(mixup, cutmix, has_box):
    draws = [draw_mixing(spec(mixup, cutmix), 0, (0, step), N, SIDE) for step in range(20)]
    assert all((draw.box is not None) is has_box for draw in draws)


def test_without_mixing_nothing_is_drawn():
    assert draw_mixing(TrainingSpec(), 0, (0, 0), N, SIDE) is None


def test_shares_of_a_mixed_batch_are_the_batchs():
    """A worker mixes its images with its partners' views; put together they are the whole batch."""
    for step in range(4):
        mixing = draw_mixing(spec(0.8, 1.0), 2, (0, step), N, SIDE)
        whole, targets = mixed(mixing, 0.1)
        soft = soft_targets(LABELS, CLASSES, 0.1)
        for rank in range(3):
            share = slice(rank, None, 3)
            partner = torch.from_numpy(mixing.partner[share])
            part, part_targets = apply_mixing(mixing, PIXELS[share], PIXELS[partner], soft[share], soft[partner])
            assert torch.equal(part, whole[share])
            assert torch.equal(part_targets, targets[share])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_are_timms_times_the_images(smoothing):
    hard = LabelSmoothingCrossEntropy(smoothing)(LOGITS, LABELS)
    soft = soft_targets(LABELS, CLASSES, smoothing)
    binary = BinaryCrossEntropy(smoothing)(LOGITS, LABELS)
    assert classification_loss("cross_entropy", LOGITS, LABELS, smoothing) == pytest.approx(N * hard.item(), rel=1e-5)
    for target in (LABELS, soft):
        ours = classification_loss("soft_cross_entropy", LOGITS, target, smoothing)
        assert ours == pytest.approx(N * SoftTargetCrossEntropy()(LOGITS, soft).item(), rel=1e-5)
        ours = classification_loss("binary_cross_entropy", LOGITS, target, smoothing)
        assert ours == pytest.approx(N * binary.item(), rel=1e-5)


def test_soft_targets_sum_to_one_and_are_timms():
    ours = soft_targets(LABELS, CLASSES, 0.3)
    assert torch.equal(ours.argmax(1), LABELS)
    torch.testing.assert_close(ours.sum(1), torch.ones(N))
    theirs = timm_mixup.one_hot(LABELS, CLASSES, on_value=1 - 0.3 + 0.3 / CLASSES, off_value=0.3 / CLASSES)
    torch.testing.assert_close(ours, theirs)
