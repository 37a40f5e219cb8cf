"""Start this many gloo processes of a test file, each as `FILE RANK FOLDER`, and collect what they save."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

WORLD = 2


def start_workers(file: str, folder: Path) -> list[Any]:
    """What each of two processes of `file` saved."""
    environment = os.environ | {
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    workers = [
        subprocess.Popen([sys.executable, file, str(rank), str(folder)], stderr=subprocess.PIPE, env=environment)
        for rank in range(WORLD)
    ]
    errors = [worker.communicate(timeout=300)[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * WORLD, errors
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


def be_worker(work: Callable[[int], Any]) -> None:
    """Run `work(rank)` in the process group and save what it gives."""
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    torch.save(work(rank), folder / f"{rank}.pt")
    distributed.destroy_process_group()
