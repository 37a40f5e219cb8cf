"""A verification: predictions written down before training, and what came out; as JSON, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import ValidationError

from analysis.fit.estimate import PlainModel
from analysis.verify.predict import Prediction

RECOMMENDED = "recommended"


class Trial(PlainModel):
    """One model of a verification: what is trained, what was predicted of it, what came out.

    label: 'recommended', or its size beside that; model, how: its name, and how it was chosen; flops: C of its
    training; spec: the run as its trainer takes it; predictions, got: by region; status: of its run ('open' until it
    ended); reason: why it has no score.
    """

    label: str
    run_id: str
    model: str
    how: str
    n_params: int
    n_samples: int
    epochs: int
    flops: float
    spec: str
    predictions: Mapping[str, Prediction]
    status: str = "open"
    reason: str = ""
    got: Mapping[str, float] = {}

    @property
    def samples_seen(self) -> int:
        return self.n_samples * self.epochs

    def outcome(self, region: str) -> str:
        """'predicted 0.860 [0.840, 0.880], one run [0.830, 0.890], got 0.870: inside the law's interval'."""
        said, got = self.predictions.get(region), self.got.get(region)
        predicted = "no prediction" if said is None else f"predicted {said.text()}"
        if got is None:
            return f"{predicted}, {self.status}{': ' if self.reason else ''}{self.reason}"
        return f"{predicted}, got {got:.3f}" + ("" if said is None else f": {place(said, got)}")


class Verification(PlainModel):
    """A budget, the family and region that it was split for, and the models trained for it.

    law: fingerprint of the rows that the laws were fitted to; largest_flops: of those rows; seed: of all its runs, one
    that the study has not; left_out: sizes that were to be tried and cannot be, and why; simulated: some of its
    scores are of simulated recordings.
    """

    version: Literal[1] = 1
    study: str
    flops: float
    region: str
    family: str
    law: str
    largest_flops: float
    seed: int
    trials: tuple[Trial, ...]
    left_out: tuple[str, ...] = ()
    simulated: bool = False

    @property
    def ended(self) -> bool:
        """Whether every run has ended, with a score or with a reason for none."""
        return all(trial.status != "open" for trial in self.trials)

    @property
    def total_flops(self) -> float:
        """Of all its runs."""
        return sum(trial.flops for trial in self.trials)

    @property
    def regions(self) -> tuple[str, ...]:
        """Of its predictions; the region asked for comes first."""
        names = dict.fromkeys(name for trial in self.trials for name in trial.predictions)
        return tuple(sorted(names, key=lambda name: name != self.region))

    def of(self, flops: float, region: str, family: str) -> bool:
        """Whether it answers this question."""
        return (self.flops, self.region, self.family) == (flops, region, family)

    def headline(self) -> str:
        """'resnet at 1e+15 FLOP (3.2 times the largest run's), best for IT'."""
        beyond = self.flops / self.largest_flops
        factor = f"{beyond:.2g} times the largest run's" if beyond > 1 else "within the study's"
        simulated = " (simulated recordings)" if self.simulated else ""
        return f"{self.family} at {self.flops:.3g} FLOP ({factor}), best for {self.region}{simulated}"

    def text(self) -> str:
        """A line a model and region."""
        lines = [self.headline()]
        for trial in self.trials:
            lines.append(
                f"  {trial.label}: {trial.model}, N = {trial.n_params:,}, {trial.n_samples:,} images x {trial.epochs} "
                f"epoch{'s' if trial.epochs > 1 else ''}, C = {trial.flops:.3g}"
            )
            lines += [f"    {region:<10} {trial.outcome(region)}" for region in self.regions]
        lines += [f"  left out: {reason}" for reason in self.left_out]
        return "\n".join(lines + _ranking(self))


def _ranking(verification: Verification) -> list[str]:
    """Whether the recommended size came out best at equal compute."""
    region = verification.region
    got = {trial.label: trial.got[region] for trial in verification.trials if region in trial.got}
    if RECOMMENDED not in got or len(got) < 2:
        return []
    best = max(got, key=lambda label: got[label])
    parts = ", ".join(f"{label} {score:.3f}" for label, score in got.items())
    return [f"  at equal compute {region} came out highest of '{best}' ({parts}; one run each)"]


def place(said: Prediction, got: float) -> str:
    """Where an outcome lies: within the law's interval, within that of one run, or beyond both."""
    if said.run.low is None or said.run.high is None or said.law.low is None or said.law.high is None:
        return "no interval"
    if said.law.low <= got <= said.law.high:
        return "inside the law's interval"
    if said.run.low <= got <= said.run.high:
        return "inside that of one run"
    return "above both" if got > said.run.high else "below both"


def read_verifications(texts: Mapping[str, bytes]) -> tuple[Verification, ...]:
    """Verifications from the contents of their files, by name.

    Raises:
        ValueError: a file that holds none; names it.
    """
    found = []
    for name, content in sorted(texts.items()):
        try:
            found.append(Verification.model_validate_json(content))
        except ValidationError as error:
            raise ValueError(
                f"'{name}' is no verification of this version ({error.errors()[0]['msg']}); move it away, verify again"
            ) from error
    return tuple(sorted(found, key=lambda one: (one.flops, one.family, one.seed)))
