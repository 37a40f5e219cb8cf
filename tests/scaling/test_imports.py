"""What a start costs: what reads recordings or fits readouts is imported by those alone who do."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "timm", "sklearn", "pandas", "xarray", "mlflow", "scipy.stats", "matplotlib", "ray"}
SPLITS = """
from scaling.alignment.metrics.registry import METRICS
import scaling.alignment.suites.registry
import scaling.cluster.driver
METRICS["pls"].splits(40, [0, 1] * 20), METRICS["ridge"].splits(40, None)
import json, sys
print(json.dumps(list(sys.modules)))
"""


def test_driver_suites_and_splits_import_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", SPLITS], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not HEAVY & set(json.loads(done.stdout))
