"""A zoo of 24 small timm models with random weights and a study's checkpoints, killed at random and resumed.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_zoo.py --checkpoints results/quickstart [--kills 3] [--every 4]
                                                           [--actors 1] [--out FOLDER]

`scaling run` is killed (SIGKILL, the whole process group) `--kills` times, once some models more are scored, and
started again by the same command. Every `--every`-th model is then scored again in this process, in another folder:
all columns of its scores must be equal but the seconds. Printed: processor seconds a model, resident memory of the
actors after each, in the study's order.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

NAMES = (
    "resnet10t,resnet14t,resnet18,mobilenetv3_small_050,mobilenetv3_small_100,mobilenetv2_035,mobilenetv2_050,"
    "convnext_atto,convnextv2_atto,efficientnet_lite0,regnetx_002,regnety_002,regnetx_004,ghostnet_050,mnasnet_small,"
    "lcnet_035,lcnet_050,lcnet_075,tinynet_d,tinynet_e,mobilenetv4_conv_small,vit_tiny_patch16_224,"
    "deit_tiny_patch16_224,edgenext_xx_small"
)
TIMES = ("score_s",)


def study(folder: Path, checkpoints: str | None, actors: int) -> Path:
    """The study file."""
    models: list[dict[str, object]] = [{"zoo": f"timm:{NAMES}", "image_size": 64}]
    models += [{"zoo": "checkpoints", "path": checkpoints}] if checkpoints else []
    path = folder / "zoo.yaml"
    content = {"name": "zoo", "models": models, "benchmarks": ["simulated-ventral-stream"],
               "storage": str(folder / "results"), "scoring": {"actors": actors}}  # fmt: skip
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def run(path: Path, kill_after: int | None) -> int | None:
    """Start the command; None where it was killed once so many models more were scored, else its exit status."""
    scores = path.parent / "results" / "zoo" / "scores"
    before = len(list(scores.glob("*.parquet")))
    command = [sys.executable, "-m", "jobs.cli", "run", str(path)]
    process = subprocess.Popen(command, start_new_session=True)
    while process.poll() is None:
        if kill_after is not None and len(list(scores.glob("*.parquet"))) >= before + kill_after:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(2.0)  # Ray's actors end once their driver is gone
            return None
        time.sleep(0.2)
    return process.returncode


def compare(path: Path, data_dir: Path, every: int) -> None:
    """Score some models here, and look for any difference."""
    from scaling.alignment.scoring import scoring_options
    from scaling.alignment.suites.registry import build_benchmarks
    from scaling.data.image_source import image_source
    from scaling.data.shown import heldout_stimuli
    from scaling.storage import Storage
    from scaling.zoo.scoring import score_zoo_model
    from scaling.zoo.study import open_zoo

    own = open_zoo(path)
    shown = heldout_stimuli(image_source(own.spec.dataset, data_dir).open())
    benchmarks = build_benchmarks(own.spec.benchmarks, shown, data_dir, own.spec.scoring.degrees, None)
    options = scoring_options(own.spec.scoring, lambda n: shown)
    with tempfile.TemporaryDirectory() as folder:
        for model in own.models[::every]:
            again = score_zoo_model(Storage(folder), model, benchmarks, options, own.protocols)
            there = own.own_scores(model)
            for score in again:
                a, b = (one.model_dump(exclude=set(TIMES)) for one in (score, there[score.benchmark]))
                assert a == b, f"{model.label}, {score.benchmark}: {a} is not {b}"
            print(f"equal: {model.label}: {len(again)} scores", flush=True)
    records = [own.records[model.model_id] for model in own.models]
    memory = np.array([record.memory_mb or np.nan for record in records])
    cpu = np.array([record.cpu_s or np.nan for record in records])
    print(f"models: {len(records)}; processor seconds a model: median {np.median(cpu):.2f}, "
          f"{cpu.min():.2f} to {cpu.max():.2f}")  # fmt: skip
    print("resident memory of the actor, MB, model after model:", *np.round(memory).astype(int))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", help="a study's results folder")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("SCALING_DATA_DIR", "data")))
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    out = args.out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    path, rng = study(out, args.checkpoints, args.actors), np.random.default_rng(args.seed)
    for number in range(args.kills):
        more = int(rng.integers(3, 10))
        print(f"kill {number + 1}: after {more} models", flush=True)
        assert run(path, more) is None, "it ended before it was killed"
    assert run(path, None) == 0
    compare(path, args.data_dir, args.every)


if __name__ == "__main__":
    main()
