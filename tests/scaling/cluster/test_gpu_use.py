"""The GPUs' share in use, with a stand-in for NVIDIA's module: this machine may have neither."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from scaling.cluster import gpu_use
from scaling.cluster.gpu_use import power_share


class NVMLError(Exception):
    """As of the module."""


@pytest.fixture(autouse=True)
def forget():
    gpu_use._nvml.cache_clear()
    yield
    gpu_use._nvml.cache_clear()


def nvml(drawn: list[int], refuses: bool = False) -> SimpleNamespace:
    def init() -> None:
        if refuses:
            raise NVMLError

    return SimpleNamespace(
        NVMLError=NVMLError, nvmlInit=init, nvmlDeviceGetCount=lambda: len(drawn),
        nvmlDeviceGetHandleByIndex=lambda number: number, nvmlDeviceGetPowerUsage=lambda gpu: drawn[gpu],
        nvmlDeviceGetEnforcedPowerLimit=lambda gpu: 700_000,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("module", "share"),
    [
        (None, None),
        (nvml([], refuses=True), None),
        (nvml([]), None),
        (nvml([350_000]), 0.5),
        (nvml([700_000, 0, 350_000, 0]), 0.375),
    ],
)
def test_power_is_told_as_a_share_of_what_the_gpus_may_draw(monkeypatch, module, share):
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert power_share() == share
