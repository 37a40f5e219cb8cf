"""Image-level behavior: the i1, i2 and i2n signatures of Rajalingham et al. (2018), and error consistency. No I/O.

A response matrix p (n_images, n_classes) holds the probability that class c is chosen on image i when c and the truth
of i are offered; it is undefined (NaN) at c = truth. A signature holds d′ of those cells, or its mean over choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from scaling.alignment.numerics import Array, as_matrix, pearson
from scaling.errors import StudyError, known_names

SignatureKind = Literal["i1", "i2", "i2n"]
Index = NDArray[np.intp]
Halves = list[tuple[Array, Array]]

D_PRIME_CAP = 5.0  # Rajalingham et al. (2018): d′ of a perfect cell is infinite
N_HALVINGS, HALVING_SEED = 2, 0  # Brain-Score's
READOUT_C = 1e-3  # inverse penalty of the readout: Brain-Score's


@dataclass(frozen=True, eq=False)
class Trials:
    """Two-alternative forced choices of people: each shows an image, then offers its class and a distractor.

    Attributes:
        image, choice, distractor: (n_trials,) rows of the stimuli and positions in `classes`, in the order of the
            file, which the seeded halvings index.
        truth: (n_images,) class of each image. classes: sorted names, the columns of every response matrix.
    """

    image: Index
    choice: Index
    distractor: Index
    truth: Index
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.image)

    @classmethod
    def of(
        cls,
        stimulus_id: ArrayLike,
        truth: ArrayLike,
        choice: ArrayLike,
        distractor: ArrayLike,
        stimulus_ids: Sequence[str],
    ) -> Trials:
        """Trials from the columns of an assembly, names as published.

        Args:
            stimulus_id, truth, choice, distractor: (n_trials,). stimulus_ids: all images, in the order of the
                model's rows.

        Raises:
            StudyError: columns of different lengths, no trials; a trial on an image that is not in `stimulus_ids`,
                whose choice was not offered or whose distractor is the truth; an image with two truths or no trial.
        """
        columns = [np.asarray(column).astype(str) for column in (stimulus_id, truth, choice, distractor)]
        if len({column.shape for column in columns}) > 1 or columns[0].ndim != 1 or not columns[0].size:
            raise StudyError(f"behavior: columns of {[c.shape for c in columns]} trials; give equal lengths, not empty")
        image = _positions(columns[0], stimulus_ids)
        classes, codes = np.unique(np.stack(columns[1:]), return_inverse=True)
        truths, choices, distractors = codes.reshape(3, -1)
        not_offered = (choices != truths) & (choices != distractors)
        for bad, what in ((not_offered, "a choice that was not offered"), (distractors == truths, "no distractor")):
            if bad.any():
                raise StudyError(f"behavior: {np.count_nonzero(bad):,} of {len(bad):,} trials have {what}; drop them")
        names = tuple(str(name) for name in classes)
        return cls(image, choices, distractors, _one_truth(image, truths, stimulus_ids), names)


class ErrorConsistency(NamedTuple):
    """Cohen's κ of two observers' errors, with the shares of trials on which they agree, and would by chance."""

    kappa: Array
    observed: Array
    expected: Array


def model_responses(probabilities: ArrayLike, truth: Index) -> Array:
    """Response matrix of a model: `p(i, c) = P(c | i) / (P(c | i) + P(truth_i | i))`, NaN at c = truth and at 0/0.

    Args:
        probabilities: (n_images, n_classes) ≥ 0. truth: (n_images,).

    Raises:
        StudyError: images that differ in number, negative or not finite probabilities.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or len(p) != len(truth) or p.shape[1] <= np.max(truth):
        raise StudyError(
            f"behavior: probabilities of shape {p.shape} for {len(truth)} images of {np.max(truth) + 1} classes; "
            "give one row an image, one column a class"
        )
    bad = int(np.count_nonzero(~(np.isfinite(p) & (p >= 0))))
    if bad:
        raise StudyError(f"behavior: {bad:,} of {p.size:,} probabilities are negative or not finite")
    total = p + p[np.arange(len(p)), truth][:, None]
    responses = np.divide(p, total, out=np.full_like(p, np.nan), where=total > 0)
    responses[np.arange(len(p)), truth] = np.nan
    return responses


