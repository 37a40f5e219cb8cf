"""Behavioral signatures against a slow reading of their definition; error consistency against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, pearsonr
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scaling.alignment.metrics.behavior import (
    Trials,
    behavior_ceilings,
    behavior_correlations,
    ceiled_behavior,
    error_consistency,
    human_halves,
    human_responses,
    model_responses,
    readout_probabilities,
    signature,
)
from scaling.errors import StudyError

KINDS = ("i1", "i2", "i2n")
N_CLASSES, N_PER_CLASS = 5, 6
TRUTH = np.repeat(np.arange(N_CLASSES), N_PER_CLASS)
CLASSES = ("bear", "car", "dog", "elephant", "face")
GOOD = (["a", "b"], ["x", "y"], ["x", "y"], ["y", "x"], ("a", "b"))  # arguments of Trials.of


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def probabilities(rng, strength=2.0):
    logits = rng.standard_normal((len(TRUTH), N_CLASSES)) + strength * np.eye(N_CLASSES)[TRUTH]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def columns(rng, p, n_trials=4000):
    """Trials of an observer whose choices follow p: stimulus, choice, distractor."""
    stimulus = rng.integers(0, len(TRUTH), n_trials)
    distractor = (TRUTH[stimulus] + rng.integers(1, N_CLASSES, n_trials)) % N_CLASSES
    share = p[stimulus, distractor] / (p[stimulus, distractor] + p[stimulus, TRUTH[stimulus]])
    return stimulus, np.where(rng.random(n_trials) < share, distractor, TRUTH[stimulus]), distractor


def trials_of(table):
    return Trials(*table, TRUTH, CLASSES)


def slow_model_responses(p):
    responses = {}
    for i, truth in enumerate(TRUTH):
        for c in range(N_CLASSES):
            responses[i, c] = np.nan if c == truth else p[i, c] / (p[i, c] + p[i, truth])
    return responses


def slow_human_responses(stimuli, choices, distractors):
    responses = {}
    for i, truth in enumerate(TRUTH):
        for c in range(N_CLASSES):
            chosen = offered = 0
            for trial in np.flatnonzero(stimuli == i):
                chosen += choices[trial] == c
                offered += c in (truth, distractors[trial])
            responses[i, c] = chosen / offered if offered and truth != c else np.nan
    return responses


def slow_signature(responses, kind):
    d = {}
    for i, truth in enumerate(TRUTH):
        for c in range(N_CLASSES):
            terms = [responses[j, truth] for j in range(len(TRUTH)) if TRUTH[j] == c]
            terms = [term for term in terms if not np.isnan(term)]
            d[i, c] = np.nan
            if c != truth and terms:
                d[i, c] = np.clip(norm.ppf(1 - responses[i, c]) - norm.ppf(np.mean(terms)), -5, 5)
    if kind == "i2n":
        group_mean = {}
        for t in range(N_CLASSES):
            for c in range(N_CLASSES):
                cells = [d[i, c] for i in range(len(TRUTH)) if TRUTH[i] == t and not np.isnan(d[i, c])]
                group_mean[t, c] = np.mean(cells) if cells else np.nan
        d = {(i, c): value - group_mean[TRUTH[i], c] for (i, c), value in d.items()}
    table = np.array([[d[i, c] for c in range(N_CLASSES)] for i in range(len(TRUTH))])
    return np.array([np.mean(row[~np.isnan(row)]) for row in table]) if kind == "i1" else table


@pytest.mark.parametrize("kind", KINDS)
def test_model_signature_equals_a_slow_reading_of_the_definition(rng, kind):
    p = probabilities(rng)
    fast = signature(model_responses(p, TRUTH), TRUTH, kind)
    np.testing.assert_allclose(fast, slow_signature(slow_model_responses(p), kind), atol=1e-12)


@pytest.mark.parametrize("n_trials", [200, 4000], ids=["undefined cells", "all offered"])
@pytest.mark.parametrize("kind", KINDS)
def test_human_signature_equals_a_slow_reading_of_the_definition(rng, kind, n_trials):
    table = columns(rng, probabilities(rng), n_trials)
    trials = trials_of(table)
    responses, slow = human_responses(trials), slow_human_responses(*table)
    np.testing.assert_allclose(responses, [[slow[i, c] for c in range(N_CLASSES)] for i in range(len(TRUTH))])
    assert np.isnan(responses).sum() == len(TRUTH) if n_trials == 4000 else np.isnan(responses).sum() > len(TRUTH)
    with np.errstate(invalid="ignore"):
        expected = slow_signature(slow, kind)
    np.testing.assert_allclose(signature(responses, trials.truth, kind), expected, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_ceilings_equal_a_slow_reading_of_the_definition(rng, kind):
    p = probabilities(rng)
    table = columns(rng, probabilities(rng), 3000)
    halves = human_halves(trials_of(table), kind)
    random = np.random.RandomState(0)
    model, scores, ceilings = slow_signature(slow_model_responses(p), kind), [], []
    for _ in range(2):
        order = list(range(3000))
        random.shuffle(order)
        with np.errstate(invalid="ignore"):
            first, second = (
                slow_signature(slow_human_responses(*(column[half] for column in table)), kind)
                for half in (order[:1500], order[1500:])
            )
        cells, both = ~np.isnan(first), ~np.isnan(first) & ~np.isnan(second)
        scores.append(pearsonr(model[cells], first[cells]).statistic)
        ceilings.append(pearsonr(first[both], second[both]).statistic)
    fast = behavior_correlations(signature(model_responses(p, TRUTH), TRUTH, kind), halves)
    assert fast == pytest.approx(scores, abs=1e-12)
    assert behavior_ceilings(halves) == pytest.approx(ceilings, abs=1e-12)


def test_halves_are_disjoint_and_odd_trials_go_to_the_second(rng):
    table = columns(rng, probabilities(rng), 41)
    trials = trials_of(table)
    halves = human_halves(trials, "i2")
    assert len(halves) == 2
    again = human_halves(trials, "i2")
    assert all(
        np.array_equal(a, b, equal_nan=True)
        for x, y in zip(halves, again, strict=True)
        for a, b in zip(x, y, strict=True)
    )
    order = np.arange(41)
    np.random.RandomState(0).shuffle(order)
    with np.errstate(invalid="ignore"):
        first = signature(human_responses(trials, order[:20]), trials.truth, "i2")
    np.testing.assert_array_equal(halves[0][0], first)


def test_an_observer_like_the_people_scores_at_the_ceiling_and_a_stranger_at_zero(rng):
    p = probabilities(rng)
    trials = trials_of(columns(rng, p, 60_000))
    halves = human_halves(trials, "i2n")
    ceilings = behavior_ceilings(halves)

    def score(q):
        return ceiled_behavior(behavior_correlations(signature(model_responses(q, TRUTH), TRUTH), halves), ceilings)[0]

    assert score(p) == pytest.approx(1.0, abs=0.03)
    strangers = [score(probabilities(rng)) for _ in range(30)]
    assert abs(np.mean(strangers)) < 4 * np.std(strangers) / np.sqrt(30)


def test_i2n_does_not_see_what_classes_share(rng):
    p = rng.uniform(0.1, 0.6, (len(TRUTH), N_CLASSES))
    p[np.arange(len(TRUTH)), TRUTH] = np.nan
    shifted = norm.cdf(norm.ppf(p) + 0.1 * np.arange(N_CLASSES) + 0.2 * TRUTH[:, None])
    expected = signature(p, TRUTH, "i2n")
    np.testing.assert_allclose(signature(shifted, TRUTH, "i2n"), expected, atol=1e-12)
    defined = ~np.isnan(expected)
    sums = [[expected[(t == TRUTH) & defined[:, c], c].sum() for c in range(N_CLASSES)] for t in range(N_CLASSES)]
    np.testing.assert_allclose(sums, 0, atol=1e-12)


def test_perfect_and_hopeless_cells_are_clipped():
    truth = np.array([0, 0, 1, 1])
    p = np.array([[np.nan, 0.0], [np.nan, 0.5], [0.5, np.nan], [0.5, np.nan]])
    np.testing.assert_array_equal(signature(p, truth, "i2")[:, 1], [5, 0, np.nan, np.nan])
    p[2:, 0] = 0.0  # class 1 is never mistaken for 0: no false alarms, z → −∞
    assert signature(p, truth, "i2")[:2, 1].tolist() == [5, 5]
    p[0, 1] = 1.0  # and image 0 always for 1: −∞ + ∞
    assert np.isnan(signature(p, truth, "i2")[0, 1])
    p[2:, 0] = 0.5
    assert signature(p, truth, "i2")[0, 1] == -5


def test_undefined_cells():
    truth = np.array([0, 0, 1, 1, 2])
    table = [[0, 0, 1], [0, 1, 1], [1, 0, 1], [2, 1, 0], [3, 1, 2], [4, 2, 0]]  # stimulus, choice, distractor
    trials = Trials(*np.array(table).T, truth, tuple("xyz"))
    nan = np.nan
    expected = [[nan, 0.5, nan], [nan, 0, nan], [0, nan, nan], [nan, nan, 0], [0, nan, nan]]
    np.testing.assert_array_equal(human_responses(trials), expected)
    d = signature(human_responses(trials), truth, "i2")
    # d of image d and choice z needs z mistaken for y, which was never offered
    np.testing.assert_array_equal(
        np.isnan(d), np.isnan(expected) | (np.arange(15).reshape(5, 3) == 11) | (truth == 2)[:, None]
    )
    i1 = signature(human_responses(trials), truth, "i1")
    assert np.isnan(i1[[3, 4]]).all()
    assert i1[0] == 5.0


def test_trials_from_names_are_those_of_their_indices(rng):
    stimulus, choice, distractor = columns(rng, probabilities(rng), 500)
    ids, order = np.array([f"im{i:02d}" for i in range(len(TRUTH))]), rng.permutation(len(TRUTH))
    names = np.array(CLASSES)
    trials = Trials.of(ids[stimulus], names[TRUTH[stimulus]], names[choice], names[distractor], list(ids[order]))
    assert trials.classes == CLASSES
    np.testing.assert_array_equal(trials.truth, TRUTH[order])
    np.testing.assert_array_equal(order[trials.image], stimulus)
    np.testing.assert_array_equal(trials.choice, choice)
    np.testing.assert_array_equal(trials.distractor, distractor)


def test_a_model_of_chance_is_constant_and_scores_zero(rng):
    halves = human_halves(trials_of(columns(rng, probabilities(rng))), "i2n")
    uniform = signature(model_responses(np.full((len(TRUTH), N_CLASSES), 0.2), TRUTH), TRUTH)
    np.testing.assert_array_equal(behavior_correlations(uniform, halves), 0.0)


def test_ceiled_score_averages_over_halvings():
    score, error = ceiled_behavior([0.3, 0.4], [0.25, 0.64])
    assert score == pytest.approx((0.6 + 0.5) / 2)
    assert error == pytest.approx(0.05)
    assert ceiled_behavior([-0.3], [0.25])[0] == pytest.approx(-0.6)


def test_people_who_answer_one_trial_each_define_too_few_cells():
    trials = Trials.of(*GOOD)
    assert np.isnan(behavior_ceilings(human_halves(trials))).all()


def test_readout_equals_sklearn():
    data = load_digits()
    x, y = data.data[:600].astype(np.float32), data.target[:600]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, solver="newton-cg"))
    expected = pipeline.fit(x[:400].astype(float), y[:400]).predict_proba(x[400:].astype(float))
    p = readout_probabilities(x[:400].reshape(-1, 8, 8), y[:400], x[400:])
    np.testing.assert_array_equal(p, expected)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert np.mean(p.argmax(axis=1) == y[400:]) > 0.7


def test_readout_is_at_the_minimum_of_the_penalised_multinomial_loss(rng):
    """Gradient of `Σ log-loss + ‖W‖²/(2C)` at W = −C Σ (p − onehot) xᵀ is zero: the stationarity condition."""
    x, y = rng.standard_normal((60, 4)), rng.integers(0, 3, 60)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    p = readout_probabilities(x, y, x)
    weights = -1e-3 * (p - np.eye(3)[y]).T @ z
    logits = np.log(p) - z @ weights.T
    offsets = logits - logits[:, :1]  # intercepts up to one constant a row
    np.testing.assert_allclose(offsets, np.broadcast_to(offsets.mean(axis=0), offsets.shape), atol=1e-3)


def test_error_consistency_equals_cohens_kappa(rng):
    a, b = rng.random((2, 200)) < [[0.7], [0.4]]
    b[:80] = a[:80]
    result = error_consistency(a, b)
    assert result.kappa == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
    assert result.observed == pytest.approx(np.mean(a == b))
    p, q = a.mean(), b.mean()
    assert result.expected == pytest.approx(p * q + (1 - p) * (1 - q))


def test_error_consistency_closed_forms(rng):
    a = np.array([1, 1, 0, 0])
    assert error_consistency(a, a).kappa == 1.0
    assert error_consistency(a, 1 - a).kappa == -1.0
    assert error_consistency(a, [1, 0, 1, 0]).kappa == 0.0
    assert error_consistency(a, np.ones(4)).kappa == 0.0
    assert error_consistency(np.zeros(4), np.ones(4)).kappa == 0.0
    for same in (np.ones(4), np.zeros(4)):
        result = error_consistency(same, same)
        assert np.isnan(result.kappa)
        assert result.observed == result.expected == 1.0


def test_error_consistency_of_several_subjects(rng):
    model, people = rng.random(50) < 0.6, rng.random((4, 50)) < 0.8
    kappas = error_consistency(model, people).kappa
    assert kappas == pytest.approx([cohen_kappa_score(model, person) for person in people], abs=1e-12)
    pairs = error_consistency(people[:, None], people[None]).kappa
    assert pairs.shape == (4, 4)
    np.testing.assert_array_equal(np.diag(pairs), 1.0)


def test_independent_observers_have_no_consistency(rng):
    kappas = error_consistency(rng.random((300, 400)) < 0.8, rng.random((300, 400)) < 0.6).kappa
    assert abs(kappas.mean()) < 4 * kappas.std() / np.sqrt(300)


def trials_but(position, value):
    return lambda: Trials.of(*GOOD[:position], value, *GOOD[position + 1 :])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (trials_but(0, ["a", "q"]), ["1 of 2 trials", "q"]),
        (trials_but(0, ["a"]), ["(1,)", "equal lengths"]),
        (trials_but(2, ["x", "z"]), ["1 of 2 trials", "not offered"]),
        (trials_but(3, ["y", "y"]), ["1 of 2 trials", "no distractor"]),
        (trials_but(4, ("a", "b", "c")), ["image c has no trial"]),
        (trials_but(0, ["a", "a"]), ["image a has trials of two truths"]),
        (lambda: Trials.of([], [], [], [], ("a",)), ["not empty"]),
        (lambda: model_responses(np.ones((3, 2)), np.array([0, 1])), ["(3, 2)", "2 images"]),
        (lambda: model_responses(np.ones((2, 2)), np.array([0, 2])), ["3 classes"]),
        (lambda: model_responses(-np.ones((2, 2)), np.array([0, 1])), ["4 of 4", "negative"]),
        (lambda: signature(np.ones((2, 2)), np.array([0, 1]), "i3"), ["'i3'", "i2n"]),
        (lambda: ceiled_behavior([0.1], [-0.2]), ["-0.2", "no signal"]),
        (lambda: behavior_correlations(np.ones((2, 2)), [(np.ones((3, 2)),) * 2]), ["(2, 2)", "(3, 2)"]),
        (lambda: behavior_correlations(np.full((2, 2), np.nan), [(np.ones((2, 2)),) * 2]), ["4 of the 4", "saturated"]),
        (lambda: readout_probabilities(np.eye(4), [0, 1, 0, 1], np.eye(4)), ["2 classes", "at least 3"]),
        (lambda: readout_probabilities(np.eye(4), [0, 1, 2], np.eye(4)), ["(3,) labels"]),
        (lambda: readout_probabilities(np.eye(4), [0, 1, 2, 1], np.eye(5)), ["(4, 4)", "(5, 5)"]),
        (lambda: error_consistency([1, 0], [1, 0, 1]), ["(2,)", "(3,)"]),
        (lambda: error_consistency([], []), ["(0,)"]),
        (lambda: error_consistency([0.5, 1], [1, 0]), ["0 and 1"]),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(StudyError) as error:
        call()
    assert all(word in str(error.value) for word in words), error.value
