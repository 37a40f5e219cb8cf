"""Suite simulated-ventral-stream: simulated neuroids and subjects on a study's own held-out images.

No recording enters here. Every constant below is an assumption, chosen so that the truth is known (the generating
features score at ceiling, noise scores 0) and the regions differ as the ventral stream's do:

- V1: simple and complex Gabor cells (Jones & Palmer 1987; Adelson & Bergen 1985), in proportion to the image.
- V2: conjunctions of two nearby V1 orientations (after Ito & Komatsu 2004).
- V4: rectified sums of V2 units over a wide field (after Cadieu et al. 2007).
- IT: tuning to the true category, stronger for easy images, plus V4 structure within the category.
- behavior: choices of simulated subjects, who confuse alike categories, and more so on hard images.

What is easy, and which categories are alike, is decided by an ideal observer: a leave-one-out ridge decoder of the
category from V2 and V4 units.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scaling.alignment.benchmark import Benchmark
from scaling.alignment.features.representation import Representation
from scaling.alignment.metrics.rsa import rdm
from scaling.alignment.numerics import Array
from scaling.alignment.regions import REGIONS
from scaling.data.recordings.stimuli import Stimuli
from scaling.errors import StudyError

SUITE = "simulated-ventral-stream"

N_NEUROIDS = 48
N_REPETITIONS = 10
NOISE_VARIANCE = 1.0  # of one repetition, in units of a neuroid's signal variance: ceiling √(10/11) = .953

MAX_RESOLUTION = 32  # pixels a side that the simulated retina resolves; larger images are averaged down
WAVELENGTHS = np.array([3 / 8, 3 / 4])  # of the Gabors, in image sides: 3 and 6 pixels of an 8×8 image
N_ORIENTATIONS = 4
N_UNITS = 256  # V2 and V4 units to draw neuroids from

CATEGORY_SHARE = 0.85  # of the IT signal's variance; the rest is structure within the category
N_SUBJECTS = 12
N_TRIALS = 30  # choices a subject makes on each image
TRUE_LOGIT, LIKENESS_LOGIT = 4.0, 1.0  # evidence for the true category, and for one a standard deviation more alike
SUBJECT_LOGIT = 0.5  # standard deviation of a subject's own error of perception


def build_simulated(heldout: Stimuli) -> list[Benchmark]:
    """The five simulated benchmarks on held-out images; deterministic in the images and labels.

    Args:
        heldout: with labels, of at least 2 categories.

    Raises:
        StudyError: no labels, or a single category.
    """
    _check_labels(heldout)
    features = region_features(heldout)
    return [
        Benchmark(f"{SUITE}.{region}", region, "ridge", heldout, _record(features[region], index), "split_half")
        for index, region in enumerate(REGIONS[:4])
    ] + [Benchmark(f"{SUITE}.behavior", "behavior", "rsa", heldout, _judge(features["behavior"]), "subjects")]


def region_features(stimuli: Stimuli) -> dict[str, Array]:
    """The noiseless truth behind each region: what the simulated recordings are made of.

    Args:
        stimuli: with labels.

    Returns:
        V1 to IT: (n_stimuli, N_NEUROIDS) responses without noise; behavior: (n_stimuli, n_categories) probabilities of
        choosing each category, before any subject's error.
    """
    rng = np.random.default_rng(2008)
    assert stimuli.labels is not None
    simple, energy = _gabor_responses(_luminance(stimuli.images))
    v1_units = np.concatenate([simple.reshape(len(stimuli), -1), energy.reshape(len(stimuli), -1)], axis=1)
    v1 = _draw_neuroids(v1_units, rng)  # first: refuses images that drive no cell
    v2_units = _conjunctions(energy, rng)
    v4_units = _rectified_sums(v2_units, rng)
    _, labels = np.unique(stimuli.labels, return_inverse=True)
    evidence = _ideal_observer(np.concatenate([v2_units, v4_units], axis=1), labels)
    ease = _ease(evidence, labels)
    return {
        "V1": v1,
        "V2": _draw_neuroids(v2_units, rng),
        "V4": _draw_neuroids(v4_units, rng),
        "IT": _category_neuroids(v4_units, ease, labels, rng),
        "behavior": _softmax(_choice_logits(evidence, ease, labels)),
    }


def _luminance(images: NDArray[np.uint8]) -> Array:
    """(n, h, w, 3) → (n, ≤ 32, ≤ 32) in [0, 1], averaged over boxes when larger."""
    grey = images.mean(axis=-1) / 255.0
    rows, columns = (_box_average(size) for size in grey.shape[1:])
    return rows @ grey @ columns.T


def _box_average(size: int) -> Array:
    """(min(size, 32), size) matrix: each output pixel is the mean of the inputs that it covers, edges shared."""
    n = min(size, MAX_RESOLUTION)
    edges, pixels = np.linspace(0, size, n + 1), np.arange(size)
    low, high = edges[:-1, None], edges[1:, None]
    return np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None) * n / size


def _gabor_responses(luminance: Array) -> tuple[Array, Array]:
    """Simple (rectified even) and complex (energy) cells: two (n, scales, orientations, grid, grid) arrays."""
    n, height, width = luminance.shape
    pixels, grid = luminance.reshape(n, -1), min(8, height, width)
    simple, energy = [], []
    for wavelength in WAVELENGTHS * min(height, width):
        even, odd = (pixels @ _gabors(height, width, wavelength, grid, phase).T for phase in (0.0, np.pi / 2))
        simple.append(np.maximum(even, 0.0))
        energy.append(np.hypot(even, odd))
    shape = (n, 2, N_ORIENTATIONS, grid, grid)
    return np.stack(simple, axis=1).reshape(shape), np.stack(energy, axis=1).reshape(shape)


def _gabors(height: int, width: int, wavelength: float, grid: int, phase: float) -> Array:
    """(orientations · grid², height · width) Gabor filters, zero mean, unit norm; σ is half the wavelength (pixels)."""
    y, x = np.mgrid[:height, :width].reshape(2, 1, 1, -1)
    centres = (np.arange(grid) + 0.5) / grid
    cy, cx = np.meshgrid(centres * height - 0.5, centres * width - 0.5, indexing="ij")
    dy, dx = y - cy.reshape(1, -1, 1), x - cx.reshape(1, -1, 1)
    angle = (np.arange(N_ORIENTATIONS) * np.pi / N_ORIENTATIONS).reshape(-1, 1, 1)
    along = dx * np.cos(angle) + dy * np.sin(angle)
    envelope = np.exp(-(dx**2 + dy**2) / (2 * (wavelength / 2) ** 2))
    gabor = envelope * np.cos(2 * np.pi * along / wavelength + phase)
    gabor -= envelope * (gabor.sum(axis=-1, keepdims=True) / envelope.sum(axis=-1, keepdims=True))
    gabor /= np.linalg.norm(gabor, axis=-1, keepdims=True)
    return gabor.reshape(-1, height * width)


def _conjunctions(energy: Array, rng: np.random.Generator) -> Array:
    """V2 units (n, N_UNITS): geometric mean of two V1 energies, other orientation, at most one grid step apart."""
    _, scales, orientations, grid, _ = energy.shape
    scale = rng.integers(scales, size=N_UNITS)
    first = rng.integers(orientations, size=N_UNITS)
    second = (first + rng.integers(1, orientations, size=N_UNITS)) % orientations
    at = rng.integers(grid, size=(2, N_UNITS))
    near = np.clip(at + rng.integers(-1, 2, size=(2, N_UNITS)), 0, grid - 1)
    return np.sqrt(energy[:, scale, first, at[0], at[1]] * energy[:, scale, second, near[0], near[1]])


def _rectified_sums(v2_units: Array, rng: np.random.Generator, n_inputs: int = 16) -> Array:
    """V4 units (n, N_UNITS): ReLU of random sums of 16 standardised V2 units; about a third of the images drive one."""
    standard = _standardise(v2_units)
    inputs = np.argsort(rng.random((N_UNITS, standard.shape[1])), axis=1)[:, :n_inputs]
    weights = np.zeros((N_UNITS, standard.shape[1]))
    np.put_along_axis(weights, inputs, rng.standard_normal((N_UNITS, n_inputs)), axis=1)
    return np.maximum(_standardise(standard @ weights.T) - 0.4, 0.0)


def _ideal_observer(units: Array, labels: NDArray[np.intp]) -> Array:
    """Evidence for each category in each image, (n, n_categories): ridge onto category indicators, leave-one-out.

    With hat matrix H, the prediction without image i is `y_i − (y_i − ŷ_i) / (1 − H_ii)`; the penalty is the kernel's
    mean eigenvalue.
    """
    members = _members(labels)
    kernel = Representation.of(_standardise(units)).kernel
    n, penalty = len(kernel), np.trace(kernel) / len(kernel)
    hat = 1.0 / n + np.linalg.solve(kernel + penalty * np.eye(n), kernel)
    return members - (members - hat @ members) / (1.0 - np.diag(hat))[:, None]


def _ease(evidence: Array, labels: NDArray[np.intp]) -> Array:
    """How easy each image is, in [0.5, 1.5]: a logistic function of the evidence for its true category, (n,)."""
    own = evidence[np.arange(len(labels)), labels]
    return 0.5 + 1.0 / (1.0 + np.exp(-(own - own.mean()) / max(own.std(), 1e-12)))


def _choice_logits(evidence: Array, ease: Array, labels: NDArray[np.intp]) -> Array:
    """`ease_i · (TRUE_LOGIT · [c = truth] + LIKENESS_LOGIT · likeness(truth, c))`: (n, n_categories).

    likeness: mean evidence for c in images of the truth, standardised over the pairs of different categories.
    """
    members = _members(labels)
    confusion = members.T @ evidence / members.sum(axis=0)[:, None]
    different = ~np.eye(len(confusion), dtype=bool)
    centred = confusion - confusion[different].mean()
    likeness = np.where(different, centred / max(confusion[different].std(), 1e-12), 0.0)
    return ease[:, None] * (TRUE_LOGIT * members + LIKENESS_LOGIT * likeness[labels])


def _category_neuroids(v4_units: Array, ease: Array, labels: NDArray[np.intp], rng: np.random.Generator) -> Array:
    """IT: random tuning to the true category × how easy the image is, plus V4 structure within the category.

    CATEGORY_SHARE of the variance comes from the category.
    """
    members = _members(labels)
    category = (members * ease[:, None]) @ rng.standard_normal((members.shape[1], N_NEUROIDS))
    within = v4_units - members @ (members.T @ v4_units / members.sum(axis=0)[:, None])
    mixture = _standardise(within) @ rng.standard_normal((within.shape[1], N_NEUROIDS))
    return np.sqrt(CATEGORY_SHARE) * _standardise(category) + np.sqrt(1 - CATEGORY_SHARE) * _standardise(mixture)


def _draw_neuroids(units: Array, rng: np.random.Generator) -> Array:
    """N_NEUROIDS units among those that the images drive, standardised; a silent unit would be no neuroid."""
    spread = units.std(axis=0)
    driven = np.flatnonzero(spread > max(0.1 * np.max(spread), 1e-9))
    if not driven.size:
        raise StudyError(f"{SUITE}: no simulated cell tells the images apart; give images with contrast that differ")
    return _standardise(units[:, rng.choice(driven, N_NEUROIDS, replace=driven.size < N_NEUROIDS)])


def _record(signal: Array, index: int) -> Array:
    """Repetitions of a region: signal + independent Gaussian noise, (N_REPETITIONS, n_stimuli, N_NEUROIDS)."""
    rng = np.random.default_rng((2015, index))
    noise = rng.standard_normal((N_REPETITIONS, *signal.shape))
    return signal + np.sqrt(NOISE_VARIANCE) * signal.std(axis=0) * noise


def _judge(probabilities: Array) -> Array:
    """RDMs of N_SUBJECTS simulated subjects: (N_SUBJECTS, n_stimuli, n_stimuli).

    Each subject perceives the log probabilities with an error of its own for each image and category, chooses
    N_TRIALS times an image by their softmax, and is described by the RDM of its choice frequencies (plus one trial a
    category, so that none is zero).
    """
    rng = np.random.default_rng(2018)
    logits, rdms = np.log(probabilities), []
    for _ in range(N_SUBJECTS):
        perceived = logits + SUBJECT_LOGIT * rng.standard_normal(logits.shape)
        choices = rng.multinomial(N_TRIALS, _softmax(perceived))
        rdms.append(rdm((choices + 1.0) / (N_TRIALS + choices.shape[1])))
    return np.stack(rdms)


def _standardise(values: Array) -> Array:
    """Zero mean and unit variance over images; a constant column becomes zero."""
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12)


def _softmax(logits: Array) -> Array:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _members(labels: NDArray[np.intp]) -> Array:
    """Category indicators, (n, n_categories)."""
    return np.eye(labels.max() + 1)[labels]


def _check_labels(stimuli: Stimuli) -> None:
    n_categories = 0 if stimuli.labels is None else len(np.unique(stimuli.labels))
    if n_categories < 2:
        raise StudyError(
            f"{SUITE}: stimuli {stimuli.name!r} have {n_categories} labelled categories; needs at least 2 for IT and "
            "behavior: give held-out images with labels, or another suite"
        )
