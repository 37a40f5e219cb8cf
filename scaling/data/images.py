"""Labelled images as uint8 arrays: the built-in digits and any Parquet data in the Hugging Face layout."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scaling.data.formats.idx import idx_files, read_idx
from scaling.errors import StudyError, known_names
from scaling.study import DatasetSpec

DIGITS_TEST_SHARE = 0.2
DIGITS_MAX = 16  # grey levels of scikit-learn's digits


@dataclass(frozen=True)
class ImageSet:
    """Square images (n, size, size, 3) uint8 with labels (n,) int64; arrays are read-only views.

    maps: (n, size, size) float importance maps, all NaN for an image without one; None: no image has one.

    Raises:
        StudyError: maps that are not those of the images, or a map with some pixels that are not finite.
    """

    images: np.ndarray
    labels: np.ndarray
    maps: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.maps is not None:
            _check_maps(self.maps, self.images.shape[:3])
            self.maps.flags.writeable = False
        for array in (self.images, self.labels):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageData:
    """A data set: training and held-out images, and the training images' channel statistics in [0, 1]."""

    name: str
    train: ImageSet
    heldout: ImageSet
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def image_size(self) -> int:
        return int(self.train.images.shape[1])

    @property
    def n_classes(self) -> int:
        return int(max(self.train.labels.max(), self.heldout.labels.max())) + 1


def _check_maps(maps: np.ndarray, shape: tuple[int, ...]) -> None:
    if maps.shape != shape:
        raise StudyError(f"maps of shape {maps.shape} beside images of {shape}; give every image its map, or NaN")
    finite = np.isfinite(maps).reshape(len(maps), -1)
    broken = np.flatnonzero(finite.any(1) != finite.all(1))
    infinite = np.flatnonzero(np.isinf(maps).reshape(len(maps), -1).any(1))
    for image in (*broken, *infinite):
        raise StudyError(f"the map of image {image} has pixels that are not finite; correct it, or fill it with NaN")


def load_images(spec: DatasetSpec, data_dir: Path) -> ImageData:
    """Decode a data set into memory.

    Raises:
        StudyError: unknown name, missing or truncated file, images that are not images, labels that do not fit.
    """
    train, heldout = _read(spec, data_dir)
    absent = np.setdiff1d(np.unique(heldout.labels), np.unique(train.labels))
    if absent.size:
        raise StudyError(
            f"class {absent[0]} of the held-out images has no training image (dataset '{spec.name}'); correct the files"
        )
    mean, std = _channel_statistics(train.images)
    return ImageData(spec.name, train, heldout, mean, std)


def check_dataset(spec: DatasetSpec, data_dir: Path) -> None:
    """Refuse a data set that cannot be found, without decoding it."""
    if spec.path is None:
        if spec.name not in BUILT_IN:
            raise StudyError(
                f"unknown dataset '{spec.name}'; {known_names(spec.name, BUILT_IN)}; "
                "or name a Parquet folder by dataset: {name: …, path: …}"
            )
        return
    if _is_idx(spec, data_dir):
        return
    for prefixes in (TRAIN_PREFIXES, HELDOUT_PREFIXES):
        for file in _split_files(spec, data_dir, prefixes):
            _image_columns(file)


def _read(spec: DatasetSpec, data_dir: Path) -> tuple[ImageSet, ImageSet]:
    check_dataset(spec, data_dir)
    if spec.path is None:
        return BUILT_IN[spec.name](spec.image_size)
    if _is_idx(spec, data_dir):
        return _read_idx_split(spec, data_dir, "train"), _read_idx_split(spec, data_dir, "heldout")
    train, heldout = (
        _read_parquet(_split_files(spec, data_dir, prefixes), spec.image_size)
        for prefixes in (TRAIN_PREFIXES, HELDOUT_PREFIXES)
    )
    return train, heldout


def _is_idx(spec: DatasetSpec, data_dir: Path) -> bool:
    root = data_dir / Path(spec.path or "").expanduser()
    return idx_files(root, "train") is not None and idx_files(root, "heldout") is not None


def _read_idx_split(spec: DatasetSpec, data_dir: Path, split: str) -> ImageSet:
    files = idx_files(data_dir / Path(spec.path or "").expanduser(), split)
    assert files is not None
    grey, labels = (read_idx(file) for file in files)
    images = np.repeat(grey[..., None], 3, axis=-1)
    if spec.image_size is not None and spec.image_size != images.shape[1]:
        images = np.stack([_as_square(_from_array(image), spec.image_size) for image in images])
    return ImageSet(images, labels.astype(np.int64))


def _digits(image_size: int | None) -> tuple[ImageSet, ImageSet]:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, split 1,437 to 360, stratified, seed 0."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    grey = np.round(bunch.images * (255 / DIGITS_MAX)).astype(np.uint8)
    images = np.repeat(grey[..., None], 3, axis=-1)
    if image_size is not None and image_size != images.shape[1]:
        images = np.stack([_as_square(_from_array(image), image_size) for image in images])
    labels = bunch.target.astype(np.int64)
    train, heldout = train_test_split(
        np.arange(len(labels)), test_size=DIGITS_TEST_SHARE, random_state=0, stratify=labels
    )
    return ImageSet(images[train], labels[train]), ImageSet(images[heldout], labels[heldout])


