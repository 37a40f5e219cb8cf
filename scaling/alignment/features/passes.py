"""Which columns of which layers are gathered in which pass over the images, so that memory and disk stay bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt

from scaling.alignment.numerics import BLOCK_ELEMENTS
from scaling.errors import StudyError

GB = 10**9

# A forward pass without gradients holds at most this many times the largest tensor between two modules. Measured as
# peak resident memory at 224 px: 2.0 (ResNet-18) to 5.0 (ViT-B), 4.1 for VGG16.
FORWARD_COPIES = 6
FORWARD_BYTES = 384 * 10**6  # what a batch may take by that measure; assumption
MAX_BATCH = 64

# Columns up to this size stay in memory though a file would hold them. Above, the page cache does what memory would,
# but is given back to whoever needs it. Assumption.
SMALL_BYTES = 256 * 10**6

OVERHEAD_BYTES = 128 * 10**6  # buffers of BLAS and oneDNN, what the allocator keeps; assumption, tested as a whole
_BUFFER_SHARE = 16  # part of the memory in which rows wait for the file: 2 GB make writes of 130 kB and more
_SQUARES = 5  # n × n float64 that a GramAccumulator holds at its end, features kept; PCA holds no more
_BLOCK_BYTES = 8 + 4 + 1  # per element of a block: float64, as stored, whether it is finite


class FeatureBudget(BaseModel):
    """What computing features may take.

    Attributes:
        memory_gb: resident memory, 10⁹ bytes, beyond the libraries, the model's weights, the stimuli, and what the
            caller does with the representations.
        spill_gb: disk. 0: no file; what does not fit the memory is computed in more passes over the images.
        spill_folder: where the file lies; None: where temporary files go. Not a disk of memory (tmpfs).
        batch_size: images in a forward pass; None: from the size of the model's activations. It moves float32
            outputs in their last digits, so it does not depend on the memory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_gb: PositiveFloat = 2.0
    spill_gb: NonNegativeFloat = 16.0
    spill_folder: str | None = None
    batch_size: PositiveInt | None = None

    @property
    def buffer_bytes(self) -> int:
        """Memory for rows that wait for the file."""
        return int(self.memory_gb * GB) // _BUFFER_SHARE


class ColumnRange(NamedTuple):
    """Stored columns start … stop − 1 of a layer; start is a multiple of the block's width."""

    layer: str
    start: int
    stop: int


class Pass(NamedTuple):
    """One pass over the images: the columns that it gathers, in the order in which the layers run."""

    columns: tuple[ColumnRange, ...]
    in_memory: bool


class LayerCost(NamedTuple):
    """A layer as the plan sees it: columns stored per image, and bytes held while the layer is in a pass."""

    layer: str
    width: int
    held_bytes: int = 0


