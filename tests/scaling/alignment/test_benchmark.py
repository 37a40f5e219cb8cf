"""The benchmark interface: splits, layer commitment, ceiled scores, refusals."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from pydantic import ValidationError

from scaling.alignment.benchmark import Benchmark, evaluate_layer, split_stimuli
from scaling.alignment.commitment import Commitment
from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.ceilings import ceiled_score, neuroid_ceiling, rdm_ceiling, split_half_ceiling
from scaling.alignment.metrics.error_bars import percentile_interval, split_score
from scaling.alignment.metrics.pls import pls_predictions
from scaling.alignment.metrics.ridge import ridge_cv_predictions
from scaling.alignment.metrics.rsa import rdm, rsa
from scaling.alignment.metrics.rsa_draws import bootstrap_mean_rsa
from scaling.alignment.metrics.splits import StimulusSplit, k_folds, split_correlations, stratified_shuffle_splits
from scaling.alignment.metrics.two_way_draws import two_way_draws
from scaling.alignment.metrics.unit_draws import two_level_interval
from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError


def ridge_score(features, responses):
    """Median over neuroids of r in a fold, mean over five folds."""
    splits = k_folds(len(responses))
    predictions = ridge_cv_predictions(Representation.of(features), responses, splits)
    return split_score(split_correlations(predictions, responses, splits)).score


@pytest.fixture
def signal(stimuli):
    rng = np.random.default_rng(1)
    return rng.standard_normal((len(stimuli), 6))


@pytest.fixture
def ridge_benchmark(stimuli, signal):
    noise = 0.5 * np.random.default_rng(2).standard_normal((8, *signal.shape))
    return Benchmark("test.IT", "IT", "ridge", stimuli, signal + noise, "split_half")


@pytest.fixture
def rsa_benchmark(stimuli, signal):
    rng = np.random.default_rng(3)
    rdms = np.stack([rdm(signal + 0.3 * rng.standard_normal(signal.shape)) for _ in range(6)])
    return Benchmark("test.behavior", "behavior", "rsa", stimuli, rdms, "subjects")


def features_of(signal):
    rng = np.random.default_rng(4)
    return {
        "noise": rng.standard_normal((len(signal), 5)),
        "mixed": np.hstack([signal + rng.standard_normal(signal.shape), rng.standard_normal((len(signal), 5))]),
        "truth": signal,
    }


def test_ridge_result_is_the_formula(ridge_benchmark, signal):
    features = features_of(signal)
    result = ridge_benchmark(features)
    selection, scored = ridge_benchmark.halves
    mean = ridge_benchmark.assembly.mean(axis=0)
    expected = {layer: ridge_score(values[selection], mean[selection]) for layer, values in features.items()}
    assert result.layer == "truth"
    assert result.layer_scores == pytest.approx(expected)
    assert result.selection_raw == pytest.approx(expected["truth"])
    assert result.raw == pytest.approx(ridge_score(signal[scored], mean[scored]))
    assert result.ceiling == pytest.approx(neuroid_ceiling(ridge_benchmark.assembly[:, scored]))
    assert result.score == pytest.approx(result.raw / result.ceiling)
    assert (result.n_stimuli, result.n_neuroids, result.ceiling_kind) == (30, 6, "split_half")
    assert (result.benchmark, result.region, result.metric) == ("test.IT", "IT", "ridge")


def test_rsa_result_is_the_formula(rsa_benchmark, signal):
    result = rsa_benchmark(features_of(signal))
    _, scored = rsa_benchmark.halves
    some = np.ix_(scored, scored)
    assert result.layer == "truth"
    assert result.raw == pytest.approx(rsa(rdm(signal[scored]), rsa_benchmark.assembly.mean(axis=0)[some]))
    assert result.ceiling == pytest.approx(rdm_ceiling(rsa_benchmark.assembly[:, scored][:, :, scored]))
    assert result.n_neuroids is None
    assert result.score == pytest.approx(1.0, abs=0.1)


def test_without_ceiling_the_score_is_raw_and_keeps_its_sign(stimuli, signal):
    published = 2.0 - rdm(signal)[None]
    published[0][np.diag_indices(len(stimuli))] = 0.0
    result = Benchmark("test.one", "IT", "rsa", stimuli, published, "none")({"truth": signal})
    assert result.ceiling is None
    assert result.score == result.raw == pytest.approx(-1.0)


def test_the_layer_is_chosen_without_a_look_at_the_scored_half(ridge_benchmark, signal):
    selection, scored = ridge_benchmark.halves
    rng = np.random.default_rng(5)
    leaky, honest = rng.standard_normal((2, *signal.shape))
    leaky[scored] = signal[scored]
    honest[selection] = signal[selection]
    result = ridge_benchmark({"leaky": leaky, "honest": honest})
    assert result.layer == "honest"
    assert abs(result.raw) < 0.5


def test_equal_layers_go_to_the_first(ridge_benchmark, signal):
    assert ridge_benchmark({"a": signal, "b": signal}).layer == "a"


def test_features_are_flattened_and_float32_is_enough(ridge_benchmark, signal):
    plain = ridge_benchmark({"a": signal})
    other = ridge_benchmark({"a": signal.reshape(60, 3, 2).astype(np.float32)})
    assert other.raw == pytest.approx(plain.raw, abs=1e-5)


def test_constant_features_score_zero(ridge_benchmark, rsa_benchmark):
    for benchmark in (ridge_benchmark, rsa_benchmark):
        result = benchmark({"dead": np.zeros((60, 4), np.float32)})
        assert result.raw == result.score == 0.0


def test_the_ceiling_is_computed_once_and_survives_pickling(ridge_benchmark, signal, monkeypatch):
    first = ridge_benchmark({"a": signal})
    monkeypatch.setattr("scaling.alignment.metrics.ceilings.neuroid_ceiling", None)  # a second computation would fail
    assert ridge_benchmark({"a": signal}) == first
    assert pickle.loads(pickle.dumps(ridge_benchmark))({"a": signal}) == first


def test_read_only_arrays_are_enough(ridge_benchmark, signal):
    signal, assembly = signal.copy(), ridge_benchmark.assembly.copy()
    for array in (signal, assembly):
        array.flags.writeable = False
    assert dataclasses.replace(ridge_benchmark, assembly=assembly)({"a": signal}).raw > 0.5


def test_results_are_frozen(ridge_benchmark, signal):
    with pytest.raises(ValidationError):
        ridge_benchmark({"a": signal}).score = 1.0


@pytest.mark.parametrize("labels", [np.arange(60) % 4, np.arange(60) // 7, np.zeros(60, int), None])
def test_split_is_balanced_by_class_and_seeded(stimuli, labels):
    labelled = dataclasses.replace(stimuli, labels=labels)
    selection, scored = split_stimuli(labelled, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([selection, scored])), np.arange(60))
    assert len(selection) == len(scored) == 30
    if labels is not None:
        counts = [np.bincount(labels[half], minlength=labels.max() + 1) for half in (selection, scored)]
        assert np.abs(counts[0] - counts[1]).max() <= 1
    assert np.array_equal(selection, split_stimuli(labelled, seed=0)[0])
    assert not np.array_equal(selection, split_stimuli(labelled, seed=1)[0])


NOT_FINITE = np.ones((60, 4), np.float32)
NOT_FINITE[7, 1] = np.inf


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({}, ["test.IT", "no features"]),
        ({"layer4": np.ones((59, 3))}, ["test.IT", "'layer4'", "(59, 3)", "60 stimuli", "noise images"]),
        ({"layer4": NOT_FINITE}, ["test.IT", "'layer4'", "1 of 240", "infinite"]),
        ({"layer4": np.ones(60)}, ["'layer4'", "(n_stimuli, ...)"]),
    ],
)
def test_bad_features(ridge_benchmark, features, words):
    with pytest.raises(StudyError) as error:
        ridge_benchmark(features)
    assert all(word in str(error.value) for word in words), error.value


BAD = np.random.default_rng(0).standard_normal((3, 60, 5))
BAD[1, 2, 3] = np.nan


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"region": "a.b"}, ["region 'a.b'", "such as V4, IT, EVC"]),
        ({"metric": "plsr"}, ["metric 'plsr'", "pls, ridge, cka, rsa"]),
        ({"assembly": np.ones((3, 59, 5))}, ["(3, 59, 5)", "60 stimuli"]),
        ({"assembly": np.ones((60, 5))}, ["(60, 5)", "(repetitions, 60 stimuli, neuroids)"]),
        ({"assembly": np.ones((3, 60, 5)), "metric": "rsa"}, ["(3, 60, 5)", "rsa"]),
        ({"assembly": BAD[1:2], "ceiling_kind": "none"}, ["1 stimuli × neuroids", "drop those neuroids"]),
        ({"assembly": np.ones((1, 60, 5))}, ["split_half", "at least 2"]),
    ],
)
def test_bad_benchmarks(ridge_benchmark, change, words):
    with pytest.raises(StudyError) as error:
        dataclasses.replace(ridge_benchmark, **change)
    assert all(word in str(error.value) for word in ["test.IT", *words]), error.value


def test_too_few_stimuli(stimuli):
    few = dataclasses.replace(stimuli, images=stimuli.images[:39], ids=stimuli.ids[:39], labels=None)
    with pytest.raises(StudyError, match="39 stimuli; needs at least 40"):
        Benchmark("test.few", "IT", "ridge", few, np.ones((2, 39, 3)), "split_half")


def test_an_assembly_of_nothing_but_constants_is_refused(stimuli, signal):
    benchmark = Benchmark("test.flat", "IT", "ridge", stimuli, np.ones((2, 60, 3)), "split_half")
    with pytest.raises(StudyError, match="constant over the stimuli"):
        benchmark({"a": signal})


def test_an_unreliable_recording_has_no_ceiling(stimuli, signal):
    opposite = np.stack([signal, -0.9 * signal])
    with pytest.raises(StudyError, match="ceiling 0 on 30 scored stimuli"):
        Benchmark("test.bad", "IT", "ridge", stimuli, opposite, "split_half")({"a": signal})


def test_ridge_regions_together_are_each_alone(stimuli, signal, ridge_benchmark):
    other = dataclasses.replace(
        ridge_benchmark, name="test.V4", region="V4", assembly=ridge_benchmark.assembly[..., :4]
    )
    rep = Representation.of(features_of(signal)["mixed"])
    together = evaluate_layer("mixed", rep, [ridge_benchmark, other], Commitment())
    for benchmark in (ridge_benchmark, other):
        alone = evaluate_layer("mixed", rep, [benchmark], Commitment())[benchmark.name]
        for half in ("selection", "scored"):
            assert getattr(together[benchmark.name], half).raw == pytest.approx(getattr(alone, half).raw, rel=1e-12)


def test_errors_and_intervals_are_the_formulae(ridge_benchmark, rsa_benchmark, signal):
    scored = ridge_benchmark.halves[1]
    result = ridge_benchmark({"truth": signal})
    y, splits = ridge_benchmark.assembly.mean(axis=0)[scored], k_folds(30)
    predictions = ridge_cv_predictions(Representation.of(signal[scored]), y, splits)
    draws = two_way_draws(predictions, y, splits, result.raw, 200, 0)
    assert draws.mean() == pytest.approx(result.raw)
    assert result.raw_error == pytest.approx(draws.std())
    assert (result.raw_low, result.raw_high) == pytest.approx(tuple(percentile_interval(draws)), rel=1e-6)
    assert result.draws == pytest.approx(list(draws))
    assert (result.mapping_samples, result.interval_of) == (24, "stimuli and units")
    rsa_result = rsa_benchmark({"truth": signal})
    targets = rsa_benchmark.assembly[:, scored][:, :, scored]
    draws = bootstrap_mean_rsa(rdm(signal[scored]), targets, "spearman", 200, 0)
    expected = two_level_interval(draws - draws.mean() + rsa_result.raw, 6)
    assert (rsa_result.raw_low, rsa_result.raw_high) == pytest.approx(tuple(expected), rel=1e-6)
    assert (rsa_result.n_subjects, rsa_result.interval_of) == (6, "stimuli and subjects (6)")
    assert rsa_result.raw_error is None


@pytest.fixture
def pls_benchmark():
    rng = np.random.default_rng(8)
    images = rng.integers(0, 256, (120, 8, 8, 3), dtype=np.uint8)
    shown = Stimuli(images, tuple(map(str, range(120))), np.arange(120) % 3, "textures")
    responses = rng.standard_normal((120, 6)) + 0.5 * rng.standard_normal((8, 120, 6))
    responses[5:, ::2] = np.nan  # the even stimuli were repeated five times
    strata = np.array(["a", "b", "c"])[np.arange(120) % 3]
    return Benchmark("test.V2", "V2", "pls", shown, responses, "brain_score", "r2/c", strata)


def test_pls_as_published_on_all_stimuli(pls_benchmark):
    """Brain-Score's own protocol: ten stratified splits of all stimuli, r²/c by its split-half ceiling."""
    latent = np.nanmean(pls_benchmark.assembly[:2], axis=0)
    features = np.tanh(latent @ np.random.default_rng(9).standard_normal((6, 200)))
    result = pls_benchmark({"layer": features}, Commitment("all", {}, "all"))
    target = np.nanmean(pls_benchmark.assembly, axis=0)
    splits = stratified_shuffle_splits(pls_benchmark.strata)
    r = split_correlations(pls_predictions(Representation.of(features), target, splits), target, splits)
    assert result.raw == pytest.approx(np.median(r, axis=1).mean(), rel=1e-9)
    assert result.raw_error == pytest.approx(np.std(result.draws))
    assert result.ceiling == pytest.approx(split_half_ceiling(pls_benchmark.assembly).score)
    assert result.score == pytest.approx(ceiled_score(result.raw, result.ceiling, "r2/c"))
    assert (result.n_stimuli, result.commitment, result.ceiled) == (120, "all", "r2/c")


