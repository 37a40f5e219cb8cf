"""One model on one benchmark, as numbers and words."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from scaling.alignment.metrics.results import CeilingKind


class AlignmentResult(BaseModel):
    """How one model aligns with one benchmark.

    `raw` is the metric's correlation of the committed layer on the scored stimuli, `raw_error` its standard error (of a
    mapping by bootstrap, else over splits), [raw_low, raw_high] its 95 % bootstrap interval; `score` is raw and ceiling
    by the convention `ceiled`, with the sign kept (raw itself where there is no ceiling). `selection_raw` is the same
    layer on the selection stimuli. `selection_leak` is what choosing the layer on the scored half would have added to
    raw there (None for a layer that was not chosen).

    Spatial maps have too few stimuli for halves. Each is held out in turn and scored with the layer that is best over
    the others: `raw` is the mean of those scores, `layer` the layer used most often, `selection_raw` the mean of the
    chosen layers' scores over the others, `selection_leak` what one layer chosen on all stimuli would have added.

    Where subjects are known, `subject_scores` has each one's raw, ceiling, score and units; `interval_of` says what the
    interval speaks of. mapping_samples: stimuli that the mapping is fitted on; mapping_curve: scores of mappings that
    are fitted on fewer. draws: the bootstrap's, of raw; those of two models are paired.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    region: str
    metric: str
    layer: str
    commitment: str
    raw: float
    raw_error: float | None
    raw_low: float | None
    raw_high: float | None
    ceiling: float | None
    ceiling_kind: CeilingKind
    ceiled: str
    score: float
    n_stimuli: int
    n_neuroids: int | None
    selection_raw: float | None
    selection_leak: float | None
    layer_scores: dict[str, float]
    n_subjects: int | None = None
    subject_scores: dict[str, dict[str, float | None]] | None = None
    interval_of: str | None = None
    mapping_samples: int | None = None
    mapping_curve: list[dict[str, Any]] | None = None
    ceiling_low: float | None = None
    ceiling_high: float | None = None
    draws: list[float] | None = None
