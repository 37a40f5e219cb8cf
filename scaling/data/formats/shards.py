"""Which files are one split, and whether all of them are there: their names say it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

from scaling.errors import StudyError, known_names

# NAME-00000-of-00004, with or without the number of shards and the hash that Hugging Face's library once wrote behind.
NUMBERED = re.compile(r"^(?:(?P<split>.*?)[-_.])?(?P<number>\d+)(?:[-_]of[-_](?P<total>\d+))?(?:-[0-9a-f]{16})?$")
_MANY = 5  # numbers that a message lists


class Shard(NamedTuple):
    """A file's split, its number in it, and how many there are to be; None: the name does not say."""

    split: str
    number: int | None = None
    total: int | None = None


def parse_stem(stem: str) -> Shard:
    """What a file's name without its suffix says."""
    found = NUMBERED.match(stem)
    if found is None:
        return Shard(stem)
    split, number, total = found["split"] or "", int(found["number"]), found["total"]
    return Shard(split, number, None if total is None else int(total))


def by_split(stems: Mapping[str, str], wanted: str | None = None) -> dict[str, list[str]]:
    """Files by their split, in order of their names.

    Args:
        stems: file -> its name without folders and suffix. wanted: a split that may be one file's whole stem, such as
            `train_2017`, whose number is then none of a shard.
    """
    found: dict[str, list[str]] = {}
    for file, stem in sorted(stems.items()):
        found.setdefault(stem if stem == wanted else parse_stem(stem).split, []).append(file)
    return found


def check_whole(names: Iterable[str], split: str, where: str) -> None:
    """Refuse a split's files that are not all there, or of which some hold again what others do.

    names: without suffixes.

    Raises:
        StudyError: an unnumbered file beside others, several numbers of shards, a number twice or not there.
    """
    stems = list(names)
    shards = [Shard(split) if stem == split else parse_stem(stem) for stem in stems]
    place = f"split '{split}' in '{where}'"
    totals = sorted({shard.total for shard in shards if shard.total is not None})
    mixed = len({(shard.number is None, shard.total) for shard in shards}) > 1
    numbers = sorted(shard.number for shard in shards if shard.number is not None)
    twice = [number for number, after in pairwise(numbers) if number == after]
    if mixed or twice or (len(shards) > 1 and not numbers):
        one, other = _clash(stems, shards, twice)
        raise StudyError(
            f"'{one}' and '{other}' are shards of two generations of {place}, which may hold the same images; keep "
            "one generation, and move the other away"
        )
    if numbers:
        _refuse_missing(numbers, totals, place)


def _clash(stems: Sequence[str], shards: Sequence[Shard], twice: list[int]) -> tuple[str, str]:
    """Two files that cannot be of one generation."""
    if twice:
        same = [stem for stem, shard in zip(stems, shards, strict=True) if shard.number == twice[0]]
        return same[0], same[1]
    kinds = [(shard.number is None, shard.total) for shard in shards]
    return stems[0], next((stem for stem, kind in zip(stems, kinds, strict=True) if kind != kinds[0]), stems[-1])


def _refuse_missing(numbers: list[int], totals: list[int], place: str) -> None:
    """numbers: ascending, from 0 or 1 on without a gap, up to the total where the names say it."""
    first = 1 if numbers[0] == 1 and numbers[-1] == (totals or numbers[-1:])[0] else 0
    wanted = range(first, first + totals[0]) if totals else range(first, numbers[-1] + 1)
    there = set(numbers)
    missing = list(islice((number for number in wanted if number not in there), _MANY))
    beyond = [number for number in numbers if number not in wanted]
    if missing or beyond:
        n_missing = wanted.stop - wanted.start - len(numbers) + len(beyond)  # more than len() can say
        shown = ", ".join(f"{number:05d}" for number in missing or beyond[:_MANY])
        more = f" and {n_missing - _MANY:,} more" if n_missing > _MANY else ""
        says = f"their names say of-{totals[0]:05d}" if totals else f"the last is {numbers[-1]:05d}"
        raise StudyError(
            f"{place} {'lacks shard' if missing else 'has, beyond its last, shard'} {shown}{more}: {len(numbers):,} "
            f"are there, and {says}; fetch the split again, number all that there is from 0, or name other files by "
            "dataset.train_split or dataset.heldout_split"
        )


def no_split(field: str, wanted: str, known: Iterable[str], where: str) -> StudyError:
    """What to raise for a split that is asked for by name and not there."""
    names = sorted(known)
    hint = known_names(wanted, names) if names else "it holds none"
    return StudyError(f"no split '{wanted}' in '{where}' (dataset.{field}); {hint}; correct dataset.{field}")
