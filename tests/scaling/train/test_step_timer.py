"""The time of steps on a CPU; on a GPU see test_cuda.py."""

from __future__ import annotations

import pytest
import torch

from scaling.train import step_timer
from scaling.train.step_timer import StepTimer


def test_time_within_blocks_adds_up_until_it_is_taken(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(step_timer.time, "perf_counter", lambda: now[0])
    timer = StepTimer(torch.device("cpu"))
    for seconds in (1.0, 2.5):
        with timer:
            now[0] += seconds
        now[0] += 10.0  # between steps
    assert timer.take() == pytest.approx(3.5)
    assert timer.take() == 0.0
