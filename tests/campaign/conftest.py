"""How many faults, and their seed; puts the helpers of this folder and of the commands' tests on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "jobs")]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", type=int, default=50, help="How many faults a study meets [50].")
    parser.addoption("--fault-seed", type=int, default=0, help="Of their kinds, order and moments [0].")
