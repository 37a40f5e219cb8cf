"""Real images and real recordings: trained models resemble monkey IT and human judgments more than untrained ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests_jobs import results, scaling, write_study

DATA = Path(os.environ.get("SCALING_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data")
NEEDED = [
    DATA / "cifar10/train.parquet",
    DATA / "cifar10/test.parquet",
    DATA / "kriegeskorte2008/Kriegeskorte_Neuron2008_supplementalData.mat",
    DATA / "kriegeskorte2008/92_behavRDMs.mat",
]
MISSING = [str(path) for path in NEEDED if not path.exists()]


@pytest.mark.campaign
@pytest.mark.skipif(bool(MISSING), reason=f"real data absent: {MISSING} (set SCALING_DATA_DIR)")
def test_training_brings_models_nearer_to_monkey_it_and_human_behavior(tmp_path: Path) -> None:
    path = write_study(
        tmp_path,
        "cifar10_it",
        models=[{"family": "resnet", "depth": 10, "sizes": [8], "training": {"lr": 0.05}}],
        data_sizes=[1500],
        seeds=[0],
        training={"epochs": 4, "batch_size": 64, "warmup_epochs": 1, "augmentation": "flip"},
        benchmarks=["kriegeskorte2008"],
    )
    done = scaling("run", path, "--data-dir", DATA, cwd=tmp_path, timeout_s=500)
    assert done.returncode == 0, done.stdout
    tables = results(tmp_path / "results/cifar10-it")
    assert len(tables["runs"]) == 1
    assert (tables["runs"].accuracy > 0.3).all(), "the models did not learn"
    score = tables["scores"].pivot_table(index="run_id", columns=["benchmark", "epoch"], values="score")
    print(score.round(3).to_string())
    gain = score.xs(4, axis=1, level="epoch") - score.xs(0, axis=1, level="epoch")
    assert (gain.mean() > 0).all(), f"trained - untrained:\n{gain.round(3)}"
