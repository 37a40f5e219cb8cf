"""`scaling run` of a zoo study, again, and its page; on Ray."""

from __future__ import annotations

import pandas as pd
import yaml
from tests_jobs import scaling


def test_a_zoo_is_scored_resumed_and_reported(tmp_path):
    study = {"name": "zoo", "benchmarks": ["simulated-ventral-stream"], "scoring": {"resamples": 0},
             "models": [{"zoo": "timm:test_resnet,test_nothing?,test_vit", "image_size": 64}]}  # fmt: skip
    path = tmp_path / "zoo.yaml"
    path.write_text(yaml.safe_dump(study))
    refused = scaling("plan", str(path), cwd=tmp_path)
    assert refused.returncode == 2
    assert "no model of timm is called 'test_nothing?'" in refused.stdout
    study["models"] = [{"zoo": "timm:test_resnet", "image_size": 64}, {"zoo": "timm:test_vit", "image_size": 67}]
    path.write_text(yaml.safe_dump(study))
    first = scaling("run", str(path), cwd=tmp_path)
    assert first.returncode == 1, first.stdout
    assert "models scored: 1/2, 1 failed" in first.stdout
    assert "not scored: timm:test_vit (random weights) at 67 px" in first.stdout  # patches do not divide it
    study["models"].pop()
    path.write_text(yaml.safe_dump(study))
    again = scaling("run", str(path), cwd=tmp_path)
    assert again.returncode == 0, again.stdout
    assert "models scored" not in again.stdout  # nothing was left to do
    table = pd.read_csv(tmp_path / "results" / "zoo" / "models.csv")
    assert list(table["model"]) == ["test_resnet"]
    assert table["simulated-ventral-stream.IT"].notna().all()
    page = scaling("report", str(path), "--out", str(tmp_path / "page"), cwd=tmp_path)
    assert page.returncode == 0, page.stdout
    assert (tmp_path / "page" / "report.html").is_file()
