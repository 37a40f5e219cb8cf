"""What a user's mistake, a file or a place can do to a study: commands print it and end with exit status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StudyError(ValueError):
    """What is wrong, the value, the limit, where it stands and the remedy, in one message."""


class StorageError(StudyError):
    """A place that is full, refuses or does not answer; nothing is wrong with the study, and later it may work."""


class MissingFile(StudyError):
    """A file that is not there, seen from this node."""


class DamagedFile(StudyError):
    """A file that holds something else than was written."""


MANY = 60  # names beyond this are not listed, only the nearest


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one is most like, if any is."""
    by_case = {known_name.lower(): known_name for known_name in known}
    return next((by_case[match] for match in difflib.get_close_matches(name.lower(), by_case, n=1)), None)


def known_names(name: str, known: Iterable[str]) -> str:
    """The tail of an unknown-name message: the nearest match first, then every known name, or the nearest of many."""
    names = sorted(known)
    by_case = {known_name.lower(): known_name for known_name in names}
    near = [by_case[match] for match in difflib.get_close_matches(name.lower(), by_case, n=6, cutoff=0.6)]
    hint = f"did you mean '{near[0]}'? " if near else ""
    if len(names) > MANY:
        return f"{hint}nearest of {len(names):,}: {', '.join(near) or 'none'}"
    return f"{hint}known: {', '.join(names)}"
