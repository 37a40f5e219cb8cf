"""Ray's own words go to a file while a study runs: its core prints from C++ to stderr, its raylet to stdout."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scaling.cluster.stopping import Stopped


@contextmanager
def quiet_ray() -> Iterator[None]:
    """stderr of this process, C++ included, goes to a file that stays, and is named, only if the cluster is lost."""
    sys.stderr.flush()
    kept = os.dup(2)
    file, name = tempfile.mkstemp(prefix="scaling-ray-", suffix=".log")
    os.dup2(file, 2)
    os.close(file)
    log = Path(name)
    try:
        yield
    except Stopped as stopped:
        if stopped.lost:
            stopped.line, log = f"{stopped.line} (Ray's own words: {name})", Path()
        raise
    finally:
        if log.name:
            log.unlink()
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def silence_raylet() -> None:
    """What the raylet says to drivers goes to stderr too; Ray has no setting for it."""
    from ray._private import worker

    def to_stderr(data: dict[str, Any], ignore_prefix: bool = False) -> None:
        print(*data["lines"], sep="\n", file=sys.stderr)

    worker.print_to_stdstream = to_stderr
