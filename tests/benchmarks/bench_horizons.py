"""What a trunk with branches saves, and what its schedule costs in accuracy and alignment.

    python tests/benchmarks/bench_horizons.py FOLDER [--images 200] [--seeds 3]

Eight horizons (1 to 8 epochs) on Fashion-MNIST at 14 pixels, three times by `scaling run`: from one trunk a seed
(`horizons`), each alone by the same schedule (`epochs`, wsd), and each alone by a cosine, all at one rate. First the
FLOP spent and the seconds in training, and whether the first two agree in every bit of weights, accuracies and scores;
then, a line a horizon, the paired differences wsd - cosine of accuracy and of the simulated IT score, mean over seeds
with its 95 % t interval. A study that is there in FOLDER is not run again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from scaling.checkpoints.weights import load_weights
from scaling.ledger import Study, open_study

HORIZONS = list(range(1, 9))
DATASET = {"name": "fashion-mnist", "path": "/usr/share/datasets/fashion-mnist", "image_size": 14}
TRAINING = {"batch_size": 32, "lr": 0.1, "augmentation": "flip", "warmup_epochs": 0.25}
KINDS: dict[str, dict[str, object]] = {
    "trunk": {"horizons": {"epochs": HORIZONS}, "training": TRAINING | {"schedule": "wsd"}},
    "alone": {"epochs": HORIZONS, "training": TRAINING | {"schedule": "wsd"}},
    "cosine": {"epochs": HORIZONS, "training": TRAINING | {"schedule": "cosine"}},
}


def trained(kind: str, folder: Path, images: int, seeds: int) -> Study:
    """A study, run where it is not there yet."""
    path = folder / f"{kind}.yaml"
    common = {"name": kind, "dataset": DATASET, "models": [{"family": "resnet", "depth": 10, "sizes": [4]}]}
    common |= {"data_sizes": [images], "seeds": list(range(seeds)), "storage": str(folder / "results")}
    path.write_text(yaml.safe_dump(common | {"benchmarks": ["simulated-ventral-stream.IT"]} | KINDS[kind]))
    study = open_study(path)
    if not study.open_work().is_empty:
        command = [sys.executable, "-m", "jobs.cli", "run", str(path), "--no-mlflow"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        study = open_study(path)
    return study


def same_bits(one: Study, two: Study) -> bool:
    """Whether every run's last weights are the same in two studies."""
    weights = [
        [load_weights(study.storage, run.run_id, run.training.epochs)[0].state_dict() for study in (one, two)]
        for run in one.runs
    ]
    return all((a[name] == b[name]).all() for a, b in weights for name in a)


def outcomes(study: Study) -> pd.DataFrame:
    columns = ["epochs", "seed", "accuracy", "score"]
    return study.table()[columns].set_index(["epochs", "seed"]).sort_index()


def difference(values: np.ndarray) -> str:
    """Mean and 95 % t interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.4f} [{values.mean() - half:+.4f}, {values.mean() + half:+.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    studies = {kind: trained(kind, args.folder, args.images, args.seeds) for kind in KINDS}
    spent = {kind: sum(record.flops_spent for record in study.records.values()) for kind, study in studies.items()}
    for kind, flops in spent.items():
        print(f"{kind:8} {flops:.4g} FLOP, {flops / spent['alone']:.1%} of the separate runs'")
    found = {kind: outcomes(study) for kind, study in studies.items()}
    print(f"trunk and alone: weights equal in every bit: {same_bits(studies['trunk'], studies['alone'])}; "
          f"accuracies and scores: {found['trunk'].equals(found['alone'])}")  # fmt: skip
    print("epochs  accuracy  wsd - cosine                 IT     wsd - cosine")
    gap = found["trunk"] - found["cosine"]
    for epochs in HORIZONS:
        mean, own = found["trunk"].loc[epochs].mean(), gap.loc[epochs]
        print(f"{epochs:6}  {mean.accuracy:8.4f}  {difference(own.accuracy.to_numpy())}  "
              f"{mean.score:.3f}  {difference(own.score.to_numpy())}")  # fmt: skip
    by_seed = gap.groupby("seed").mean()
    print(f"   all            {difference(by_seed.accuracy.to_numpy())}         "
          f"{difference(by_seed.score.to_numpy())}")  # fmt: skip


if __name__ == "__main__":
    main()