def human_responses(trials: Trials, subset: Index | slice = slice(None)) -> Array:
    """Response matrix of people: trials on image i with choice c / trials on i that offered c; NaN where none did."""
    image, choice, distractor = trials.image[subset], trials.choice[subset], trials.distractor[subset]
    shape = (len(trials.truth), len(trials.classes))

    def count(classes: Index) -> Array:
        cells = np.bincount(image * shape[1] + classes, minlength=shape[0] * shape[1])
        return cells.reshape(shape).astype(np.float64)

    offered = count(distractor)
    responses = np.divide(count(choice), offered, out=np.full(shape, np.nan), where=offered > 0)
    responses[np.arange(shape[0]), trials.truth] = np.nan
    return responses


def signature(responses: Array, truth: Index, kind: SignatureKind = "i2n") -> Array:
    """Behavioral signature of a response matrix: clipped d′ of every image and choice.

    `d′(i, c) = z(1 − p(i, c)) − z(FAR(i, c))`, clipped to ±5; z the normal quantile; the false-alarm rate
    `FAR(i, c)` is the mean of p(j, truth_i) over the images j whose truth is c. Undefined cells of p are left out of
    that mean; d′ is undefined where p or every term of FAR is, or where both are 0 or 1 with opposite signs (∞ − ∞).

    - `i2`: d′ itself. `i2n`: minus its mean over the images of each (truth, choice). `i1`: mean of d′ over choices.

    Args:
        responses: (n_images, n_classes). truth: (n_images,).

    Returns:
        (n_images, n_classes), or (n_images,) for i1; NaN where undefined.

    Raises:
        StudyError: an unknown kind.

    Source: Rajalingham et al. (2018), J. Neuroscience 38:7255; FAR as a mean of rates over images, not over all trials
    of the distractor, as Brain-Score computes it (Schrimpf et al. 2018, bioRxiv 407007).
    """
    if kind not in get_args(SignatureKind):
        raise StudyError(f"behavior: signature {kind!r}; {known_names(str(kind), get_args(SignatureKind))}")
    rates = _class_means(responses, truth)  # [c, t]: how often t is chosen on images of c
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        d_prime = ndtri(1.0 - responses) - ndtri(rates.T[truth])
    d_prime = np.clip(d_prime, -D_PRIME_CAP, D_PRIME_CAP)
    if kind == "i1":
        defined = np.count_nonzero(~np.isnan(d_prime), axis=1)
        total = np.nansum(d_prime, axis=1)
        return np.divide(total, defined, out=np.full(len(truth), np.nan), where=defined > 0)
    return d_prime - _class_means(d_prime, truth)[truth] if kind == "i2n" else d_prime