def test_the_leak_is_what_choosing_on_the_scored_half_would_add(ridge_benchmark, signal):
    rng = np.random.default_rng(11)
    features = {f"noise{i}": rng.standard_normal((60, 4)) for i in range(12)}
    selection, scored = ridge_benchmark.halves
    y = ridge_benchmark.assembly.mean(axis=0)
    on_selection = {name: ridge_score(x[selection], y[selection]) for name, x in features.items()}
    on_scored = {name: ridge_score(x[scored], y[scored]) for name, x in features.items()}
    committed = max(on_selection, key=on_selection.__getitem__)
    for commitment in (Commitment(), Commitment("all", {}, "all")):
        result = ridge_benchmark(features, commitment)
        assert result.selection_leak == pytest.approx(max(on_scored.values()) - on_scored[committed])
        assert result.selection_leak > 0


def test_a_fixed_layer_is_scored_on_all_stimuli_and_not_chosen(ridge_benchmark, rsa_benchmark, signal):
    commitment = Commitment("split", {"IT": "mixed", "test.behavior": "noise"}, "fixed by layers.yaml")
    result = ridge_benchmark(features_of(signal), commitment)
    expected = ridge_score(features_of(signal)["mixed"], ridge_benchmark.assembly.mean(axis=0))
    assert (result.layer, result.n_stimuli, result.commitment) == ("mixed", 60, "fixed by layers.yaml")
    assert result.raw == pytest.approx(expected)
    assert (result.selection_raw, result.selection_leak) == (None, None)
    assert list(result.layer_scores) == ["mixed"]
    assert rsa_benchmark(features_of(signal), commitment).layer == "noise"
    assert result.ceiling == pytest.approx(neuroid_ceiling(ridge_benchmark.assembly))


