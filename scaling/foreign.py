"""What a file is that is not what it should be: the stand-ins and leftovers that downloads and clones leave."""

from __future__ import annotations

from pathlib import Path

HEAD_BYTES = 512
EMPTY = "empty"
PAGE = "a web page, perhaps an error's; download the file itself"
PACKED = "packed ({}); unpack it"
TEXTS = {
    b"version https://git-lfs": "a Git LFS pointer and not the file itself; run `git lfs pull` where it was cloned",
    b"<!doctype html": PAGE,
    b"<html": PAGE,
    b"<?xml": "XML, perhaps a store's error; download the file itself",
    b"{": "JSON, perhaps a store's error; download the file itself",
}
MAGIC = {
    b"\x1f\x8b": PACKED.format("gzip"),
    b"BZh": PACKED.format("bzip2"),
    b"\xfd7zXZ\x00": PACKED.format("xz"),
    b"\x28\xb5\x2f\xfd": PACKED.format("zstd"),
}


def what_else(path: Path) -> str:
    """What a file is and what to do about it, as '… is {a Git LFS pointer …; run …}'; '' where nothing is known.

    For files that could not be read as what they should be; one that cannot be read at all is not known either.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return ""
    if not head:
        return EMPTY
    plain = b"" if b"\0" in head else head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    told = [what for start, what in TEXTS.items() if plain.startswith(start)]
    told += [what for start, what in MAGIC.items() if head.startswith(start)]
    return told[0] if told else ""
