"""Simulated spatial maps as a benchmark: the layer they were made from is chosen, the numbers are `spatial_score`'s."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.commitment import Commitment
from scaling.alignment.features.activations import collect_activations
from scaling.alignment.features.extraction import FeatureBudget
from scaling.alignment.features.feature_maps import feature_maps, has_maps
from scaling.alignment.features.preprocessing import Preprocessing
from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.spatial import bin_maps, choose_on_others, map_ceiling, scale_maps, spatial_score
from scaling.alignment.score import Subject, score_model
from scaling.alignment.scoring import ScoringOptions
from scaling.alignment.suites.registry import benchmark_regions, build_benchmarks, check_benchmark_data
from scaling.data.recordings import PlainMaps, write_maps
from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError
from scaling.records import AlignmentRecord

N_IMAGES, GRID, N_NEUROIDS = 14, 9, 12
ON_ALL = Commitment("all", {}, "all")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def features(rng):
    layers = {f"noise{i}": rng.standard_normal((N_IMAGES, 12, 12, 8)) for i in range(3)}
    return {"noise": layers["noise0"], "truth": rng.standard_normal((N_IMAGES, 18, 18, 30)), **layers}


@pytest.fixture
def benchmark(rng, features):
    """Neurons that share a few directions of one layer, through a little noise."""
    shown = Stimuli(rng.integers(0, 256, (N_IMAGES, 8, 8, 3), dtype=np.uint8), tuple("abcdefghijklmn"), None, "14")
    signal = scale_maps(bin_maps(features["truth"], GRID)) @ rng.standard_normal((30, 1)) @ np.ones((1, N_NEUROIDS))
    maps = signal + 0.2 * signal.std() * rng.standard_normal(signal.shape)
    return Benchmark("simulated-maps.IT", "IT", "spatial", shown, maps, "neuroids")


def test_the_true_layer_is_chosen_at_its_ceiling_and_noise_scores_nothing(benchmark, features):
    result = benchmark(features)
    scores = {layer: spatial_score(x, benchmark.assembly, min(25, x.shape[3])) for layer, x in features.items()}
    assert (result.layer, result.n_stimuli, result.n_neuroids) == ("truth", N_IMAGES, N_NEUROIDS)
    assert result.layer_scores == pytest.approx({layer: s.raw for layer, s in scores.items()}, abs=1e-12)
    assert result.raw == pytest.approx(scores["truth"].raw, abs=1e-12)
    assert result.raw_error == pytest.approx(scores["truth"].error, abs=1e-12)
    assert result.ceiling == pytest.approx(map_ceiling(benchmark.assembly), abs=1e-12)
    assert result.score == pytest.approx(result.raw / result.ceiling)
    assert result.score == pytest.approx(1.0, abs=0.05)
    assert result.raw_low < result.raw < result.raw_high
    assert (result.selection_leak, result.ceiling_kind) == (pytest.approx(0.0, abs=1e-12), "neuroids")
    noise = benchmark({layer: x for layer, x in features.items() if layer != "truth"})
    assert abs(noise.raw) < 4 * noise.raw_error
    assert noise.selection_leak >= 0


def test_each_image_is_scored_with_the_layer_best_on_the_others(benchmark, features):
    noise = {layer: x for layer, x in features.items() if layer != "truth"}
    folds = {layer: spatial_score(x, benchmark.assembly, 8).folds for layer, x in noise.items()}
    used, scores, seen = [], [], []
    for image in range(N_IMAGES):
        others = {layer: np.delete(f, image).mean() for layer, f in folds.items()}
        used.append(max(others, key=others.get))
        scores.append(folds[used[-1]][image])
        seen.append(others[used[-1]])
    result = benchmark(noise)
    assert result.raw == pytest.approx(np.mean(scores), abs=1e-12)
    assert result.raw_error == pytest.approx(np.std(scores) / np.sqrt(N_IMAGES), abs=1e-12)
    assert result.selection_raw == pytest.approx(np.mean(seen), abs=1e-12)
    assert result.layer == max(noise, key=used.count)
    best = max(f.mean() for f in folds.values())
    assert result.selection_leak == pytest.approx(best - np.mean(scores), abs=1e-12)
    on_all = benchmark(noise, ON_ALL)
    assert (on_all.raw, on_all.commitment) == (pytest.approx(best, abs=1e-12), "all")
    assert on_all.selection_leak == pytest.approx(result.selection_leak, abs=1e-12)


def test_choice_by_hand():
    folds = np.array([[1.0, 0.0, 0.0], [0.0, 0.6, 0.7], [0.0, 0.6, 0.7]])
    best, others = choose_on_others(folds)
    assert best.tolist() == [1, 0, 0]  # a layer's success on an image does not speak for it there; the first of equals
    np.testing.assert_allclose(others, [0.65, 0.5, 0.5])


def test_a_fixed_layer_is_not_chosen(benchmark, features):
    result = benchmark(features, Commitment("split", {"IT": "noise1"}, "fixed"))
    expected = spatial_score(features["noise1"], benchmark.assembly, 8)
    assert (result.layer, result.raw) == ("noise1", pytest.approx(expected.raw, abs=1e-12))
    assert (result.selection_raw, result.selection_leak) == (None, None)


def test_features_that_are_no_maps(benchmark, features):
    with pytest.raises(StudyError, match=r"simulated-maps.IT, layer 'a': .*features of shape \(14, 5\)"):
        benchmark({"a": np.ones((N_IMAGES, 5))})
    with pytest.raises(StudyError, match=r"layer 'a'.*14 stimuli"):
        benchmark({"a": Representation.of(np.eye(N_IMAGES))})
    with pytest.raises(StudyError, match="no candidate layer has maps"):
        benchmark.commit({}, Commitment())


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        (np.zeros((13, 4, 4, 2)), "(13, 4, 4, 2); give (14 stimuli, rows, columns, neuroids)"),
        (np.zeros((14, 4, 5, 2)), "4 × 5 locations"),
        (np.full((14, 4, 4, 2), np.nan), "give finite maps"),
        (np.zeros((14, 4, 4, 1)), "over 1 repetition"),
    ],
)
def test_bad_assemblies(benchmark, maps, words):
    with pytest.raises(StudyError) as error:
        Benchmark("x.IT", "IT", "spatial", benchmark.stimuli, maps, "neuroids")
    assert words in str(error.value)


def test_shapes_that_have_maps(rng):
    yes = [(6, 4, 4), (4, 4, 6), (1, 2, 2), (9, 6), (10, 6), (4, 4, 4)]
    no = [(6,), (6, 1, 1), (1, 1, 6), (1, 6), (120, 6), (2, 3, 4, 5), ()]
    assert [has_maps(shape) for shape in yes + no] == [True] * len(yes) + [False] * len(no)
    last = rng.standard_normal((2, 7, 7, 5))
    np.testing.assert_array_equal(feature_maps(last), last)
    np.testing.assert_array_equal(feature_maps(last.transpose(0, 3, 1, 2)), last)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 30, 3, padding=1), nn.Tanh(), nn.Conv2d(30, 10, 3, stride=2), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(10, 5),
    )  # fmt: skip


@pytest.fixture
def subject(model):
    return Subject(model, ["0", "2", "3", "5"], Preprocessing.square(24, (0.5,) * 3, (0.2,) * 3))


@pytest.fixture
def folder(tmp_path, rng):
    (tmp_path / "images").mkdir()
    for i in range(N_IMAGES):
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((24, 24)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path


def write(folder, values, **changes):
    settings = {"name": "simulated maps", "region": "IT", "degrees": 8.0, "images": "images"} | changes
    names = [f"{i}.png" for i in range(len(values))]
    write_maps(folder / "maps.nc", PlainMaps(maps=values, filenames=names, **settings))
    return f"file:{folder / 'maps.nc'}"


def layer_maps_of(subject, folder):
    images = np.stack([np.asarray(Image.open(folder / "images" / f"{i}.png")) for i in range(N_IMAGES)])
    shown = subject.preprocessing.apply(images)
    shapes = {"0": (30, 24, 24), "2": (10, 11, 11)}
    flat = collect_activations(subject.model, list(shapes), shown)
    return {layer: feature_maps(flat[layer].reshape(N_IMAGES, *shape)) for layer, shape in shapes.items()}


def test_a_model_is_scored_on_a_file_of_maps(subject, folder, rng):
    """Neurons that read layer '2': from the file to a record, equal to the formula on collected activations."""
    layers = layer_maps_of(subject, folder)
    signal = scale_maps(bin_maps(layers["2"], GRID)) @ rng.standard_normal((10, 4))
    name = write(folder, signal + 0.05 * signal.std() * rng.standard_normal(signal.shape))
    assert benchmark_regions([name]) == {"simulated maps.IT": "IT"}
    check_benchmark_data([name], None)
    (benchmark,) = build_benchmarks([name], benchmark_stimuli())
    (score,) = score_model(subject, [benchmark], ScoringOptions())
    assert score.reason is None
    expected = benchmark(layers)
    assert score.result.layer == expected.layer == "2"
    assert score.result.layer_scores == pytest.approx(expected.layer_scores, abs=1e-4)
    assert list(score.result.layer_scores) == ["0", "2"]  # the others have a single location
    assert score.result.raw == pytest.approx(expected.raw, abs=1e-4)
    facts = {"run_id": "r", "epoch": 1, "samples_seen": 1, "flops": 1.0, "accuracy": 0.5}
    record = AlignmentRecord.model_validate(facts | score.columns())
    assert (record.status, record.metric, record.ceiling_kind) == ("scored", "spatial", "neuroids")


def benchmark_stimuli():
    return Stimuli(np.zeros((60, 8, 8, 3), np.uint8), tuple(map(str, range(60))), None, "held out")


def test_maps_and_other_metrics_of_the_same_images(subject, rng):
    """Equal stimuli, other needs: each gets what it compares."""
    images = rng.integers(0, 256, (60, 24, 24, 3), dtype=np.uint8)
    shown = Stimuli(images, tuple(map(str, range(60))), None, "60")
    spatial = Benchmark("a.IT", "IT", "spatial", shown, rng.standard_normal((60, 3, 3, 4)), "neuroids")
    ridge = Benchmark("b.IT", "IT", "ridge", shown, rng.standard_normal((1, 60, 4)), "none")
    scores = score_model(subject, [spatial, ridge], ScoringOptions())
    assert {s.benchmark: sorted(s.result.layer_scores) for s in scores} == {
        "a.IT": ["0", "2"],
        "b.IT": ["0", "2", "3", "5"],
    }


def test_failures_keep_their_reasons(subject, rng):
    shown = Stimuli(rng.integers(0, 256, (14, 24, 24, 3), dtype=np.uint8), tuple("abcdefghijklmn"), None, "14")
    benchmark = Benchmark("a.IT", "IT", "spatial", shown, rng.standard_normal((14, 3, 3, 4)), "neuroids")
    for layer, reason in (("5", "no candidate layer has maps"), ("7", "layer '7' is not in Sequential")):
        options = ScoringOptions(Commitment("split", {"IT": layer}, "fixed"))
        (score,) = score_model(subject, [benchmark], options)
        assert reason in score.reason
        assert "a.IT" in score.reason
    (score,) = score_model(subject, [benchmark], ScoringOptions(budget=FeatureBudget(memory_gb=0.001)))
    assert "layer '0': maps of 14 images need 0.00774 GB, more than memory_gb=0.001" in score.reason


def test_maps_without_a_ceiling(folder, rng):
    values = rng.standard_normal((N_IMAGES, 4, 4, 3))
    (alone,) = build_benchmarks([write(folder, values[..., :1])], benchmark_stimuli())
    assert (alone.ceiling_kind, alone.ceiling(True)) == ("none", None)
    values[5] = 1.0
    with pytest.raises(StudyError, match=r"maps\.nc: .*image 5 has fewer than two neuroids whose map varies"):
        check_benchmark_data([write(folder, values)], None)
    with pytest.raises(StudyError, match=r"maps\.nc: .*2 stimuli; needs at least 3"):
        check_benchmark_data([write(folder, values[:2])], None)
    with pytest.raises(StudyError, match=r"maps\.nc: region 'a\.b'"):
        check_benchmark_data([write(folder, values, region="a.b")], None)


def test_the_region_is_it_unless_the_file_says_otherwise(folder, rng):
    arrays = {"maps": rng.standard_normal((3, 4, 4, 3)), "filename": ["0.png", "1.png", "2.png"]}
    np.savez(folder / "maps.npz", **arrays, name="bare", degrees=8.0, images="images")
    name = f"file:{folder / 'maps.npz'}"
    assert benchmark_regions([name]) == {"bare.IT": "IT"}
    assert [b.name for b in build_benchmarks([name], benchmark_stimuli())] == ["bare.IT"]
    np.savez(folder / "maps.npz", **arrays, name="bare", degrees=8.0, images="images", metric="pls")
    with pytest.raises(StudyError, match="metric 'pls' is unknown; write one of spatial"):
        benchmark_regions([name])
