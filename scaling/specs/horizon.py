"""What follows from how long a run trains: its averages' decay, what cannot hold at its length, what was adapted."""

from __future__ import annotations

import math

from scaling.errors import StudyError
from scaling.specs.objective import ObjectiveSpec, objective_spec
from scaling.specs.presets import PRESETS
from scaling.specs.training import TrainingSpec

MOST_INITIAL = 0.01  # of the initial weights in an average at a training's end; assumption


def steps_per_epoch(n_samples: int, batch_size: int) -> int:
    return math.ceil(n_samples / batch_size)


def average_decay(spec: TrainingSpec, step: int, steps: int) -> float:
    """The decay of the weights' average after optimizer step `step` (from 0), of `steps` an epoch.

    `ema` at every step; or for a half-life of h steps min(2^(-1/h), (1 + step) / (10 + step)): the initial weights,
    which are random, are soon out of it, and a half-life is at most ln 2 / 9 of the steps so far.

    Source: the warm-up is that of TensorFlow's tf.train.ExponentialMovingAverage (num_updates); timm's ModelEmaV3 has
    another, 1 - (1 + step)^(-2/3), for the same purpose.
    """
    if spec.ema:
        return spec.ema
    return min(2 ** (-1 / _half_life(spec, steps)), (1 + step) / (10 + step))


def _half_life(spec: TrainingSpec, steps: int) -> float:
    """Steps in which a weight's part in the average halves."""
    return (spec.ema_half_life_epochs or (spec.ema_half_life_share or 0) * spec.epochs) * steps


def check_horizon(training: TrainingSpec, objective: str | ObjectiveSpec, n_samples: int, where: str) -> None:
    """Refuse averages that are still largely the random weights that they began with when the training ends.

    Raises:
        StudyError: more than 1 % of the average of the weights, or of an objective's teacher, is the initial weights.
    """
    spec = training.for_samples(n_samples)
    steps = steps_per_epoch(n_samples, spec.batch_size)
    length = f"{spec.epochs * steps:,} steps: {spec.epochs} epochs of {n_samples:,} images by {spec.batch_size}"
    total = spec.epochs * steps
    if spec.ema and spec.ema**total > MOST_INITIAL:
        limit = math.floor(MOST_INITIAL ** (1 / total) * 1e4) / 1e4
        raise StudyError(
            f"ema={spec.ema:g} leaves {spec.ema:g}^{total} = {spec.ema**total:.1%} of the initial weights in the "
            f"average that is kept, above {MOST_INITIAL:.0%} ({length}; {where}); write training.ema_half_life_share "
            f"(0.07, say) in its place, lower ema to {limit:g}, or train longer"
        )
    problem = objective_spec(objective).too_short(total, MOST_INITIAL)
    if problem is not None:
        raise StudyError(f"{problem[0]} ({length}; {where}); {problem[1]}")


def adaptations(spec: TrainingSpec, n_samples: int | None = None) -> list[str]:
    """What of a preset was fitted to the length of a run's training, a line each; nothing where it is as published.

    Args:
        n_samples: unique training images; None: not known yet, and what depends on it is left out.
    """
    found = [] if spec.preset not in PRESETS else _preset_lines(spec)
    if n_samples is None:
        return found
    fitted = spec.for_samples(n_samples)
    if (fitted.batch_size, fitted.lr) != (spec.batch_size, spec.lr):
        found.append(
            f"batch_size {spec.batch_size:,} -> {fitted.batch_size:,}, lr {spec.lr:g} -> {fitted.lr:.3g} "
            f"({n_samples:,} images; lr_batch {spec.lr_batch or spec.batch_size:,}, lr_scaling {spec.lr_scaling})"
        )
    steps = steps_per_epoch(n_samples, fitted.batch_size)
    if spec.averages and not spec.ema:
        half_life, total = _half_life(fitted, steps), spec.epochs * steps
        decay = average_decay(fitted, total - 1, steps)
        found.append(
            f"average of the weights: half-life {half_life:,.1f} of {total:,} steps, decay {decay:.5g} at the end"
        )
    return found


def _preset_lines(spec: TrainingSpec) -> list[str]:
    published = PRESETS[spec.preset or ""].fields
    epochs, warmup = published["epochs"], published.get("warmup_epochs", 0)
    if spec.epochs == epochs or not warmup:
        return []
    kept = spec.warmup_epochs == warmup * spec.epochs / epochs
    found = f"preset {spec.preset}: warmup_epochs {warmup} of {epochs} -> {spec.warmup_epochs:.3g} of {spec.epochs}"
    return [f"{found} (the same share)"] if kept else [f"{found} (as the study writes it, no longer the same share)"]
