"""Resident memory of this process, and giving back what a model took of it."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

STATUS = Path("/proc/self/statm")


def resident_mb() -> float:
    """10⁶ bytes of memory that this process holds now; its highest so far where the system does not say."""
    if STATUS.is_file():
        return int(STATUS.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def return_memory() -> None:
    """Ask glibc to give freed memory back to the system, which it else keeps between models; elsewhere nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