def test_a_recording_scores_itself_at_its_ceiling_and_noise_at_zero(stimuli):
    rng = np.random.default_rng(12)
    truth = rng.standard_normal((60, 20))
    recording = truth + rng.standard_normal((20, 60, 20))
    benchmark = Benchmark("test.V1", "V1", "ridge", stimuli, recording, "split_half")
    result = benchmark({"truth": truth})
    assert result.score == pytest.approx(1.0, abs=0.05)
    noise = benchmark({"noise": rng.standard_normal((60, 20))})
    assert abs(noise.raw) < 3 * max(noise.raw_error, 0.05)
    assert noise.raw_low < 0 < noise.raw_high


@pytest.mark.parametrize("metric", ["cka", "rsa-pearson", "rsa-whitened"])
def test_other_metrics_rank_layers_alike(stimuli, signal, ridge_benchmark, rsa_benchmark, metric):
    benchmark = ridge_benchmark if metric == "cka" else rsa_benchmark
    result = dataclasses.replace(benchmark, metric=metric, ceiling_kind="none")(features_of(signal))
    assert result.layer == "truth"
    assert result.raw > 0.8


def test_halves_too_small_for_the_metric_leave_only_the_leak_unknown(stimuli, signal):
    responses = signal + 0.5 * np.random.default_rng(3).standard_normal((4, 60, 6))
    benchmark = Benchmark("test.V2", "V2", "pls", stimuli, responses, "split_half")
    features = {"layer": np.tanh(signal @ np.random.default_rng(9).standard_normal((6, 200)))}
    with pytest.raises(StudyError, match="3 held out"):
        benchmark(features)
    result = benchmark(features, Commitment("all", {}, "all"))
    assert (result.n_stimuli, result.selection_leak, result.selection_raw) == (60, None, None)
    assert result.raw > 0.5


