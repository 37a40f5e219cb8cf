"""A worker's share of every global batch, on its device: read, augmented, mixed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from scaling.data.images import ImageData
from scaling.data.subsets import nested_rounds
from scaling.specs.run import RunSpec
from scaling.train.augment.apply import Look, prepare
from scaling.train.augment.mixing import Mixing, apply_mixing, draw_mixing
from scaling.train.batch import Batch
from scaling.train.batches import Draw, epoch_batches, nested_batches
from scaling.train.losses import soft_targets
from scaling.train.transfer import Transfer

if TYPE_CHECKING:
    from scaling.train.distributed.worker import Worker

AHEAD = 2  # batches that are read while the device computes

T = TypeVar("T")
Place = tuple[int, int]  # epoch, step


def run_ahead(fetch: Callable[[np.ndarray, Place], T], places: list[tuple[np.ndarray, Place]]) -> Iterator[T]:
    """fetch(index, place) of every place in order, in a thread that is AHEAD of the caller."""
    with ThreadPoolExecutor(1) as pool:
        upcoming = iter(places)
        waiting = deque(pool.submit(fetch, *place) for place in islice(upcoming, AHEAD))
        while waiting:
            fetched = waiting.popleft().result()
            waiting.extend(pool.submit(fetch, *place) for place in islice(upcoming, 1))
            yield fetched


@dataclass(frozen=True)
class Raw:
    """Images of a share as they are stored, their maps and labels; `partner` is what they are mixed with.

    Images that a GPU augments are there already.
    """

    images: np.ndarray | torch.Tensor
    labels: np.ndarray
    maps: np.ndarray | None
    partner: Raw | None = None


def epoch_order(run: RunSpec, data: ImageData, subset: np.ndarray, epoch: int) -> list[np.ndarray]:
    """The training images of each global batch of an epoch; `run` has the training of its own data size."""
    spec, seed = run.training, run.seed
    if spec.order == "nested":
        assert run.images_per_class is not None  # `check_batches` refuses it
        return nested_batches(nested_rounds(data.train.labels, run.images_per_class, seed), spec, seed)
    order = epoch_batches(len(subset), spec.batch_size, seed, epoch, repeats=spec.repeated_augmentation)
    return [subset[batch] for batch in order]


def step_draw(run: RunSpec, index: np.ndarray, place: Place, share: slice) -> Draw:
    """The draw of the global batch of training images `index`."""
    images = index if run.training.flips == "alternating" else None
    return Draw(run.seed, place, share, len(index), images)


class Feed:
    """The batches of a run for one worker; what it gives depends on nothing but (epoch, step).

    Args:
        run: with the training of its own data size. subset: the training images that it sees. with_maps: whether the
            objective reads importance maps.
    """

    def __init__(self, run: RunSpec, data: ImageData, subset: np.ndarray, worker: Worker, with_maps: bool) -> None:
        self.run, self.data, self.subset = run, data, subset
        self.with_maps = with_maps and data.train.maps is not None
        self.device = torch.device(worker.device)
        self.look = Look(data.mean, data.std, self.device, data.image_size)
        self.share, self.alone = slice(worker.rank, None, worker.world), worker.world == 1
        on_gpu = self.device.type == "cuda"
        self.stream = torch.cuda.Stream(self.device) if on_gpu else None
        self.transfer = Transfer(self.device) if on_gpu else None
        # Memory that is mapped or held is read faster than a thread could be asked for it.
        self.in_memory = isinstance(data.train.images, np.ndarray)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on."""
        order = epoch_order(self.run, self.data, self.subset, epoch)
        places = [(order[step], (epoch, step)) for step in range(start, len(order))]
        if self.stream is not None:
            yield from (self._arrive(*queued) for queued in run_ahead(self._queue, places))
        elif self.in_memory:
            yield from (self.load(index, place) for index, place in places)
        else:
            for raw, (index, place) in zip(run_ahead(self._read, places), places, strict=True):
                yield self._finish(raw, index, place)

    def _queue(self, index: np.ndarray, place: Place) -> tuple[Batch, torch.cuda.Event]:
        """A batch that the GPU makes beside the steps, and the event after which it is there."""
        with torch.cuda.stream(self.stream):
            batch, ready = self.load(index, place), torch.cuda.Event()
            ready.record()
        return batch, ready

    def _arrive(self, batch: Batch, ready: torch.cuda.Event) -> Batch:
        """The batch, for the steps' stream: it waits for it, and its memory is not used anew before the step."""
        steps = torch.cuda.current_stream(self.device)
        steps.wait_event(ready)
        for value in vars(batch).values():
            if isinstance(value, torch.Tensor):
                value.record_stream(steps)
        return batch

    def load(self, index: np.ndarray, place: Place) -> Batch:
        """This worker's share of the global batch of training images `index`."""
        return self._finish(self._read(index, place), index, place)

    def _read(self, index: np.ndarray, place: Place) -> Raw:
        mixing = self._mixing(place, len(index))
        own = self._pick(index[self.share])
        if mixing is None or self.alone:
            return own
        return replace(own, partner=self._pick(index[mixing.partner[self.share]]))

    def _pick(self, index: np.ndarray) -> Raw:
        images = self.data.train
        maps = images.maps[index] if self.with_maps else None
        pixels = images.images[index] if self.transfer is None else self.transfer.gather(images.images, index)
        return Raw(pixels, images.labels[index], maps)

    def _mixing(self, place: Place, n_global: int) -> Mixing | None:
        return draw_mixing(self.run.training, self.run.seed, place, n_global, self.data.image_size)

    def _finish(self, raw: Raw, index: np.ndarray, place: Place) -> Batch:
        draw, n_global = step_draw(self.run, index, place, self.share), len(index)
        pixels, maps = prepare(raw.images, raw.maps, self.run.training, self.look, draw)
        labels = torch.from_numpy(raw.labels).to(self.device)
        has_map = None if raw.maps is None else torch.from_numpy(np.isfinite(raw.maps).all((1, 2))).to(self.device)
        batch = Batch(pixels, labels, place, self.share, n_global, maps, has_map)
        mixing = self._mixing(place, n_global)
        batch = batch if mixing is None else self._mix(batch, mixing, raw, draw)
        layout = torch.channels_last if self.run.resources.channels_last else torch.contiguous_format
        return replace(batch, images=batch.images.contiguous(memory_format=layout))

    def _mix(self, batch: Batch, mixing: Mixing, raw: Raw, draw: Draw) -> Batch:
        """Mixed with the partners' own views: of this batch, or, on several workers, made again here."""
        targets = self._targets(batch.labels)
        if raw.partner is None:
            partner = torch.from_numpy(mixing.partner).to(self.device)
            pixels, partner_targets = batch.images[partner], targets[partner]
        else:
            theirs = replace(draw, share=mixing.partner[self.share])
            pixels, _ = prepare(raw.partner.images, None, self.run.training, self.look, theirs)
            partner_targets = self._targets(torch.from_numpy(raw.partner.labels).to(self.device))
        images, targets = apply_mixing(mixing, batch.images, pixels, targets, partner_targets)
        return replace(batch, images=images, targets=targets)

    def _targets(self, labels: torch.Tensor) -> torch.Tensor:
        return soft_targets(labels, self.data.n_classes, self.run.training.label_smoothing)
