"""The simulated suite: its truth scores at ceiling, noise at zero, trained networks between and in order."""

from __future__ import annotations

import dataclasses
import time
from itertools import pairwise

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from scaling.alignment.regions import REGIONS
from scaling.alignment.suites.simulated import SUITE, build_simulated, region_features
from scaling.data.recordings.stimuli import Stimuli, select_stimuli
from scaling.errors import StudyError


@pytest.fixture(scope="module")
def benchmarks(digits):
    return {benchmark.region: benchmark for benchmark in build_simulated(digits[2])}


@pytest.fixture(scope="module")
def hidden(digits):
    """Training-set size → layers of a two-layer perceptron on the held-out digits; 0 is untrained."""
    pixels, labels, stimuli = digits
    x = stimuli.images[..., 0].reshape(len(stimuli), -1) / 255
    return {n: hidden_layers(pixels, labels, n, x) for n in (0, 50, 200, 1400)}


def hidden_layers(pixels, labels, n, x):
    """After training on n images; n = 0: one step at a rate of almost nothing, so the initial weights."""
    if n:
        model = MLPClassifier((128, 64), random_state=0, max_iter=300).fit(pixels[:n], labels[:n])
    else:
        model = MLPClassifier((128, 64), random_state=0, learning_rate_init=1e-12)
        model.partial_fit(pixels[:10], labels[:10], classes=np.arange(10))
    layers = {}
    for index, (weights, bias) in enumerate(zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True)):
        x = np.maximum(x @ weights + bias, 0)
        layers[f"hidden{index}"] = x
    return layers


def test_names_regions_and_shared_stimuli(benchmarks, digits):
    assert [b.name for b in benchmarks.values()] == [f"{SUITE}.{region}" for region in REGIONS]
    assert all("simulated" in b.name and b.stimuli is digits[2] for b in benchmarks.values())
    assert [b.metric for b in benchmarks.values()] == ["ridge"] * 4 + ["rsa"]


@pytest.mark.parametrize("region", REGIONS)
def test_generating_features_score_at_ceiling(benchmarks, digits, region):
    truth = region_features(digits[2])[region]
    assert benchmarks[region]({"truth": truth}).score == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("region", REGIONS)
def test_noise_scores_zero(benchmarks, digits, region):
    rng = np.random.default_rng(0)
    scores = [benchmarks[region]({"noise": rng.standard_normal((300, 100))}).score for _ in range(12)]
    assert np.mean(scores) == pytest.approx(0.0, abs=0.04)
    assert np.max(np.abs(scores)) < 0.2


@pytest.mark.parametrize("region", REGIONS[:4])
def test_split_half_ceiling_is_the_planted_one(benchmarks, region):
    assert benchmarks[region].ceiling() == pytest.approx(np.sqrt(10 / 11), abs=0.01)


def test_pixels_predict_early_regions_best(benchmarks, digits):
    pixels = {"pixels": digits[2].images[..., 0].reshape(300, -1).astype(np.float32)}
    scores = [benchmarks[region](pixels).score for region in REGIONS]
    assert scores[0] > 0.8
    assert scores[0] > scores[1] > scores[2]
    assert scores[3] < 0.7
    assert scores[4] < 0.5


@pytest.mark.parametrize("region", ["IT", "behavior"])
def test_training_on_more_images_aligns_better_with_headroom(benchmarks, hidden, region):
    scores = [benchmarks[region](layers).score for layers in hidden.values()]
    print(region, dict(zip(hidden, np.round(scores, 3), strict=True)))
    assert all(later > earlier for earlier, later in pairwise(scores))
    assert scores[-1] > scores[0] + 0.07
    assert scores[-1] < 0.9  # headroom


def test_categories_alone_do_not_saturate(benchmarks, digits):
    onehot = {"onehot": np.eye(10)[digits[2].labels]}
    assert 0.7 < benchmarks["IT"](onehot).score < 0.97
    assert benchmarks["behavior"](onehot).score < 0.9


def test_the_same_images_give_the_same_recordings(benchmarks, digits):
    stimuli = digits[2]
    copy = Stimuli(stimuli.images.copy(), stimuli.ids, stimuli.labels.copy(), "copy")
    for benchmark in build_simulated(copy):
        np.testing.assert_array_equal(benchmark.assembly, benchmarks[benchmark.region].assembly)


@pytest.mark.parametrize(("shape", "n_categories"), [((8, 8), 2), ((32, 32), 10), ((90, 70), 100), ((224, 224), 10)])
def test_any_size_and_number_of_categories(shape, n_categories):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, *shape, 3), dtype=np.uint8)
    stimuli = select_stimuli(images, np.arange(200) % n_categories)
    began = time.perf_counter()
    built = build_simulated(stimuli)
    assert time.perf_counter() - began < 20
    features = region_features(stimuli)
    for benchmark in built:
        truth = features[benchmark.region]
        assert benchmark({"truth": truth}).score > 0.8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": None}, ["0 labelled categories", "at least 2"]),
        ({"labels": np.zeros(60, int)}, ["1 labelled categories"]),
        ({"images": np.full((60, 8, 8, 3), 7, np.uint8)}, ["contrast"]),
    ],
)
def test_stimuli_that_cannot_be_simulated(stimuli, change, words):
    with pytest.raises(StudyError) as error:
        build_simulated(dataclasses.replace(stimuli, **change))
    assert all(word in str(error.value) for word in [SUITE, *words]), error.value
