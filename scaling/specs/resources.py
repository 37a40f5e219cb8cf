"""What a run occupies, and how its step is computed there."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, field_validator

from scaling.specs.base import Spec

MOST_SHARING = 16  # runs on one GPU, where how many is found out; on an H200, more trained no faster together


class ResourceSpec(Spec):
    """What one run occupies: `workers` processes of `cpus_per_worker` CPUs and `gpus_per_worker` GPUs each.

    More than one worker trains by DistributedDataParallel; `batch_size` stays the global one, so that a run may be
    resumed with another number of workers. `workers: [2, 8]` begins with what is free, from 2 on, goes on with fewer
    where a node is lost, and with more as they come: the same batches, hence the same losses but for rounding. A worker
    without a GPU computes on `cpus_per_worker` threads.
    Runs of one worker with a share of a GPU (gpus_per_worker: 0.125), or without one and with a share of a CPU
    (cpus_per_worker: 0.5), train side by side in one process a GPU or CPU, see `scaling.cluster.lanes`; 'auto': as many
    on each GPU as train faster together.

    micro_batch: the most images that a worker holds at once; larger shares accumulate gradients over several passes.
    Batch-norm statistics are then those of a micro-batch, of at least 2 images (hence the limit of 4: 5 are 3 and 2):
    a run of a model with batch norm is then another run, see `norm_groups`. Dropout and stochastic depth are drawn pass
    by pass: other numbers of the same law, which are no part of the id.
    channels_last: memory format of images and convolutions. compile: the model by torch.compile. Both 'auto': where it
    pays on the run's device, see `scaling.train.computing`; the run's record says what was chosen.
    captured: on a GPU, steps are CUDA graphs where they can be, see `scaling.train.captured`.
    deterministic: refuse operations whose result depends on scheduling (on CUDA; CPU steps repeat bit for bit anyway),
    and choose nothing by device that changes numbers (TF32, cuDNN's fastest algorithm, memory format, compilation).
    """

    workers: PositiveInt | tuple[PositiveInt, PositiveInt] = 1
    cpus_per_worker: PositiveInt | Annotated[float, Field(gt=0, lt=1)] = 1
    gpus_per_worker: NonNegativeFloat | Literal["auto"] = 0.0
    micro_batch: Annotated[int, Field(ge=4)] | None = None
    channels_last: bool | Literal["auto"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    captured: bool = True
    deterministic: bool = False

    @field_validator("workers")
    @classmethod
    def _check_range(cls, workers: int | tuple[int, int]) -> int | tuple[int, int]:
        if isinstance(workers, tuple) and not workers[0] < workers[1]:
            raise ValueError(f"workers={list(workers)} is no range; give [fewest, most], or one number")
        return workers

    @property
    def least_workers(self) -> int:
        return self.workers[0] if isinstance(self.workers, tuple) else self.workers

    @property
    def most_workers(self) -> int:
        return self.workers[1] if isinstance(self.workers, tuple) else self.workers

    @property
    def elastic(self) -> bool:
        """Whether the number of workers follows the cluster."""
        return isinstance(self.workers, tuple)

    @property
    def gpus(self) -> float:
        """The GPUs that each worker reserves."""
        return 1 / MOST_SHARING if self.gpus_per_worker == "auto" else self.gpus_per_worker

    @property
    def threads(self) -> int:
        """That each worker computes with on the CPU."""
        return max(1, int(self.cpus_per_worker))

    @property
    def side_by_side(self) -> bool:
        """Whether runs of this shape share a process."""
        return self.most_workers == 1 and (0 < self.gpus < 1 or (self.gpus == 0 and self.cpus_per_worker < 1))

    def norm_groups(self, batch_size: int, synchronised: bool) -> dict[str, int] | None:
        """What batch norm takes its statistics of, where that is not a whole batch: a part of a run's id.

        Micro-batches of so many images on so many workers, of which together or each by itself the statistics are; or
        the shares of workers that are not synchronised. None: a whole batch, on any number of workers. A subset that is
        smaller than batch_size (`cap_batch`) may have no micro-batches; its id is then that of a run that had them.
        """
        parts = self.micro_batch is not None and self.micro_batch < math.ceil(batch_size / self.least_workers)
        if not parts and (synchronised or self.most_workers == 1):
            return None
        return {"workers": self.most_workers} | ({"micro_batch": self.micro_batch or 0} if parts else {})

    def text(self) -> str:
        """'4 x (6 CPU, 1 GPU)'."""
        workers = "-".join(str(n) for n in dict.fromkeys((self.least_workers, self.most_workers)))
        gpus = f", {self.gpus_per_worker} GPU" if self.gpus else ""
        return f"{workers} x ({self.cpus_per_worker:g} CPU{gpus})"
