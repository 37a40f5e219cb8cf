"""Suite human-alignment: gradients of the true class, ranked against maps as scipy does it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from scaling.alignment.commitment import Commitment
from scaling.alignment.features.extraction import FeatureBudget
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.metrics.saliency import HUMAN_CEILING
from scaling.alignment.protocol import Protocol
from scaling.alignment.regions import INPUT
from scaling.alignment.score import Subject, score_checkpoint, score_model
from scaling.alignment.scoring import ScoringOptions
from scaling.alignment.suites.human_alignment import SIMULATED_SUITE, SUITE, MappedStimuli, build_human, select_mapped
from scaling.alignment.suites.registry import benchmark_regions, build_benchmarks
from scaling.checkpoints.weights import load_weights
from scaling.data.image_set import ImageSet, SparseMaps
from scaling.data.images import load_images
from scaling.errors import StudyError
from scaling.records import ResultsStore
from scaling.train.loop import Training

N, SIDE, CLASSES = 40, 8, 4
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8)
LABELS = np.arange(N, dtype=np.int64) % CLASSES
MAPS = RANDOM.random((N, SIDE, SIDE)).astype(np.float32)
AS_TRAINED = Preprocessing.square(SIDE, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def mapped(maps: np.ndarray = MAPS, dataset: str = "clickme") -> MappedStimuli | None:
    return select_mapped(ImageSet(IMAGES.copy(), LABELS.copy(), maps.copy()), dataset)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(), nn.Linear(256, CLASSES)
    )


def score(model: nn.Module, given: MappedStimuli, options: ScoringOptions | None = None) -> dict:
    benchmarks = build_human(SIMULATED_SUITE if given.simulated else SUITE, given.stimuli, given)
    scores = score_model(Subject(model, ["0", "3"], AS_TRAINED), benchmarks, options or ScoringOptions())
    assert all(s.result is not None for s in scores), [s.reason for s in scores]
    return {s.benchmark: s.result for s in scores}


def by_hand(model: nn.Module, given: MappedStimuli) -> np.ndarray:
    """Signed gradients of each image's own logit, one image at a time."""
    gradients = []
    for image, label in zip(given.stimuli.images, given.stimuli.labels, strict=True):
        x = torch.tensor((image / 255 - AS_TRAINED.mean) / AS_TRAINED.std, dtype=torch.float32).permute(2, 0, 1)[None]
        x.requires_grad_()
        model.eval()(x)[0, label].backward()
        gradients.append(x.grad[0].numpy())
    return np.stack(gradients)


def test_scores_are_spearman_of_the_gradients_as_scipy_ranks_them():
    model, given = network().train(), mapped()
    found = score(model, given)
    assert model.training, "the model is left as it was"
    gradients = by_hand(model, given)
    saliency = {"max_abs": np.abs(gradients).max(1), "abs_mean": np.abs(gradients.mean(1))}
    assert set(found) == {f"{SUITE}.{kind}" for kind in saliency}
    for kind, maps in saliency.items():
        rho = [spearmanr(s.ravel(), h.ravel()).statistic for s, h in zip(maps, given.maps, strict=True)]
        result = found[f"{SUITE}.{kind}"]
        assert result.raw == pytest.approx(np.mean(rho), abs=1e-6)
        assert result.raw_error == pytest.approx(np.std(rho) / np.sqrt(N), rel=1e-4)
        assert result.score == pytest.approx(np.mean(rho) / 0.65753, abs=1e-5)
        assert (result.ceiling, result.ceiling_kind, result.region) == (HUMAN_CEILING, "published", "saliency")
        assert (result.layer, result.n_stimuli, result.selection_raw) == (INPUT, N, None)
        draws = np.random.default_rng(1).choice(rho, (4000, N)).mean(1)
        assert (result.raw_low, result.raw_high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.01)


def test_batches_and_layers_fixed_for_other_benchmarks_change_nothing():
    given, fixed = mapped(), Commitment("split", {"saliency": "3", "IT": "3"}, "fixed by a file")
    plain = score(network(), given)
    other = score(network(), given, ScoringOptions(budget=FeatureBudget(batch_size=7), commitment=fixed))
    for name, result in plain.items():
        assert other[name].raw == pytest.approx(result.raw, abs=1e-6)
        assert (other[name].layer, other[name].commitment) == (INPUT, "fixed by a file")


