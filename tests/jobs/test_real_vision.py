"""The table of the real study: it is the study's own, and says what its page says."""

from __future__ import annotations

import pandas as pd
import pytest
from tests_jobs import STUDIES

from scaling.study import expand_study, load_study


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(STUDIES / "real_vision.csv", dtype={"run_id": str})


def test_it_is_the_studys_own(table: pd.DataFrame) -> None:
    runs = expand_study(load_study(STUDIES / "real_vision.yaml"))
    assert set(table.run_id) == {run.run_id for run in runs}
    each = table.groupby(["run_id", "epoch"]).benchmark.nunique()
    assert (len(each), set(each)) == (128, {10})
    assert set(table.region) == {"V1", "V4", "EVC", "IT", "behavior"}


def test_training_brings_models_nearer_to_v4_and_behavior_and_further_from_evc(table: pd.DataFrame) -> None:
    """Of the most images, in both families; orientation that was known before: EVC on 92 images falls with training."""
    most = table[table.images_per_class == 675]
    scores = most.pivot_table(index=["family", "region"], columns="epoch", values="score")
    gain = scores[8] - scores[0]
    assert (gain.xs("V4", level="region") > 0.02).all()
    assert (gain.xs("behavior", level="region") > 0.2).all()
    assert gain["resnet mup 14", "EVC"] < -0.2


def test_v4_and_behavior_come_nearer_with_images(table: pd.DataFrame) -> None:
    trained = table[table.region.isin(["V4", "behavior"]) & (table.epoch == 8)]
    cells = trained.groupby(["region", "family", "images_per_class"]).score.mean().unstack()
    assert (cells[675] - cells[25] > 0.04).all(), cells
