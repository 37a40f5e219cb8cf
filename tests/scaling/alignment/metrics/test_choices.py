"""People's choices: closed forms, scikit-learn's κ, ceilings that the truth reaches, classes mapped to categories."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from scaling.alignment.metrics.categories import CATEGORIES, CategoryMap, imagenet_categories, named_categories
from scaling.alignment.metrics.choices import (
    CHOICE_METRICS,
    UNSEEN,
    WRONG,
    Decisions,
    Judgments,
    entropy,
    halve,
    human_kappa,
    human_shape_bias,
    model_kappa,
)
from scaling.errors import StudyError

N, C = 400, 6
ALL = np.arange(N)


@pytest.fixture(scope="module")
def truth():
    """What people would choose on average, and 50 judgments an image."""
    rng = np.random.default_rng(0)
    label = np.arange(N) % C
    alike = rng.standard_normal((C, C))
    logits = 4.0 * rng.random((N, 1)) * np.eye(C)[label] + alike[label] + 0.3 * rng.standard_normal((N, C))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return p, Judgments(np.stack([rng.multinomial(50, row) for row in p]).astype(float), label)


def evaluated(metric, probabilities, judged):
    (evaluation,) = CHOICE_METRICS[metric].evaluate(probabilities, [judged], None)
    return evaluation


@pytest.mark.parametrize("metric", ["cross-entropy", "confusions", "errors"])
def test_the_truth_reaches_the_ceiling(truth, metric):
    p, judged = truth
    raw, ceiling = evaluated(metric, p, judged).raw, CHOICE_METRICS[metric].ceiling(judged, "halves")
    assert raw / ceiling == pytest.approx(1.0, abs=0.03)
    other = np.random.default_rng(1).dirichlet(np.ones(C), N)
    assert evaluated(metric, other, judged).raw < 0.3 * raw


def test_closed_forms(truth):
    p, judged = truth
    uniform = np.full((N, C), 1 / C)
    assert evaluated("cross-entropy", uniform, judged).raw == pytest.approx(0.0, abs=1e-12)
    share = judged.counts / 50
    likelihood = np.exp(np.mean(np.sum(share * np.log(p), axis=1)))
    assert evaluated("cross-entropy", p, judged).raw == pytest.approx((likelihood - 1 / C) / (1 - 1 / C))
    sure = np.eye(C)[(judged.truth + 1) % C]
    assert evaluated("cross-entropy", sure, judged).raw == pytest.approx(-1 / (C - 1))  # the least there is
    wrong = [1 - x[ALL, judged.truth] for x in (p, share)]
    assert evaluated("errors", p, judged).raw == pytest.approx(spearmanr(*wrong).statistic)
    cells = [[x[judged.truth == t, c].mean() for t in range(C) for c in range(C) if c != t] for x in (p, share)]
    assert evaluated("confusions", p, judged).raw == pytest.approx(np.corrcoef(*cells)[0, 1])


def test_the_entropys_bias_is_taken_off_by_halves():
    """Of a fair die thrown 50 times, 400 times over: plug-in entropy falls short by (C − 1) / 2n."""
    rng = np.random.default_rng(2)
    judged = Judgments(rng.multinomial(50, np.full(C, 1 / C), N).astype(float), np.zeros(N, int))
    assert np.log(C) - entropy(judged.counts) == pytest.approx((C - 1) / 100, abs=0.005)
    assert CHOICE_METRICS["cross-entropy"].ceiling(judged, "halves") == pytest.approx(0.0, abs=0.004)


def test_halves_deal_every_judgment_once():
    counts = np.random.default_rng(3).integers(0, 9, (30, 4)).astype(float)
    for first, second in halve(counts, 5):
        np.testing.assert_array_equal(first + second, counts)
        np.testing.assert_array_equal(first.sum(axis=1), counts.sum(axis=1) // 2)


def test_draws_are_centred_paired_and_as_wide_as_new_images(truth):
    p, judged = truth
    one, same = (evaluated("errors", p, judged).draws(200, 3) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert one.mean() == pytest.approx(evaluated("errors", p, judged).raw)
    rng, fresh = np.random.default_rng(5), []
    for _ in range(60):
        part = rng.permutation(N)[:200]
        fresh.append(evaluated("errors", p[part], Judgments(judged.counts[part], judged.truth[part])).raw)
    assert one.std() == pytest.approx(np.std(fresh) * np.sqrt(200 / N) / np.sqrt(1 - 200 / N), rel=0.3)


def decisions(texture=None):
    rng = np.random.default_rng(4)
    label = rng.integers(0, 16, 120)
    chosen = np.where(rng.random((5, 120)) < 0.7, label, rng.integers(0, 16, (5, 120)))
    chosen[0, :9], chosen[1, 5:20] = WRONG, UNSEEN
    return Decisions(chosen, label, CategoryMap(), texture)


def test_kappa_is_scikit_learns():
    of, mine = decisions(), np.random.default_rng(5).integers(0, 16, 120)
    found = model_kappa(mine, of, np.arange(120))
    for one, kappa in zip(of.choices, found, strict=True):
        there = one != UNSEEN
        expected = cohen_kappa_score((mine == of.truth)[there], (one == of.truth)[there])
        assert kappa == pytest.approx(expected)
    pairs = []
    for i in range(5):
        for j in range(i):
            both = (of.choices[i] != UNSEEN) & (of.choices[j] != UNSEEN)
            right = [(of.choices[k] == of.truth)[both] for k in (i, j)]
            pairs.append(cohen_kappa_score(*right))
    assert human_kappa(of) == pytest.approx(np.mean(pairs))


def test_kappa_is_taken_within_conditions():
    """Conditions of unlike difficulty: over all images together, errors seem to agree."""
    rng, n = np.random.default_rng(6), 4000
    condition, label = np.repeat([0, 1], n // 2), rng.integers(0, 16, n)
    right = rng.random((4, n)) < np.where(condition, 0.95, 0.2)
    choices = np.where(right, label, (label + 1) % 16)
    choices[2, condition == 1] = UNSEEN  # one who saw a condition alone
    of = Decisions(choices[:3], label, CategoryMap(), condition=condition)
    found = model_kappa(choices[3], of, np.arange(n))
    parts = of.conditions(np.arange(n))
    kappas = [[cohen_kappa_score(right[3][p], right[person][p]) for p in parts] for person in (0, 1)]
    np.testing.assert_allclose(found[:2], np.mean(kappas, axis=1))
    assert found[2] == pytest.approx(cohen_kappa_score(right[3][parts[0]], right[2][parts[0]]))
    pairs = [(0, 1, 0), (0, 1, 1), (0, 2, 0), (1, 2, 0)]  # two people and a condition that both saw
    expected = [cohen_kappa_score(right[i][parts[c]], right[j][parts[c]]) for i, j, c in pairs]
    assert human_kappa(of) == pytest.approx(np.mean(expected))
    assert abs(human_kappa(of)) < 0.05 < 0.5 < human_kappa(Decisions(choices[:2], label, CategoryMap()))


def test_observers_without_errors_agree_on_none():
    of = Decisions(np.zeros((2, 30), int), np.zeros(30, int), CategoryMap())
    np.testing.assert_array_equal(model_kappa(np.zeros(30, int), of, np.arange(30)), [0.0, 0.0])


def test_shape_bias_counts_choices_of_either_cue_where_they_differ():
    shape, texture = np.array([0, 0, 1, 1, 2]), np.array([3, 3, 4, 1, 5])
    people = Decisions(np.array([[0, 3, 1, 1, 7], [0, 0, 4, 4, 2]]), shape, CategoryMap(), texture)
    assert human_shape_bias(people) == pytest.approx(5 / 7)  # 0, 0 0, 1, 2 against 3, 4
    probabilities = np.zeros((5, 1000))
    classes = imagenet_categories()
    for row, category in enumerate((0, 3, 4, 1, 9)):
        probabilities[row, classes.classes[category]] = 1.0
    assert evaluated("shape-bias", probabilities, people).raw == pytest.approx(1 / 3)


def test_imagenets_classes():
    mapped = imagenet_categories()
    sizes = dict(zip(CATEGORIES, map(len, mapped.classes), strict=True))
    assert sizes == {
        "airplane": 1, "bear": 4, "bicycle": 2, "bird": 49, "boat": 5, "bottle": 7, "car": 3, "cat": 6, "chair": 4,
        "clock": 3, "dog": 109, "elephant": 2, "keyboard": 2, "knife": 1, "oven": 1, "truck": 8,
    }  # fmt: skip
    together = np.concatenate(mapped.classes)
    assert len(np.unique(together)) == len(together)
    assert (mapped.classes[0][0], mapped.classes[8].tolist()) == (404, [423, 559, 765, 857])


def test_decisions_by_the_mean_over_a_categorys_classes():
    probabilities = np.zeros((1, 1000))
    probabilities[0, [404, 281, 282]] = 0.2, 0.35, 0.35  # a cat's 6 classes share 0.7, the airplane has one
    assert CATEGORIES[imagenet_categories().decide(probabilities)[0]] == "airplane"


def test_cifars_classes():
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    mapped = CategoryMap(names).of(10)
    assert [CATEGORIES[i] for i in mapped.categories] == ["airplane", "bird", "boat", "car", "cat", "dog", "truck"]
    decided = [CATEGORIES[i] for i in mapped.decide(np.eye(10))]
    assert [decided[i] for i in (0, 1, 8, 9)] == ["airplane", "car", "boat", "truck"]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: named_categories(("rose", "tulip")), ["2 classes", "rose, tulip", "airplane, bear"]),
        (lambda: CategoryMap().of(10), ["10 classes", "0 names"]),
        (lambda: CategoryMap(("cat",)).of(10), ["10 classes", "1 names"]),
        (lambda: evaluated("errors", np.ones((N, 5)) / 5, Judgments(np.ones((N, C)), ALL % C)), ["5 classes", "6"]),
    ],
)
def test_bad_input(ask, words):
    with pytest.raises(StudyError) as error:
        ask()
    assert all(word in str(error.value) for word in words), error.value
