"""A worker's share of every global batch, on its device: read, augmented, mixed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from scaling.data.images import ImageData
from scaling.study import RunSpec
from scaling.train.augment import Look, prepare
from scaling.train.batches import Draw, epoch_batches
from scaling.train.losses import soft_targets
from scaling.train.mixing import Mixing, apply_mixing, draw_mixing
from scaling.train.objectives.base import Batch

if TYPE_CHECKING:
    from scaling.train.loop import Worker

AHEAD = 2  # batches that are read while the device computes


@dataclass(frozen=True)
class Raw:
    """Images of a share as they are stored, their maps and labels; `partner` is what they are mixed with."""

    images: np.ndarray
    labels: np.ndarray
    maps: np.ndarray | None
    partner: Raw | None = None


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
        # Memory that is mapped or held is read faster than a thread could be asked for it.
        self.read_ahead = self.device.type != "cpu" or not isinstance(data.train.images, np.ndarray)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on."""
        spec = self.run.training
        order = epoch_batches(
            len(self.subset), spec.batch_size, self.run.seed, epoch, repeats=spec.repeated_augmentation
        )
        places = [(self.subset[order[step]], (epoch, step)) for step in range(start, len(order))]
        if not self.read_ahead:
            yield from (self.load(index, place) for index, place in places)
            return
        with ThreadPoolExecutor(1) as pool:
            waiting = [pool.submit(self._read, *place) for place in places[:AHEAD]]
            for number, (index, place) in enumerate(places):
                raw = waiting.pop(0).result()
                if number + AHEAD < len(places):
                    waiting.append(pool.submit(self._read, *places[number + AHEAD]))
                yield self._finish(raw, len(index), place)

    def load(self, index: np.ndarray, place: tuple[int, int]) -> Batch:
        """This worker's share of the global batch of training images `index`."""
        return self._finish(self._read(index, place), len(index), place)

    def _read(self, index: np.ndarray, place: tuple[int, int]) -> Raw:
        mixing = self._mixing(place, len(index))
        own = self._pick(index[self.share])
        if mixing is None or self.alone:
            return own
        return replace(own, partner=self._pick(index[mixing.partner[self.share]]))

    def _pick(self, index: np.ndarray) -> Raw:
        images = self.data.train
        maps = images.maps[index] if self.with_maps else None
        return Raw(images.images[index], images.labels[index], maps)

    def _mixing(self, place: tuple[int, int], n_global: int) -> Mixing | None:
        return draw_mixing(self.run.training, self.run.seed, place, n_global, self.data.image_size)

    def _finish(self, raw: Raw, n_global: int, place: tuple[int, int]) -> Batch:
        draw = Draw(self.run.seed, place, self.share, n_global)
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
