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


def warmup_steps(spec: TrainingSpec, steps: int) -> int:
    """Optimizer steps of the warm-up, of `steps` an epoch, rounded."""
    return spec.warmup_steps or round((spec.warmup_epochs or spec.warmup_share * spec.epochs) * steps)


def cooldown_start(spec: TrainingSpec, steps: int) -> int:
    """The steps before the cooldown of schedule wsd, of `steps` an epoch: where a branch of this horizon begins.

    total - round(cooldown_share . total), or total - round(cooldown_epochs . steps); the cooldown has a step at least.
    """
    total = spec.epochs * steps
    length = spec.cooldown_share * total if spec.cooldown_epochs is None else spec.cooldown_epochs * steps
    return total - min(total, max(1, round(length)))


def smallest_batch(spec: TrainingSpec, n_samples: int) -> int:
    """Images of the smallest global batch of an epoch; `spec` is that of its number of images."""
    steps = steps_per_epoch(n_samples, spec.batch_size)
    if spec.order == "shuffled":
        return n_samples // steps
    whole = cooldown_start(spec, steps)
    return min(spec.batch_size if whole else n_samples, (n_samples - whole * spec.batch_size) // (steps - whole))


def images_before(spec: TrainingSpec, n_samples: int, step: int) -> int:
    """Samples seen in the first `step` steps of a training that are before its cooldown."""
    if spec.order == "nested":
        return step * spec.batch_size
    steps = steps_per_epoch(n_samples, spec.batch_size)
    epochs, rest = divmod(step, steps)
    return epochs * n_samples + rest * (n_samples // steps) + min(rest, n_samples % steps)


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
        StudyError: a warm-up in steps is too long; more than 1 % of the average of the weights, or of an objective's
            teacher, is the initial weights.
    """
    spec = training.for_samples(n_samples)
    steps = steps_per_epoch(n_samples, spec.batch_size)
    _check_warmup(spec, steps, where)
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


def _check_warmup(spec: TrainingSpec, steps: int, where: str) -> None:
    """What a warm-up in steps leaves can be told only of a number of images."""
    wsd = spec.schedule == "wsd"
    limit = cooldown_start(spec, steps) if wsd else spec.epochs * steps - 1
    if spec.warmup_steps > limit:
        before = "begins to cool down" if wsd else "takes its last step"
        raise StudyError(
            f"warmup_steps={spec.warmup_steps} exceeds the {limit} steps after which the training {before} ({where}); "
            "lower training.warmup_steps or train longer"
        )


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
    if spec.warmup_steps:
        return [f"preset {spec.preset}: warmup_epochs {warmup} of {epochs} -> warmup_steps {spec.warmup_steps}"]
    fitted = spec.warmup_epochs or spec.warmup_share * spec.epochs
    kept = fitted == warmup * spec.epochs / epochs
    found = f"preset {spec.preset}: warmup_epochs {warmup} of {epochs} -> {fitted:.3g} of {spec.epochs}"
    return [f"{found} (the same share)"] if kept else [f"{found} (as the study writes it, no longer the same share)"]
