"""Every random stream of a run, told apart by the first word of what seeds it. Imports NumPy alone, where it draws.

NumPy fills the words that seed a generator up with zeros: [s, 1] and [s, 1, 0] are one stream, and a stream that is
told apart by its second word meets another of that word at place 0. Here the first word names the stream, and a stream
has one number of words, so that two uses never draw the same numbers.

A subset's words are the run's seed and the class, as they have always been: which images a run sees is part of what
it is. Seeds therefore stay below SEED_LIMIT, and every other stream's first word is at or above it. Data that are drawn
have a first word below it, FIXED, which is no seed of a run on them.

Scoring draws from seeds of its own (scaling.alignment), which determine scores and no weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SEED_LIMIT = 2**31

# name: first word. Never change one; a new stream takes the next number.
STREAMS: dict[str, int] = {
    name: SEED_LIMIT + number
    for name, number in {
        "order": 1,  # of the images of an epoch: epoch
        "windows": 2,  # crops and flips: epoch, step (as all that follow)
        "views": 3,  # of self-supervised objectives: and the view
        "attack": 4,  # the start of an adversarial step
        "model": 5,  # dropout and stochastic depth: and the worker
        "jitter": 11,
        "policy": 12,
        "erasing": 13,
        "mixing": 14,
        "rounds": 15,  # of nested images: round
        "flips": 16,  # whether an image is flipped in the first epoch, where flips alternate
    }.items()
}
FIXED: dict[str, int] = {"simulated-clickme": 2022}  # data set: first word


def stream(name: str, seed: int, *place: int) -> np.random.Generator:
    """The generator of a stream at a place, such as (epoch, step): a function of nothing else.

    Raises:
        KeyError: no stream of this name.
    """
    return _generator(STREAMS[name], seed, *place)


def torch_seed(name: str, seed: int, *place: int) -> int:
    """What seeds a torch generator at a place of a stream, in [0, 2^63).

    Its lower half, of which alone a CPU's generator is seeded, is at or above SEED_LIMIT: no run's initial weights are
    drawn with it, whose torch seed is the run's own.
    """
    import numpy as np

    low, high = np.random.SeedSequence([STREAMS[name], seed, *place]).generate_state(2).tolist()
    return (high >> 1) << 32 | low | SEED_LIMIT


def subset_stream(seed: int, label: int) -> np.random.Generator:
    """The generator of the order in which a class gives its images to subsets.

    Raises:
        ValueError: the seed is not below SEED_LIMIT.
    """
    if not 0 <= seed < SEED_LIMIT:
        raise ValueError(f"seed={seed} is not in 0 ... {SEED_LIMIT - 1:,}, where a run's seeds are; take a smaller one")
    return _generator(seed, label)


def fixed_stream(dataset: str, number: int) -> np.random.Generator:
    """The generator of data that are always the same."""
    return _generator(FIXED[dataset], number)


def _generator(*words: int) -> np.random.Generator:
    import numpy as np

    return np.random.default_rng(words)
