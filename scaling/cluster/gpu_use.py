"""How much of this machine's GPUs is in use, by NVIDIA's management library, if its module nvidia-ml-py is there."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType


def power_share() -> float | None:
    """Power that the machine's GPUs draw / what they may draw, all together; None where nobody tells.

    NVML's "utilisation" is the share of time in which any kernel runs, however small; power tells how much they do.
    """
    if (nvml := _nvml()) is None:
        return None
    gpus = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
    try:
        drawn = sum(nvml.nvmlDeviceGetPowerUsage(gpu) for gpu in gpus)
        allowed = sum(nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) for gpu in gpus)
    except nvml.NVMLError:  # virtual GPUs do not tell
        return None
    return drawn / allowed if allowed else None


@lru_cache(maxsize=1)
def _nvml() -> ModuleType | None:
    """The module, initialised; it is no dependency."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver here
        return None
    return pynvml