def human_halves(
    trials: Trials, kind: SignatureKind = "i2n", n_halvings: int = N_HALVINGS, seed: int = HALVING_SEED
) -> Halves:
    """Signatures of the two random halves of the trials, `n_halvings` times; once a benchmark, for all its models.

    Each halving shuffles all trials, in file order, with one `RandomState(seed)`, and cuts at ⌊n/2⌋: the halves that
    Brain-Score's score and ceiling use.
    """
    random, halves = np.random.RandomState(seed), []
    for _ in range(n_halvings):
        order = np.arange(len(trials), dtype=np.intp)
        random.shuffle(order)
        parts = order[: len(order) // 2], order[len(order) // 2 :]
        first, second = (signature(human_responses(trials, part), trials.truth, kind) for part in parts)
        halves.append((first, second))
    return halves


def behavior_correlations(model: Array, halves: Halves) -> Array:
    """Pearson r of a model's signature with the first half of each halving, over the cells that people define.

    A model whose signature is constant gives 0; NaN where the people's is.

    Returns:
        (n_halvings,)

    Raises:
        StudyError: the model's signature is undefined in a cell that people define: it gives probability 0 both to
            the truth and to the choice, or 1 to the choice. (Brain-Score stops there too.)
    """
    return np.array([_correlate_model(model, first) for first, _ in halves])


def behavior_ceilings(halves: Halves) -> Array:
    """Pearson r of the two halves of each halving over the cells that both define; no Spearman–Brown: (n_halvings,).

    Brain-Score requires that both define the same cells on the private images and, as here, drops the others on the
    public ones.
    """
    return np.array([_correlate(first, second, ~np.isnan(first) & ~np.isnan(second)) for first, second in halves])


def ceiled_behavior(correlations: ArrayLike, ceilings: ArrayLike) -> tuple[float, float]:
    """Score and its error: mean and standard deviation (ddof 0) over halvings of `r / √ceiling`.

    A perfect model correlates with a half of reliability ρ at √ρ, and two such halves with each other at ρ.

    Raises:
        StudyError: a ceiling that is not positive: the people share no reliable signal.
    """
    r, ceiling = np.asarray(correlations, dtype=np.float64), np.asarray(ceilings, dtype=np.float64)
    if not np.all(ceiling > 0):
        raise StudyError(
            f"behavior: ceilings {ceiling.round(4).tolist()}; the halves share no signal; give more trials"
        )
    scores = r / np.sqrt(ceiling)
    return float(scores.mean()), float(scores.std())


def readout_probabilities(train_features: ArrayLike, train_labels: ArrayLike, test_features: ArrayLike) -> Array:
    """Class probabilities of test images by multinomial logistic regression on standardised features.

    `StandardScaler` → `LogisticRegression(C=1e-3, newton-cg)`, fitted on the training images: Brain-Score's readout of
    the penultimate layer, in float64 (there: in the features' float32).

    Args:
        train_features: (n_train, ...). train_labels: (n_train,) at least 3 classes. test_features: (n_test, ...).

    Returns:
        (n_test, n_classes), classes sorted, rows sum to 1.

    Raises:
        StudyError: rows or widths that differ, fewer than 3 classes, values that are not finite.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    train, test = (as_matrix(x).astype(np.float64) for x in (train_features, test_features))
    labels = np.asarray(train_labels)
    if labels.shape != (len(train),) or train.shape[1] != test.shape[1]:
        raise StudyError(
            f"readout: training features {train.shape}, {labels.shape} labels, test features {test.shape}; "
            "give one label a row and the same features"
        )
    if len(np.unique(labels)) < 3:
        raise StudyError(f"readout: {len(np.unique(labels))} classes; the multinomial readout needs at least 3")
    scaler = StandardScaler().fit(train)
    classifier = LogisticRegression(C=READOUT_C, solver="newton-cg").fit(scaler.transform(train), labels)
    return np.asarray(classifier.predict_proba(scaler.transform(test)), dtype=np.float64)


def error_consistency(first: ArrayLike, second: ArrayLike, where: ArrayLike = True) -> ErrorConsistency:
    """Do two observers err on the same images? Cohen's κ of correct and incorrect trials, accuracy aside.

    `κ = (c_obs − c_exp) / (1 − c_exp)`, `c_obs` the share of trials on which both are right or both wrong,
    `c_exp = p₁p₂ + (1 − p₁)(1 − p₂)` that of independent observers with the same accuracies p. 1: the same errors,
    0: as independent, below: more complementary than chance.

    Args:
        first, second: (..., n_trials) whether each response was correct; leading axes (subjects) broadcast.
        where: likewise, the trials that both observers took; κ is NaN where there are none.

    Returns:
        arrays of the leading shape. κ is NaN where both are always right or both always wrong (0/0: no errors to
        compare). The authors' code gives 1 there, which ranks observers by accuracy.

    Raises:
        StudyError: no trials, numbers of trials that differ, or values other than 0 and 1.

    Source: Cohen (1960); Geirhos, Meding & Wichmann (2020), NeurIPS, eq. 1–3; used in Geirhos et al. (2021), NeurIPS.
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.ndim < 1 or b.ndim < 1 or a.shape[-1] != b.shape[-1] or not a.shape[-1]:
        raise StudyError(f"error consistency: trials of shape {a.shape} and {b.shape}; give the same trials of both")
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise StudyError("error consistency: values other than 0 and 1; give whether each response was correct")
    a, b, both = np.broadcast_arrays(a.astype(bool), b.astype(bool), where)
    n = both.sum(axis=-1)
    shares = ((x & both).sum(axis=-1) for x in (a == b, a, b))
    observed, p, q = (np.divide(x, n, out=np.full(n.shape, np.nan), where=n > 0) for x in shares)
    expected = p * q + (1 - p) * (1 - q)
    chance = np.asarray(1.0 - expected)
    kappa = np.divide(observed - expected, chance, out=np.full(chance.shape, np.nan), where=chance > 0)
    return ErrorConsistency(kappa, observed, expected)


def _positions(stimulus_id: NDArray[np.str_], stimulus_ids: Sequence[str]) -> Index:
    """Row of each trial's image in `stimulus_ids`."""
    names = np.asarray(stimulus_ids).astype(str)
    order = np.argsort(names)
    found = np.minimum(np.searchsorted(names[order], stimulus_id), len(names) - 1)
    unknown = stimulus_id != names[order][found]
    if unknown.any():
        raise StudyError(
            f"behavior: {np.count_nonzero(unknown):,} of {len(stimulus_id):,} trials show images that are not among "
            f"the {len(names):,} stimuli, e.g. {stimulus_id[unknown][0]}; give the assembly's own stimuli"
        )
    return order[found]


def _one_truth(image: Index, truths: Index, stimulus_ids: Sequence[str]) -> Index:
    """Class of each image, the same in all its trials."""
    truth = np.full(len(stimulus_ids), -1, dtype=np.intp)
    truth[image] = truths
    conflicting, absent = image[truth[image] != truths], np.flatnonzero(truth < 0)
    for rows, what in ((conflicting, "trials of two truths"), (absent, "no trial")):
        if len(rows):
            raise StudyError(f"behavior: image {stimulus_ids[rows[0]]} has {what}; correct it or leave the image out")
    return truth


def _class_means(values: Array, truth: Index) -> Array:
    """Mean over the images of each class: (n_images, n_classes) → (n_classes, n_classes); NaN left out, or if alone."""
    members = (truth == np.arange(values.shape[1])[:, None]).astype(np.float64)
    defined = ~np.isnan(values)
    totals, counts = members @ np.where(defined, values, 0.0), members @ defined
    return np.divide(totals, counts, out=np.full(totals.shape, np.nan), where=counts > 0)


def _correlate_model(model: Array, human: Array) -> float:
    if model.shape != human.shape:
        raise StudyError(
            f"behavior: signatures of shape {model.shape} and {human.shape}; give the same images, classes"
        )
    cells = ~np.isnan(human)
    bad = int(np.count_nonzero(np.isnan(model) & cells))
    if bad:
        raise StudyError(
            f"behavior: the model's signature is undefined in {bad:,} of the {np.count_nonzero(cells):,} cells that "
            "people define; its probabilities are saturated: keep them between 0 and 1"
        )
    return _correlate(model, human, cells)


def _correlate(first: Array, second: Array, cells: NDArray[np.bool_]) -> float:
    if np.count_nonzero(cells) < 2:
        return float("nan")
    return float(pearson(first[cells][:, None], second[cells][:, None])[0])
