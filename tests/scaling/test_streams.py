"""Random streams: no two draw the same numbers, whatever the seeds, classes, epochs and steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import scaling
from scaling.data.subsets import nested_subset
from scaling.errors import StudyError
from scaling.streams import FIXED, SEED_LIMIT, STREAMS, fixed_stream, stream, subset_stream, torch_seed
from scaling.train.batches import Draw, epoch_batches

SEEDS = (0, 1, 2, 3, 11, 2022, SEED_LIMIT - 1)
SMALL = range(16)  # the old streams' words, which classes, epochs and steps meet
MORE = {"order": 1, "windows": 2, "views": 3, "attack": 2, "model": 3, "jitter": 2, "policy": 2, "erasing": 2}
WORDS = MORE | {"mixing": 2, "rounds": 1, "flips": 0}  # numbers of a place


def generators() -> Iterator[tuple[tuple[object, ...], np.random.Generator]]:
    """Every stream at many places; zeros are where they could meet."""
    for seed, label in product(SEEDS, range(1000)):
        if (seed, label) not in [(word, label) for word in FIXED.values() for label in (0, 1)]:
            yield ("subset", seed, label), subset_stream(seed, label)
    for name, number in product(FIXED, (0, 1)):
        yield (name, number), fixed_stream(name, number)
    for name, seed in product(STREAMS, SEEDS):
        for place in product(*[SMALL, *[(0, 1, 2)] * (WORDS[name] - 1)][: WORDS[name]]):
            yield (name, seed, *place), stream(name, seed, *place)


def test_no_two_places_of_any_streams_draw_alike():
    drawn: dict[tuple[int, ...], tuple[object, ...]] = {}
    for place, random in generators():
        numbers = tuple(random.integers(2**63, size=2).tolist())
        assert numbers not in drawn, f"{place} draws as {drawn[numbers]}"
        drawn[numbers] = place
    assert len(drawn) > 10_000


def test_a_class_is_not_chosen_in_an_epochs_order():
    """Class 1's subset of as many images as an epoch has was the epoch's first images."""
    for seed in range(5):
        order = np.concatenate(epoch_batches(40, 40, seed, 0)).tolist()
        for label in range(20):
            assert subset_stream(seed, label).permutation(40).tolist() != order


def test_which_images_a_run_sees_is_what_it_always_was():
    """Stores hold runs on these subsets."""
    labels = np.repeat(np.arange(3), 20)
    assert nested_subset(labels, 3, seed=0).tolist() == [4, 6, 19, 20, 30, 35, 48, 50, 55]
    assert fixed_stream("simulated-clickme", 1).integers(1000, size=3).tolist() == [
        *np.random.default_rng((2022, 1)).integers(1000, size=3)
    ]


def test_first_words_are_distinct_and_beyond_every_seed():
    words = [*STREAMS.values(), *FIXED.values()]
    assert len(set(words)) == len(words)
    assert all(SEED_LIMIT <= word < 2**32 for word in STREAMS.values()), "one word of 32 bits each"
    assert set(STREAMS) == set(WORDS)


def test_torch_seeds_are_no_runs_own_on_any_device():
    """A CPU's generator takes the lower 32 bits alone."""
    seeds = [torch_seed(name, seed, 0, step) for name in STREAMS for seed in SEEDS for step in range(20)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert all(seed % 2**32 >= SEED_LIMIT for seed in seeds)
    assert len({seed % 2**32 for seed in seeds}) == len(seeds)


def test_the_noise_of_erasing_is_none_of_a_runs_own():
    from scaling.train.augment.erasing import draw_boxes

    _, seeds = draw_boxes(Draw(0, (0, 0), slice(None), 200), (8, 8), 0.5)
    assert (seeds % 2**32 >= SEED_LIMIT).all()
    assert (seeds >= 0).all()


@pytest.mark.parametrize("seed", [SEED_LIMIT, 2**40, -1])
def test_seeds_that_would_meet_another_stream_are_refused(make_study, seed):
    with pytest.raises(StudyError, match=r"seeds.*2147483648|seeds.*greater than or equal to 0"):
        make_study(seeds=[seed])
    with pytest.raises(ValueError, match="take a smaller one"):
        subset_stream(seed, 0)


def test_the_seed_that_drew_a_data_set_is_refused_for_its_runs_alone(make_study):
    assert make_study(seeds=[2022]).seeds == (2022,)
    with pytest.raises(StudyError, match=r"seeds=2022 drew the images of 'simulated-clickme'"):
        make_study(dataset="simulated-clickme", seeds=[0, 2022])


def test_streams_are_seeded_in_one_place():
    """Elsewhere in training and data no generator is made of words; scoring has seeds of its own."""
    root = Path(scaling.__file__).parent
    made = re.compile(r"default_rng\(\s*[\[(]|SeedSequence\(|numpy\.random\.seed|np\.random\.seed|RandomState\(")
    found = [
        f"{path.relative_to(root)}: {line.strip()}"
        for path in root.rglob("*.py")
        if path.name != "streams.py" and "alignment" not in path.relative_to(root).parts
        for line in path.read_text().splitlines()
        if made.search(line)
    ]
    assert found == []
