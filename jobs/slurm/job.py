"""What a study asks of Slurm, checked before anything is sent."""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scaling.cluster.placement import Node, capacity_problems
from scaling.errors import StudyError
from scaling.ledger import Study
from scaling.specs.run import RunSpec
from scaling.specs.scoring import ScoringSpec

TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")
PATIENCE = 0.5  # of the notice that a stopped study has to end by itself
END_WAIT_S = 30  # for `ray stop`, which waits 16 s at most for its processes
# What the script says itself; a second time, Slurm would take the last
OWN = {
    "nodes", "N", "ntasks", "n", "ntasks-per-node", "cpus-per-task", "c", "gpus-per-node", "gpus", "G", "time", "t",
    "signal", "requeue", "no-requeue", "open-mode", "output", "o", "chdir", "D", "job-name", "J",
}  # fmt: skip


@dataclass(frozen=True)
class SlurmJob:
    """The job of one study.

    time: its limit, as Slurm writes it; notice_s: so long before it the study is stopped; cpus, gpus: of a node;
    requeues: how often it is sent again; options: further ones of sbatch, NAME or NAME=VALUE; setup: lines of shell
    before anything else; arguments: of `scaling run`.
    """

    study: str
    nodes: int
    time: str
    cpus: int
    gpus: int = 0
    notice_s: int = 300
    requeues: int = 100
    options: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises: StudyError: a time that is none or shorter than the notice; an option that is none, or ours."""
        limit_s = seconds(self.time)
        if self.notice_s >= limit_s:
            raise StudyError(
                f"--notice {self.notice_s} s leaves nothing of --time {self.time} ({limit_s} s); give more time, or "
                "less notice"
            )
        for option in self.options:
            _check_option(option)
        for line in self.setup:
            if len(line.splitlines()) > 1:
                raise StudyError(f"--setup {line!r} is more than a line; give the option once a line")

    def script(self) -> str:
        """The script that `sbatch` takes."""
        from jinja2 import Environment, StrictUndefined

        text = Path(__file__).with_name("script.sh.j2").read_text()
        command = shlex.join(["python", "-m", "jobs.cli", "run", *self.arguments])
        return Environment(undefined=StrictUndefined).from_string(text).render(
            directives=self._directives(), study=self.study, notice_s=self.notice_s, setup=self.setup, command=command,
            bin=shlex.quote(str(Path(sys.executable).parent)), cpus=self.cpus, gpus=self.gpus, requeues=self.requeues,
            patience_s=math.ceil(self.notice_s * PATIENCE), end_wait_s=END_WAIT_S,
        ) + "\n"  # fmt: skip

    def _directives(self) -> list[tuple[str, object]]:
        own = {
            "job-name": self.study, "chdir": f'"{Path.cwd()}"', "output": f"{self.study}-%j.log", "open-mode": "append",
            "nodes": self.nodes, "ntasks-per-node": 1, "cpus-per-task": self.cpus, "time": self.time,
            "signal": f"B:USR1@{self.notice_s}", "requeue": "",
        }  # fmt: skip
        own |= {"gpus-per-node": self.gpus} if self.gpus else {}
        further = [option.removeprefix("--").partition("=") for option in self.options]
        return [*own.items(), *((name, value) for name, _, value in further)]


def seconds(time: str) -> int:
    """A time limit of Slurm's: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]].

    Raises:
        StudyError: it is none, or no time at all.
    """
    found = TIME.fullmatch(time.strip())
    if found is None:
        raise StudyError(
            f"--time '{time}' is no time limit of Slurm's; write e.g. 12:00:00, 90 (minutes) or 2-00:00:00"
        )
    days, *parts = (None if part is None else int(part) for part in found.groups())
    given = [part for part in parts if part is not None]
    units = (3600, 60, 1) if days is not None or len(given) == 3 else (60, 1)
    total = (days or 0) * 86400 + sum(unit * part for unit, part in zip(units, given, strict=False))
    if total <= 0:
        raise StudyError(f"--time '{time}' is no time at all; give the study a limit of its own")
    return total


def _check_option(option: str) -> None:
    name = option.removeprefix("--").partition("=")[0]
    if not re.fullmatch(r"[A-Za-z][\w-]*", name) or "\n" in option:
        raise StudyError(f"--sbatch '{option}' is no option of sbatch; write NAME or NAME=VALUE, e.g. partition=gpu")
    if name in OWN:
        raise StudyError(
            f"--sbatch {name} is what the script says itself ({', '.join(sorted(OWN))}); use its own option"
        )


def cpus_wanted(runs: Sequence[RunSpec], scoring: ScoringSpec, nodes: int, gpus: int) -> int:
    """CPUs of a node that lie beside its GPUs: of the shape that wants most, and this node's share of scoring.

    A shape with GPUs fills those of the node; one without has its workers spread over the nodes.
    """
    found = [1.0]
    for shape in {run.resources for run in runs}:
        workers = max(1, math.floor(gpus / shape.gpus)) if shape.gpus else math.ceil(shape.most_workers / nodes)
        found.append(workers * shape.cpus_per_worker)
    return math.ceil(max(found)) + math.ceil(scoring.actors * scoring.cpus / nodes)


def check_fits(study: Study, nodes: int, cpus: int, gpus: int) -> None:
    """Refuse a job on whose nodes a run of the study could never start.

    Raises:
        StudyError: names the run, what it needs and the job's nodes.
    """
    offered = [Node(f"node {i}", float(cpus), float(gpus)) for i in range(nodes)]
    problems = capacity_problems(study.spec, study.runs, offered, "the job")
    if problems:
        raise StudyError(f"{problems[0].replace(' with --address', '')} (--nodes, --cpus-per-node, --gpus-per-node)")