BUILT_IN: dict[str, Callable[[int | None], tuple[ImageSet, ImageSet]]] = {"digits": _digits}
TRAIN_PREFIXES = ("train",)
HELDOUT_PREFIXES = ("test", "validation", "val")


def _split_files(spec: DatasetSpec, data_dir: Path, prefixes: tuple[str, ...]) -> list[Path]:
    """The shards of one split: files `<prefix>*.parquet` in the folder, or in its `data` folder."""
    root = data_dir / Path(spec.path or "").expanduser()
    for folder in (root, root / "data"):
        for prefix in prefixes:
            files = sorted(folder.glob(f"{prefix}*.parquet"))
            if files:
                return files
    raise StudyError(
        f"no {' or '.join(f'{prefix}*.parquet' for prefix in prefixes)} in '{root}' (dataset '{spec.name}'); "
        "correct dataset.path, or name the data folder with --data-dir or SCALING_DATA_DIR"
    )


def _image_columns(file: Path) -> tuple[str, str]:
    """Names of the image and label columns: struct<bytes, path>, and the ClassLabel or only integer column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise StudyError(f"'{file}' is no whole Parquet file ({error}); fetch it again") from error
    images = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    labels = _class_labels(schema) or [f.name for f in schema if pa.types.is_integer(f.type)]
    if len(images) != 1 or len(labels) != 1:
        raise StudyError(
            f"'{file}' has {len(images)} image columns (struct<bytes, path>) and {len(labels)} label columns (int64), "
            f"one of each is needed; columns: {', '.join(schema.names)}"
        )
    return images[0], labels[0]


def _class_labels(schema: Any) -> list[str]:
    metadata = (schema.metadata or {}).get(b"huggingface")
    if metadata is None:
        return []
    features = json.loads(metadata).get("info", {}).get("features", {})
    return [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]


def _read_parquet(files: list[Path], image_size: int | None) -> ImageSet:
    """Decode shard by shard into one array; threads, since JPEG and PNG decoding release the interpreter's lock."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    counts = [pq.read_metadata(file).num_rows for file in files]
    images: np.ndarray | None = None
    labels = np.empty(sum(counts), np.int64)
    start = 0
    with ThreadPoolExecutor() as pool:
        for file in files:
            image_column, label_column = _image_columns(file)
            try:
                for batch in pq.ParquetFile(file).iter_batches(1024, columns=[image_column, label_column]):
                    coded = batch.column(image_column).field("bytes").to_pylist()
                    size = image_size or (images.shape[1] if images is not None else None)
                    places = [f"{file.name}, row {start + i}" for i in range(len(coded))]
                    decoded = list(pool.map(_decode, coded, places, [size] * len(coded)))
                    if images is None:
                        images = np.empty((len(labels), *decoded[0].shape), np.uint8)
                    images[start : start + len(coded)] = _stack(decoded, images.shape[1], places)
                    labels[start : start + len(coded)] = batch.column(label_column).to_numpy(zero_copy_only=False)
                    start += len(coded)
            except (pa.ArrowInvalid, OSError) as error:
                raise StudyError(f"'{file}' is damaged near row {start} ({error}); fetch it again") from error
    if images is None:
        raise StudyError(f"'{files[0].parent}' holds no images; correct dataset.path")
    if labels.min() < 0:
        raise StudyError(f"'{files[0]}' has unlabelled images (label {labels.min()}); use a labelled split")
    return ImageSet(images, labels)


def _stack(decoded: list[np.ndarray], size: int, places: list[str]) -> np.ndarray:
    for image, place in zip(decoded, places, strict=True):
        if image.shape[:2] != (size, size):
            raise StudyError(
                f"image of {image.shape[0]} x {image.shape[1]} pixels among others of {size} x {size} ({place}); "
                "set dataset.image_size to resize all"
            )
    return np.stack(decoded)


def _decode(coded: bytes | None, place: str, size: int | None) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(coded or b"")) as image:
            return _as_square(image, size)
    except Exception as error:  # Pillow raises many kinds on damaged files, SyntaxError among them
        raise StudyError(f"image cannot be decoded ({place}: {error}); fetch the file again") from error


def _as_square(image: Any, size: int | None) -> np.ndarray:
    """RGB; the shorter side resized to `size` (bilinear, antialiased) and the centre cropped; None keeps it."""
    from PIL import Image

    rgb = image.convert("RGB")
    if size is not None and rgb.size != (size, size):
        scale = size / min(rgb.size)
        width, height = (max(size, round(side * scale)) for side in rgb.size)
        left, top = (width - size) // 2, (height - size) // 2
        rgb = rgb.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(rgb)


def _from_array(image: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(image)


def _channel_statistics(images: np.ndarray) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation a channel on the [0, 1] scale, from exact histogram counts."""
    levels = np.arange(256) / 255
    mean, std = [], []
    for channel in range(3):
        share = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., channel].size
        centre = float(share @ levels)
        mean.append(centre)
        std.append(max(float(np.sqrt(share @ (levels - centre) ** 2)), 1e-3))
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])
