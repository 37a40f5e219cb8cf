"""Which images: the data set, how large, how decoded, and what becomes of images that cannot be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from scaling.specs.base import Spec

DatasetFormat = Literal["parquet", "folder", "idx", "cifar", "npz", "tfrecord"]
Side = Annotated[int, Field(ge=8, le=1024)]
Name = Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*$")]  # of a split or a column: no path, nothing hidden
CHOICES = ("train_split", "heldout_split", "image_column", "label_column")


class DatasetSpec(Spec):
    """A set of labelled images.

    `name` alone is a built-in set ('digits', 'simulated-clickme'); with `path`, a folder (absolute, relative to the
    data folder, or a URI such as s3://bucket/folder).

    format: parquet (Hugging Face layout, one file or many shards), folder (a folder a class, as torchvision's
    ImageFolder), idx (MNIST's files, as torchvision's FashionMNIST), cifar (the binary version of CIFAR-10 or -100),
    npz (images, labels and importance maps), tfrecord (ClickMe as it is published: image, heatmap, label); by default
    what the folder holds.
    image_size: pixels a side; by default images stay as they are.
    stored_size: pixels a side of the training images that random crops are taken from; by default image_size.
    decode: 'once' into a memory-mapped array that all runs of a node share; 'each_epoch' from the coded bytes, for
    sets that do not fit the disk decoded.
    corrupt: what an image that cannot be decoded does: 'stop' the study before it starts, or 'skip': it is left out,
    and recorded.
    train_split, heldout_split: names of the splits, where they are not `train` and the first labelled one of `test`,
    `validation` and `val` (of folders and TFRecords: `val` before `test`). A split is `NAME.parquet`,
    `NAME-00000-of-00004.parquet` and so on, or the Parquet files in the folder NAME; the folder NAME of classes;
    `NAME.npz`; the TFRecord shards of that name, or in that folder.
    image_column, label_column: of Parquet with several that could be it, such as CIFAR-100's `fine_label`.
    classes, images_per_class: how many there are, the training images of the rarest class: what a budget of FLOP needs
    to become images and epochs. They are checked when the images are opened; built-in sets know theirs.
    blur_maps: importance maps are smoothed as Fel et al. (2022) do, see `scaling.data.prepared.pixels.decode_map`, and
    kept as float32.

    Images are shown as RGB of 8 bits a channel: grey is repeated over the channels, transparency is dropped, CMYK is
    converted as Pillow does. What has more than 8 bits a channel (16-bit, 32-bit, float) is refused, here, among
    stimuli, and by `scaling.preprocessing`. Labels are the integers 0 … C - 1, each with images in both splits; the
    format's names of classes may name some that have none. Hidden files and folders and those of systems
    (`scaling.data.formats.folder.SYSTEM`) are no data.
    """

    name: str
    path: str | None = None
    format: DatasetFormat | None = None
    image_size: Side | None = None
    stored_size: Side | None = None
    decode: Literal["once", "each_epoch"] = "once"
    corrupt: Literal["stop", "skip"] = "stop"
    train_split: Name | None = None
    heldout_split: Name | None = None
    image_column: Name | None = None
    label_column: Name | None = None
    blur_maps: bool = False
    classes: PositiveInt | None = None
    images_per_class: PositiveInt | None = None

    @model_validator(mode="after")
    def _check(self) -> DatasetSpec:
        if self.stored_size is not None and self.stored_size < (self.image_size or self.stored_size + 1):
            raise ValueError(
                f"stored_size={self.stored_size} needs an image_size, and one that does not exceed it "
                f"(image_size={self.image_size}); set both"
            )
        if self.format is not None and self.path is None:
            raise ValueError(f"format={self.format!r} belongs to a path; give dataset.path")
        for field, value in self.choices().items():
            if self.path is None:
                raise ValueError(f"{field}={value!r} belongs to a path; give dataset.path, or leave it out")
        if self.train_split is not None and self.train_split == self.heldout_split:
            raise ValueError(f"train_split and heldout_split are both {self.train_split!r}; hold out other images")
        return self

    def choices(self) -> dict[str, str]:
        """The splits and columns that are chosen by name."""
        return {field: value for field in CHOICES if (value := getattr(self, field)) is not None}

    def identity(self) -> dict[str, Any]:
        """What determines the images and maps; where they lie and how they are read does not."""
        known: dict[str, Any] = {"name": self.name, "image_size": self.image_size}
        known |= {} if self.stored_size is None else {"stored_size": self.stored_size}
        return known | ({"blur_maps": True} if self.blur_maps else {}) | self.choices()


def as_dataset(value: Any) -> Any:
    """A name alone stands for a built-in set."""
    return {"name": value} if isinstance(value, str) else value
