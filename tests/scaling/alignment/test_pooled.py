"""Benchmarks of several subjects: whose layer, whose mean, which ceiling; the noiseless signal scores 1."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from scaling.alignment.benchmark import Benchmark, evaluate_layer
from scaling.alignment.commitment import Commitment
from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.error_bars import split_score
from scaling.alignment.metrics.mapping_sizes import MappingSizes
from scaling.alignment.metrics.subjects import SubjectAssembly, group_folds
from scaling.alignment.numerics import pearson
from scaling.alignment.pooled import PooledBenchmark
from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError

N, TEST = 200, np.arange(0, 200, 5)
TRAIN = np.setdiff1d(np.arange(N), TEST)


@pytest.fixture(scope="module")
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (N, 4, 4, 3), dtype=np.uint8)
    return Stimuli(pixels, tuple(map(str, range(N))), None, "noise")


@pytest.fixture(scope="module")
def signal():
    return np.random.default_rng(1).standard_normal((N, 12))


def assembly(signal, subject="N", noise=1.0, seed=2, n_repetitions=8, n_units=40, **changes):
    """Units that are sums of the signal; the mean over repetitions has reliability n / (n + noise²)."""
    rng = np.random.default_rng(seed)
    truth = signal @ rng.standard_normal((signal.shape[1], n_units))
    spread = noise * truth.std(axis=0)
    repeats = truth + spread * rng.standard_normal((n_repetitions, *truth.shape))
    test = changes.get("test", TEST)
    given = {"repetitions": repeats if test is None else repeats[:, test], "test": test}
    return SubjectAssembly(subject, repeats.mean(axis=0), **(given | changes))


def pooled(images, *assemblies, metric="ridge_units", kind="split_half", ceiled="r/c"):
    parts = [
        Benchmark("two.V4", "V4", metric, images, one, kind, ceiled, part=f"{one.subject}{i}")
        for i, one in enumerate(assemblies)
    ]
    return PooledBenchmark(tuple(parts))


def score(benchmark, features, commitment=None, resamples=50):
    commitment = commitment or Commitment()
    found = {part.key: {} for part in benchmark.parts}
    for layer, values in features.items():
        for key, evaluation in evaluate_layer(layer, Representation.of(values), benchmark.parts, commitment).items():
            found[key][layer] = evaluation
    return benchmark.commit(found, commitment, resamples)


def test_the_score_is_the_mean_over_subjects(images, signal):
    noisy, clean = assembly(signal, "N", noise=4.0), assembly(signal, "F", noise=0.5, seed=3)
    result = score(pooled(images, noisy, clean, metric="ridge_split"), {"truth": signal})
    raws = {}
    for one in (noisy, clean):
        predicted = Ridge(alpha=1.0).fit(signal[TRAIN], one.responses[TRAIN]).predict(signal[TEST])
        raws[one.subject] = float(np.median(pearson(predicted, one.responses[TEST])))
    assert {name: s["raw"] for name, s in result.subject_scores.items()} == pytest.approx(raws)
    assert result.raw == pytest.approx(np.mean(list(raws.values())))
    scores = [s["raw"] / s["ceiling"] for s in result.subject_scores.values()]
    assert result.score == pytest.approx(np.mean(scores))
    assert (result.n_subjects, result.n_neuroids, result.n_stimuli, result.mapping_samples) == (2, 80, 40, 160)
    assert result.interval_of == "stimuli and units; N and F alone"
    assert result.raw_low < result.raw < result.raw_high


def test_sessions_of_a_subject_pool_their_units(images, signal):
    first, second = assembly(signal, "N", n_units=30), assembly(signal, "N", noise=3.0, seed=4, n_units=7)
    alone = [score(pooled(images, one), {"truth": signal}) for one in (first, second)]
    together = score(pooled(images, first, second), {"truth": signal})
    assert (together.n_subjects, together.n_neuroids) == (1, 37)
    low, high = sorted(result.raw for result in alone)
    assert low < together.raw < high
    assert abs(together.raw - high) < abs(together.raw - low)  # the median is that of the larger session


@pytest.mark.parametrize(("kind", "ceiled"), [
    (kind, ceiled)
    for kind in ("split_half", "brain_score", "published", "assumed_noise")
    for ceiled in ("r/c", "mean r/c", "r2/c")
])  # fmt: skip
@pytest.mark.parametrize("folds", [False, True])
def test_the_noiseless_signal_scores_one_by_every_convention(images, kind, ceiled, folds):
    signal = np.random.default_rng(5).standard_normal((N, 3))  # few features: the mapping loses little
    changes = {"test": None, "groups": np.arange(N) // 20} if folds else {}
    one = assembly(signal, noise=2.0, n_units=60, **changes)
    reliability = 8 / (8 + 2.0**2)
    if kind == "published":
        one = dataclasses.replace(one, ceilings=np.full(60, np.sqrt(reliability)))
    if kind == "assumed_noise":
        truth = signal @ np.random.default_rng(2).standard_normal((3, 60))
        one = dataclasses.replace(one, noise=4.0 * truth.var(axis=0) / 8)
    result = score(pooled(images, one, kind=kind, ceiled=ceiled), {"truth": signal}, resamples=0)
    assert result.score == pytest.approx(1.0, abs=0.06)
    if kind == "brain_score" and not folds:
        published = score(pooled(images, one, kind=kind, ceiled="r2/c2"), {"truth": signal}, resamples=0)
        assert published.score == pytest.approx(1 / reliability, abs=0.1)


def test_the_layer_is_chosen_inside_the_training_stimuli(images, signal):
    rng = np.random.default_rng(6)
    leaky, honest = rng.standard_normal((2, *signal.shape))
    leaky[TEST], honest[TRAIN] = signal[TEST], signal[TRAIN]
    result = score(pooled(images, assembly(signal), assembly(signal, "F", seed=9)), {"leaky": leaky, "honest": honest})
    assert (result.layer, result.commitment) == ("honest", "folds")
    assert result.selection_raw > 0.5 > abs(result.raw)


def test_groups_stay_whole_and_every_fold_is_scored_by_the_others_layer(images, signal):
    groups = np.arange(N) // 20
    one = assembly(signal, test=None, groups=groups)
    assert sorted(np.unique(groups[split.test]).tolist() for split in one.splits) == [[i] for i in range(10)]
    for split in one.splits:
        assert not np.intersect1d(groups[split.train], groups[split.test]).size
    part = signal.copy()
    part[groups == 0] = 0.0  # best over the folds but one, so that this one is scored with it
    other = signal + 0.3 * np.random.default_rng(7).standard_normal(signal.shape)
    result = score(pooled(images, one, metric="ridge_split"), {"part": part, "other": other}, resamples=0)
    folds = {}
    for split in one.splits:
        layer = part if groups[split.test[0]] == 0 else other
        predicted = Ridge(1.0).fit(layer[split.train], one.responses[split.train]).predict(layer[split.test])
        folds[groups[split.test[0]]] = np.median(pearson(predicted, one.responses[split.test]))
    assert (result.layer, folds[0]) == ("other", 0.0)
    assert result.raw == pytest.approx(np.mean(list(folds.values())))


def test_folds_by_brute_force():
    groups = np.array([0] * 9 + [1] * 5 + [2] * 4 + [3] * 6)
    folds = group_folds(groups, 2)
    assert sorted(len(fold.test) for fold in folds) == [11, 13]
    assert np.array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(24))
    with pytest.raises(StudyError, match="1 group of stimuli"):
        group_folds(np.zeros(20), 5)
    with pytest.raises(StudyError, match="leave 1 stimuli in one"):
        group_folds(np.arange(6), 6)


def test_the_mapping_curve_is_that_of_fits_on_fewer_stimuli(images, signal):
    sizes = MappingSizes((30, 80, "all"), 2)
    noise = np.random.default_rng(8).standard_normal((N, 30))
    features = np.hstack([signal, noise])
    one = dataclasses.replace(assembly(signal), sizes=sizes)
    result = score(pooled(images, one, metric="ridge_split"), {"layer": features})
    found = {(row["mapping_samples"], row["seed"]): row["raw"] for row in result.mapping_curve}
    expected = {}
    for n in (30, 80):
        for seed in (0, 1):
            train = TRAIN[np.random.default_rng(seed).permutation(len(TRAIN))[:n]]
            predicted = Ridge(alpha=1.0).fit(features[train], one.responses[train]).predict(features[TEST])
            expected[n, seed] = np.median(pearson(predicted, one.responses[TEST]))
    assert found == pytest.approx(expected)
    assert max(found[30, 0], found[30, 1]) < min(found[80, 0], found[80, 1]) < result.raw
    assert result.mapping_samples == 160


def test_sizes_of_recordings_with_unequal_numbers_of_stimuli(images, signal):
    """The least number of training stimuli, of 160 and 180, is a size of the curve; more are refused."""
    both = pooled(images, assembly(signal), assembly(signal, "F", test=TEST[:20]))
    result = score(both.with_sizes(MappingSizes((30, 160), 2)), {"layer": signal})
    assert [(row["mapping_samples"], row["seed"]) for row in result.mapping_curve] == [
        (30, 0), (30, 1), (160, 0), (160, 1)
    ]  # fmt: skip
    with pytest.raises(StudyError, match=r"two.V4.*exceeds the 160 training stimuli"):
        both.with_sizes(MappingSizes((161,), 1))


def test_a_fixed_layer_and_a_choice_on_what_is_scored(images, signal):
    rng = np.random.default_rng(6)
    leaky = rng.standard_normal(signal.shape)
    leaky[TEST] = signal[TEST]
    benchmark, features = pooled(images, assembly(signal)), {"noise": rng.standard_normal(signal.shape), "t": signal}
    fixed = score(benchmark, {"noise": features["noise"]}, Commitment("split", {"V4": "noise"}, "fixed by f"))
    assert (fixed.layer, fixed.commitment, fixed.selection_raw) == ("noise", "fixed by f", None)
    assert score(benchmark, features, Commitment("all", {}, "all")).commitment == "all"


def test_ceilings_are_those_of_each_folds_held_out_stimuli(signal):
    one = assembly(signal, test=None, groups=np.arange(N) // 20)
    rows = one.fold_ceilings("split_half")
    assert rows.shape == (10, 40)
    assert np.sqrt(8 / 9) == pytest.approx(np.nanmedian(rows), abs=0.03)
    assert split_score(rows).score == pytest.approx(0.94, abs=0.03)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"responses": np.ones((199, 5))}, ["(199, 5)", "200 stimuli"]),
        ({"responses": np.full((200, 5), np.nan)}, ["not finite"]),
        ({"test": np.arange(200)}, ["200 of 200 stimuli held out"]),
        ({"groups": np.arange(200) // 7}, ["group 0", "torn apart"]),
        ({"repetitions": np.ones((3, 39, 40))}, ["(3, 39, 40)", "(n, 40, 40)"]),
        ({"repetitions": None}, ["at least 2"]),
    ],
)
def test_bad_assemblies(images, signal, changes, words):
    with pytest.raises(StudyError) as error:
        pooled(images, dataclasses.replace(assembly(signal), **changes))
    assert all(word in str(error.value) for word in ["two.V4", *words]), error.value


def test_parts_have_to_fit_each_other(images, signal):
    with pytest.raises(StudyError, match="parts differ"):
        pooled(images, assembly(signal), assembly(signal, "F", test=None))
    with pytest.raises(StudyError, match="none"):
        PooledBenchmark(())
    beyond = pooled(images, dataclasses.replace(assembly(signal), sizes=MappingSizes((161,), 1)))
    with pytest.raises(StudyError, match="exceeds the 160 training stimuli"):
        score(beyond, {"truth": signal})
