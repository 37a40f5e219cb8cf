"""Puts this folder's helpers on the path and offers their fixture."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from tests_jobs import quickstart

__all__ = ["quickstart"]