class OwnMap(nn.Module):
    """z_k = Σ over pixels of map(image) · x: its gradient is the map that belongs to the image."""

    def __init__(self, given: MappedStimuli) -> None:
        super().__init__()
        prepared = AS_TRAINED.apply(given.stimuli.images)
        self.images, self.maps = prepared, torch.from_numpy(given.maps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        which = torch.cdist(x.detach().flatten(1), self.images.flatten(1)).argmin(1)
        return (self.maps[which, None] * x).sum((1, 2, 3))[:, None].expand(-1, CLASSES)


def test_a_model_that_looks_where_the_map_is_scores_one():
    given = mapped(dataset="simulated-maps")
    for name, result in score(OwnMap(given), given).items():
        assert (result.raw, result.score) == (pytest.approx(1), pytest.approx(1)), name
        assert (result.ceiling, result.ceiling_kind) == (None, "none")
        assert "simulated" in result.benchmark
    reversed_maps = replace(given, maps=-given.maps)
    model = OwnMap(given)
    assert all(result.raw == pytest.approx(-1) for result in score(model, reversed_maps).values())


def test_images_without_a_map_or_with_a_flat_one_are_left_out():
    maps = MAPS.copy()
    maps[::2], maps[1] = np.nan, 0.5
    given = mapped(maps)
    assert len(given.stimuli) == N // 2 - 1
    kept = np.setdiff1d(np.arange(1, N, 2), [1])
    np.testing.assert_array_equal(given.stimuli.images, IMAGES[kept])
    np.testing.assert_array_equal(given.stimuli.labels, LABELS[kept])
    np.testing.assert_array_equal(given.maps, MAPS[kept])
    sparse = SparseMaps(maps[1::2], np.where(np.arange(N) % 2, np.arange(N) // 2, -1))
    few = select_mapped(ImageSet(IMAGES.copy(), LABELS.copy(), sparse), "clickme", 6)
    assert sorted(few.stimuli.labels)[-3:] == [3, 3, 3]
    np.testing.assert_array_equal(
        few.maps, [maps[np.all(image == IMAGES, (1, 2, 3))][0] for image in few.stimuli.images]
    )


def test_no_maps_are_none():
    assert mapped(np.full_like(MAPS, np.nan)) is None
    assert mapped(np.ones_like(MAPS)) is None
    assert select_mapped(ImageSet(IMAGES.copy(), LABELS.copy()), "clickme") is None


def test_both_suites_are_known_by_name(stimuli):
    assert benchmark_regions([f"{SUITE}.abs_mean", SIMULATED_SUITE]) == {
        f"{SUITE}.abs_mean": "saliency",
        f"{SIMULATED_SUITE}.max_abs": "saliency",
        f"{SIMULATED_SUITE}.abs_mean": "saliency",
    }
    (built,) = build_benchmarks([f"{SUITE}.max_abs"], stimuli, mapped=mapped())
    assert built.name == f"{SUITE}.max_abs"


@pytest.mark.parametrize(
    ("suite", "given", "message"),
    [
        (SUITE, None, r"needs importance maps of held-out images .* there are none \(noise images\); pick a dataset"),
        (SUITE, mapped(dataset="simulated-maps"), r"maps of 'simulated-maps held-out, with maps' are simulated; name"),
        (SIMULATED_SUITE, mapped(), r"'clickme held-out, with maps' are not simulated; name human-alignment"),
    ],
)
def test_maps_that_the_suite_is_not_for_are_refused(stimuli, suite, given, message):
    with pytest.raises(StudyError, match=message):
        build_benchmarks([suite], stimuli, mapped=given)


def failure(model: nn.Module, given: MappedStimuli, preprocessing: Preprocessing = AS_TRAINED, **options) -> str:
    (benchmark, _) = build_human(SUITE, given.stimuli, given)
    (found,) = score_model(Subject(model, ["0"], preprocessing), [benchmark], ScoringOptions(**options))
    assert found.result is None
    return found.reason


def test_what_cannot_be_scored_is_a_failed_score_with_its_reason():
    given = mapped()
    assert "class 3 of the stimuli exceeds the model's 2 logits" in failure(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), given
    )
    wide = Preprocessing.square(16, AS_TRAINED.mean, AS_TRAINED.std)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, CLASSES))
    assert "saliency of shape (40, 16, 16) beside maps of (40, 8, 8)" in failure(pooled, given, wide)
    assert "memory_gb=1e-06" in failure(network(), given, budget=FeatureBudget(memory_gb=1e-6))
    broken = network()
    broken[4].weight.data.fill_(float("nan"))
    assert "values are not finite" in failure(broken, given)
    nameless = replace(given, stimuli=replace(given.stimuli, labels=None))
    assert "have no labels" in failure(network(), nameless)


def test_maps_that_do_not_fit_are_refused():
    given = mapped()
    for maps, message in ((MAPS[:3], r"of shape \(3, 8, 8\); give \(40 stimuli"), (MAPS * 0, r"40 maps that are flat")):
        with pytest.raises(StudyError, match=message):
            build_human(SUITE, given.stimuli, replace(given, maps=maps))


def test_a_harmonized_checkpoint_is_scored_and_stored(make_run, storage):
    run = make_run(
        dataset="simulated-clickme",
        objective={"name": "harmonizer", "weight": 3},
        benchmarks=[SIMULATED_SUITE],
        training={"epochs": 1, "batch_size": 20},
    )
    data = load_images(run.dataset, Path("no such folder"))
    for _ in Training(run, data, storage).epochs():
        pass
    given = select_mapped(data.heldout, data.name, 40)
    benchmarks = build_benchmarks([f"{SIMULATED_SUITE}.max_abs"], given.stimuli, mapped=given)
    protocols = {benchmark.name: Protocol("p", "p") for benchmark in benchmarks}
    (record,) = score_checkpoint(storage, run.run_id, 1, benchmarks, ScoringOptions(), protocols)
    model, info = load_weights(storage, run.run_id, 1)
    x = Preprocessing.square(info.image_size, info.mean, info.std).apply(given.stimuli.images).requires_grad_()
    model(x).gather(1, torch.from_numpy(given.stimuli.labels)[:, None]).sum().backward()
    saliency = x.grad.abs().amax(1).numpy()
    rho = [spearmanr(s.ravel(), h.ravel()).statistic for s, h in zip(saliency, given.maps, strict=True)]
    assert (record.status, record.region, record.n_stimuli) == ("scored", "saliency", 40)
    assert record.raw == record.score == pytest.approx(np.mean(rho), abs=1e-4)
    assert ResultsStore(storage).read_checkpoint_scores(run.run_id, 1) == [record]