@dataclass(frozen=True)
class Workload:
    """What all layers share: images, bytes of a stored value, images a batch, bytes that a forward pass allocates."""

    n_images: int
    itemsize: int
    batch_size: int
    forward_bytes: int

    @property
    def block_width(self) -> int:
        """ColumnRange that enter the Gram matrix at a time, as everywhere: the sums then agree to the bit."""
        return max(1, BLOCK_ELEMENTS // self.n_images)


def choose_batch_size(image_bytes: int, budget: FeatureBudget) -> int:
    """The budget's batch size, or the power of two that keeps a forward pass within `FORWARD_BYTES`.

    Args:
        image_bytes: largest tensor between two modules for one image.
    """
    if budget.batch_size is not None:
        return budget.batch_size
    fitting = FORWARD_BYTES // (FORWARD_COPIES * image_bytes)
    return 1 << (min(max(fitting, 1), MAX_BATCH).bit_length() - 1)


def plan_passes(layers: Sequence[LayerCost], work: Workload, budget: FeatureBudget) -> list[Pass]:
    """Passes over the images that gather every column once, the layers in the order given, within the budget.

    A pass costs a forward run up to its deepest layer. Filling passes from the deepest layer back leaves the one
    that is not full to the earliest layers, and makes the deepest layer of every other pass as early as it can be:
    no order of columns gives cheaper passes. A layer may be cut between two passes, never among three that do not
    follow each other, so that at most one Gram matrix waits unfinished.

    Args:
        layers: in the order in which they run.

    Raises:
        StudyError: the memory or the disk does not hold one block of columns; says how much is needed.
    """
    passes: list[Pass] = []
    columns: list[ColumnRange] = []
    room = _Room(layers, work, budget)
    for layer in reversed(layers):
        stop = layer.width
        while stop:
            start = room.start_of(layer, stop)
            if start < stop:
                columns.insert(0, ColumnRange(layer.layer, start, stop))
                room.fill(layer, stop - start)
                stop = start
            else:
                passes.insert(0, Pass(tuple(columns), room.fits_memory))
                columns, room = [], _Room(layers, work, budget)
    return [Pass(tuple(columns), room.fits_memory), *passes]


class _Room:
    """What is left of the budget in a pass."""

    def __init__(self, layers: Sequence[LayerCost], work: Workload, budget: FeatureBudget) -> None:
        self._work = work
        self._square = 8 * work.n_images**2
        self._gram = _SQUARES * self._square + _BLOCK_BYTES * work.n_images * work.block_width
        self._memory, self._spill = int(budget.memory_gb * GB), int(budget.spill_gb * GB)
        self._buffer = budget.buffer_bytes
        self._used, self._held = 0, 0
        self._check(layers)

    @property
    def fits_memory(self) -> bool:
        small = self._used * self._column_bytes() <= SMALL_BYTES
        return self._used <= self._in_memory(self._held) and (small or self._used > self._in_file(self._held))

    def start_of(self, layer: LayerCost, stop: int) -> int:
        """First column of the layer that still fits when columns up to `stop` are wanted; `stop` when none does."""
        held, block = self._held + layer.held_bytes, self._work.block_width
        left = max(self._in_memory(held), self._in_file(held)) - self._used
        start = max(0, -(-(stop - left) // block) * block)
        return min(start, stop)

    def fill(self, layer: LayerCost, n_columns: int) -> None:
        self._used, self._held = self._used + n_columns, self._held + layer.held_bytes

    def _column_bytes(self) -> int:
        return self._work.itemsize * self._work.n_images

    def _streaming(self, held: int) -> int:
        """Bytes while images pass, beside the columns: the forward pass, projections, an unfinished Gram matrix."""
        return self._work.forward_bytes + held + self._square + OVERHEAD_BYTES

    def _in_memory(self, held: int) -> int:
        """ColumnRange that memory holds, both while they are gathered and while the Gram matrix grows."""
        gathering = (self._memory - self._streaming(held)) // (self._column_bytes() + 4 * self._work.batch_size)
        return min(gathering, (self._memory - self._gram - OVERHEAD_BYTES) // self._column_bytes())

    def _in_file(self, held: int) -> int:
        """ColumnRange that the file holds and a batch of which fits the memory."""
        if self._memory < self._gram + OVERHEAD_BYTES:
            return 0
        batch = (self._memory - self._buffer - self._streaming(held)) // (4 * self._work.batch_size)
        return min(batch, self._spill // self._column_bytes())

    def _check(self, layers: Sequence[LayerCost]) -> None:
        """Refuse a budget that does not hold one block of the most demanding layer."""
        work = self._work
        for layer in layers:
            width = min(layer.width, work.block_width)
            if max(self._in_memory(layer.held_bytes), self._in_file(layer.held_bytes)) >= width:
                continue
            streaming = self._streaming(layer.held_bytes) + 4 * work.batch_size * width
            adding, stored = self._gram + OVERHEAD_BYTES, width * self._column_bytes()
            if self._spill >= stored:
                need = max(streaming * _BUFFER_SHARE // (_BUFFER_SHARE - 1) + 1, adding)
            else:
                need = max(streaming, adding) + stored
            raise StudyError(
                f"memory_gb={self._memory / GB:g} does not hold the features of layer {layer.layer!r} for "
                f"{work.n_images:,} images in batches of {work.batch_size}; raise it to {_up(need):g}, or lower "
                "batch_size"
            )


def _up(n_bytes: int) -> float:
    """GB, rounded up to two digits behind the point."""
    return -(-n_bytes // (GB // 100)) / 100
