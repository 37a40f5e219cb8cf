"""What is in use of a node, against what this process does and what the system's own tool says."""

from __future__ import annotations

import subprocess
import time

import pytest

from scaling.train.node_use import NodeUse


def test_a_busy_processor_is_in_use_and_memory_is_what_free_says():
    node = NodeUse()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    found = node.take()
    assert 0 < found["cpu"] <= 1
    said = subprocess.run(["free", "-k"], capture_output=True, text=True, check=True).stdout.splitlines()[1].split()
    total, available = int(said[1]), int(said[6])
    assert found["memory"] == pytest.approx(1 - available / total, abs=0.05)
    assert set(found) <= {"cpu", "memory", "gpu", "gpu_memory"}