def test_folds_fit_on_four_fifths_and_score_the_rest(stimuli):
    """Five times the test stimuli are fitted on 4 parts, against half of half: more stimuli, and no leak."""
    rng = np.random.default_rng(10)
    images = rng.integers(0, 256, (150, 4, 4, 3), dtype=np.uint8)
    shown = Stimuli(images, tuple(map(str, range(150))), np.arange(150) % 3, "more noise")
    signal = rng.standard_normal((150, 6))
    responses = signal + rng.standard_normal((4, 150, 6))
    benchmark = Benchmark("test.IT", "IT", "ridge", shown, responses, "split_half")
    train, test = benchmark.fixed_split
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(150))
    assert np.bincount(shown.labels[test]).tolist() == [10, 10, 10]
    leaky = rng.standard_normal(signal.shape)
    leaky[test] = signal[test]
    result = benchmark({"leaky": leaky, "truth": signal}, Commitment("folds", {}, "folds"))
    assert (result.layer, result.commitment, result.mapping_samples, result.n_stimuli) == ("truth", "folds", 120, 30)
    y = responses.mean(axis=0)
    (predicted,) = ridge_cv_predictions(Representation.of(signal), y, [StimulusSplit(train, test)])
    assert result.raw == pytest.approx(np.median(split_correlations([predicted], y, [StimulusSplit(train, test)])))
    assert result.ceiling == pytest.approx(neuroid_ceiling(responses[:, test]))
    halved = benchmark({"truth": signal})
    assert (halved.commitment, halved.mapping_samples) == ("split", 60)
