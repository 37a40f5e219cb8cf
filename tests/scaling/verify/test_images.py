"""Samples seen become images x epochs, and trainings keep their shape at other lengths."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.data.portions import ImageCounts, Shown, images_and_epochs
from scaling.errors import StudyError
from scaling.specs.training import TrainingSpec
from scaling.verify.images import NEAR, at_epochs, check_samples

EVEN = ImageCounts(image_size=32, n_classes=10, n_train=50_000, least=5_000)
UNEVEN = ImageCounts(image_size=8, n_classes=10, n_train=1_437, least=130)


@pytest.mark.parametrize(
    ("samples", "shown"),
    [
        (50_000, Shown(None, 50_000, 1)),
        (500_000, Shown(None, 50_000, 10)),
        (520_000, Shown(None, 50_000, 10)),  # 4 % of D missed: whole epochs of all
        (125_000, Shown(4_167, 41_670, 3)),  # two and a half times: three epochs of 83 %
        (60_000, Shown(3_000, 30_000, 2)),
        (12_340, Shown(1_234, 12_340, 1)),
        (10, Shown(1, 10, 1)),
        (1e9, Shown(None, 50_000, 20_000)),
    ],
)
def test_as_many_unique_images_as_there_are(samples: float, shown: Shown) -> None:
    assert images_and_epochs(samples, EVEN, NEAR) == shown


def test_classes_of_unlike_size_give_alike_many_images_or_all() -> None:
    assert images_and_epochs(1_437 * 7, UNEVEN, NEAR) == Shown(None, 1_437, 7)
    assert images_and_epochs(1_380, UNEVEN, NEAR) == Shown(None, 1_437, 1)
    assert images_and_epochs(3_000, UNEVEN, NEAR) == Shown(None, 1_437, 2)
    assert images_and_epochs(2_155, UNEVEN, NEAR) == Shown(108, 1_080, 2)


@given(st.floats(1e3, 1e9))
def test_samples_are_met(samples: float) -> None:
    shown = images_and_epochs(samples, EVEN, NEAR)
    assert abs(math.log(shown.samples_seen / samples)) <= math.log1p(NEAR)
    assert shown.n_samples <= EVEN.n_train
    assert shown.images_per_class is None or shown.images_per_class <= EVEN.least


@pytest.mark.parametrize(
    ("fields", "epochs", "expected"),
    [
        ({"epochs": 60, "warmup_epochs": 2}, 90, {"epochs": 90, "warmup_epochs": 3}),
        ({"epochs": 60, "warmup_epochs": 2}, 1, {"epochs": 1, "warmup_epochs": 2 / 60}),
        ({"epochs": 10, "ema_half_life_epochs": 0.5}, 20, {"epochs": 20, "ema_half_life_epochs": 1.0}),
        ({"epochs": 10, "ema_half_life_share": 0.05, "lr": 0.3}, 20, {"ema_half_life_share": 0.05, "lr": 0.3}),
        ({"epochs": 10, "schedule": "wsd", "cooldown_epochs": 1}, 20, {"cooldown_epochs": 2, "schedule": "wsd"}),
        ({"epochs": 1, "schedule": "wsd", "order": "nested", "warmup_steps": 4}, 3, {"order": "shuffled", "epochs": 3}),
        ({"epochs": 7, "schedule": "linear"}, 7, {"epochs": 7, "schedule": "linear", "warmup_epochs": 0}),
    ],
)
def test_durations_keep_their_share(fields: dict[str, object], epochs: int, expected: dict[str, object]) -> None:
    training = at_epochs(TrainingSpec.model_validate(fields), epochs)
    assert {name: getattr(training, name) for name in expected} == expected


@pytest.mark.parametrize("preset", ["convnext", "deit3", "resnet"])
def test_a_preset_at_its_own_length_is_itself_and_at_another_its_own_there(preset: str) -> None:
    try:
        training = TrainingSpec.model_validate({"preset": preset})
    except ValueError:
        pytest.skip(f"no preset {preset}")
    assert at_epochs(training, training.epochs) == training
    longer = at_epochs(training, 2 * training.epochs)
    assert longer.identity() == TrainingSpec.model_validate({"preset": preset, "epochs": longer.epochs}).identity()
    assert longer.preset == preset


def test_fewer_images_than_classes_are_refused() -> None:
    with pytest.raises(StudyError, match=r"resnet w2 would see 9 images, fewer than one of each of 10 classes; raise"):
        check_samples(9, EVEN, "resnet w2")
