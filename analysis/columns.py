"""The columns of a scaling table: their meaning, units and limits, and the quantities that laws are fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PERCENT = "divide percentages by 100"
IN_FULL = "write counts out, not in thousands or millions"
COUNTED = 1e5  # assumption: no count below it is an estimate, and those in millions or thousands lie below it
SCORE_LIMIT = 2.0  # assumption: no alignment is measured at twice its ceiling, and no percentage of one lies below 2


@dataclass(frozen=True)
class NumericColumn:
    """A numeric column: its unit, and the limits of what a measurement can give (ends included unless `open_low`).

    whole_below: a count below this is whole; a larger one may be an estimate, as N = C / 6D.
    """

    unit: str
    low: float = -np.inf
    high: float = np.inf
    open_low: bool = False
    remedy: str = ""
    whole_below: float = -np.inf


# Limits are those of what a column means: raw and ceiling are correlations (one of 0 or less is no ceiling), accuracy
# is a share of images counted. A score is a quotient of two noisy estimates, and may well lie above 1.
NUMERIC: dict[str, NumericColumn] = {
    "n_params": NumericColumn("parameters", 0, open_low=True, remedy=IN_FULL, whole_below=COUNTED),
    "n_samples": NumericColumn("unique training images", 0),
    "samples_seen": NumericColumn("training images shown, with repetition", 0),
    "flops": NumericColumn("FLOP of the whole training", 0, open_low=True,
                           remedy="leave untrained models out, or mark their compute as missing"),
    "flops_per_image": NumericColumn("FLOP of one forward pass (2 x MACs)", 0, open_low=True),
    "score": NumericColumn("share of the ceiling", -SCORE_LIMIT, SCORE_LIMIT, remedy=f"{PERCENT}; check the ceiling"),
    "raw": NumericColumn("correlation", -1, 1, remedy=PERCENT),
    "accuracy": NumericColumn("share correct", 0, 1, remedy=PERCENT),
    "loss": NumericColumn("nats"),
    "epochs": NumericColumn("passes over the training set", 0),
    "ceiling": NumericColumn("correlation", 0, 1, open_low=True,
                             remedy=f"{PERCENT}; leave it empty where nothing reliable was measured"),
    "objective_weight": NumericColumn("weight of an objective's own term, 0 for its baseline", 0),
}  # fmt: skip

MISALIGNMENT = "misalignment"  # 1 - score: what laws are fitted to, unless another column is named
ACCURACY = "accuracy"  # a region of its own in tables that treat held-out accuracy as a score

# What differs between the rows of one checkpoint: the benchmark and what was measured on it.
MEASURED = ("benchmark", "benchmark_id", "region", "metric", "protocol", "layer", "commitment", "layer_scores", "raw",
            "raw_error", "raw_low", "raw_high", "ceiling", "ceiling_kind", "ceiled", "selection_raw", "selection_leak",
            "score", "score_s", "score_status", "score_reason", "n_stimuli", "n_neuroids", "n_subjects",
            "subject_scores", "interval_of", "mapping_samples", "mapping_curve", "ceiling_low", "ceiling_high",
            "draws")  # fmt: skip
# What makes a configuration; its seeds, checkpoints and benchmarks stay together in a bootstrap.
CONFIGURATION = ("study", "family", "arch", "size", "depth", "width", "dataset", "image_size", "images_per_class",
                 "objective", "epochs", "n_params", "n_samples", "flops_per_image", "is_pretrained", "is_random",
                 "is_ssl", "is_adv", "is_ablation", "ssl_method", "adv_method")  # fmt: skip
TRAINED = ("samples_seen", "flops")  # how long: of a run with checkpoints, what its last one has
NAMED = ("region", "family")  # what rows are chosen by, and every row should have
GROWING = ("epochs",)  # of CONFIGURATION, what the checkpoints of one run may differ in
OUTCOMES = ("loss", "accuracy", *MEASURED)  # of a training: seeds of one configuration differ in them
FLAGS = tuple(name for name in CONFIGURATION if name.startswith("is_"))
REGIONS = ("V1", "V2", "V4", "IT", "behavior")  # along the ventral stream
REGION_ALIASES = {
    "Behavioral": "behavior", "behavioral": "behavior", "Behavior": "behavior", "v1": "V1", "v2": "V2", "v4": "V4",
    "it": "IT",
}  # fmt: skip


def measured_name(target: str) -> str:
    """The column that a target is computed from: "score" for misalignment, else the target itself."""
    return "score" if target == MISALIGNMENT else target


def measured(target: str, y: Any) -> Any:
    """Score of misalignment y, and misalignment of a score; values of any other target as they are."""
    return 1 - y if target == MISALIGNMENT else y


def listed(names: object, limit: int = 30) -> str:
    """Names for an error message, shortened where there are many."""
    known = sorted(str(name) for name in names)  # type: ignore[attr-defined]
    return ", ".join(known[:limit]) + (f", … ({len(known) - limit} more)" if len(known) > limit else "")
