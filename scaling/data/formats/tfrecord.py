"""TFRecord shards of coded images, labels and importance maps, as ClickMe is published (Fel et al. 2022).

A shard holds record after record: the length of the data (uint64, little-endian), the masked CRC-32C of these 8 bytes
(uint32), the data, and their masked CRC-32C (uint32). The data are a tf.train.Example with the features `image` (bytes
of a coded image), `label` (one int64) and `heatmap` (bytes of a coded grey image; absent or empty where an image has
no map); others are ignored.

The checksums of the lengths are compared. Those of the data are not, which in Python would take longer than decoding:
damage there shows as a record or an image that cannot be decoded, or, where only pixels change, not at all.

Source: tensorflow.org/api_guides/python/python_io; tensorflow/core/example/{example,feature}.proto; names of files and
features from serre-lab/Harmonization, harmonization/common/clickme_dataset.py.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from glob import escape
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from scaling.data.formats.base import USE_LABELLED, LabelledFiles, Rows, Split, check_labels, chosen_names
from scaling.data.formats.shards import by_split, check_whole
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage, file_error

Record = tuple[bytes, int, bytes | None]  # image, label, map

TRAIN, HELDOUT = "train", ("val", "validation", "test")
EXPECTED = "*train*.tfrecord*"
# The second form is what the authors' loader calls the shards that it has downloaded.
SHARD = re.compile(r"^[^.].*\.tfrecords?(-\d+-of-\d+)?(\.gz)?$|^clickme_(train|val)_\d+$")
FEATURES = {"image": "bytes_list", "label": "int64_list", "heatmap": "bytes_list"}
HEADER, FOOTER = struct.Struct("<QI"), 4  # bytes before and after the data
GZIP = b"\x1f\x8b"  # how a gzipped file begins
SPAN = ("shard", "record", "begin", "size")  # which record of which shard, and where its data lie in bytes
INDEX = np.dtype([(name, np.int64) for name in (*SPAN, "label", "has_map")])
POLYNOMIAL = 0x82F63B78  # Castagnoli's, lowest bit last (RFC 3720, section 12.1)

# The messages of an Example in protobuf's text form; its map is what it is on the wire, entries of a key and a value.
EXAMPLE = """
name: "example.proto" syntax: "proto3"
message_type { name: "BytesList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type { name: "FloatList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
message_type { name: "Int64List" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
message_type { name: "Feature" field { name: "bytes_list" number: 1 type_name: "BytesList" }
                               field { name: "float_list" number: 2 type_name: "FloatList" }
                               field { name: "int64_list" number: 3 type_name: "Int64List" } }
message_type { name: "Entry" field { name: "key" number: 1 type: TYPE_STRING }
                             field { name: "value" number: 2 type_name: "Feature" } }
message_type { name: "Features" field { name: "feature" number: 1 label: LABEL_REPEATED type_name: "Entry" } }
message_type { name: "Example" field { name: "features" number: 1 type_name: "Features" } }
"""


def find_tfrecord(root: Storage, spec: DatasetSpec) -> tuple[Split, Split] | None:
    """The named shards, or `*train*.tfrecord*` and `*val*.tfrecord*` (or test), directly or in folders of these names.

    None: neither is there.

    Raises:
        StudyError: only one of the two is there; shards of several names, or as `check_whole`.
    """
    if not root.is_local:
        return None
    base = Path(root.root)
    train_word, *heldout_words = chosen_names(spec, TRAIN, HELDOUT)
    train = _shards(base, [train_word], [], "train_split", spec.train_split)
    heldout = _shards(base, heldout_words, train, "heldout_split", spec.heldout_split)
    if not train and not heldout:
        return None
    for files, words in ((train, [train_word]), (heldout, heldout_words)):
        if not files:
            wanted = " or ".join(f"*{word}*.tfrecord*" for word in words)
            raise StudyError(
                f"no {wanted} in '{root.root}' beside the other split; correct dataset.path, add it, or name another "
                "by dataset.train_split or dataset.heldout_split"
            )
    return TFRecordSplit(train), TFRecordSplit(heldout)


def _shards(base: Path, words: list[str], others: list[Path], field: str, chosen: str | None) -> list[Path]:
    """The shards of a chosen name, or else those of the one name that has the first of the words in it."""
    for pattern in (pattern for word in words for pattern in (f"*{escape(word)}*", f"{escape(word)}/*")):
        files = {file for file in base.glob(pattern) if SHARD.search(file.name) and file.is_file()}
        sets = by_split({str(file): _stem(file.name) for file in files.difference(others)}, chosen)
        if chosen and "/" not in pattern:
            sets = {name: found for name, found in sets.items() if name == chosen}
        if len(sets) > 1:
            raise StudyError(
                f"'{base}' has TFRecords of several names with '{pattern}' ({', '.join(sorted(sets))}); name one by "
                f"dataset.{field}"
            )
        for name, found in sets.items():
            check_whole([_stem(Path(file).name) for file in found], name, str(base))
            return [Path(file) for file in found]
    return []


def _stem(name: str) -> str:
    """A shard's name without what says that it is one: `train.tfrecord-00000-of-00002` is `train-00000-of-00002`."""
    return re.sub(r"\.tfrecords?", "", name).removesuffix(".gz")


class TFRecordSplit(LabelledFiles):
    """The shards of one split, in order of their names: read through once for the labels, then again for the images.

    Attributes:
        index: (n,) of INDEX, what is known of each record; no images.

    Raises:
        StudyError: once labels or images are asked for, as `read_records` and `parse_record`.
    """

    coded = True

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    @cached_property
    def index(self) -> NDArray[Any]:
        return np.fromiter((entry for shard, file in enumerate(self.files) for entry in _index(shard, file)), INDEX)

    @cached_property
    def labels(self) -> NDArray[np.int64]:  # type: ignore[override]
        return check_labels(self.index["label"], str(self.files[0]))

    @cached_property
    def has_maps(self) -> bool:  # type: ignore[override]
        return bool(self.index["has_map"].any())

    def rows(self, start: int, size: int) -> Iterator[Rows]:
        for begin in range(start, len(self), size):
            part = slice(begin, begin + size)
            places, records = [], []
            for shard, number, at, n_bytes in self.index[part][list(SPAN)].tolist():
                places.append(f"{self.files[shard].name}, record {number}")
                records.append(_read(self.files[shard], number, at, n_bytes))
            images, _, maps = zip(*records, strict=True)
            yield Rows(images, self.labels[part], places, maps if self.has_maps else None)


def _index(shard: int, file: Path) -> Iterator[tuple[int, ...]]:
    for number, (begin, data) in enumerate(read_records(file)):
        _, label, heatmap = parse_record(data, _place(file, number))
        if label < 0:
            raise StudyError(f"{_place(file, number)} is unlabelled (label {label}); {USE_LABELLED}")
        yield shard, number, begin, len(data), label, heatmap is not None


def _read(file: Path, number: int, begin: int, size: int) -> Record:
    with _opened(file) as stream:
        stream.seek(begin)
        return parse_record(stream.read(size), _place(file, number))


def _place(file: Path, number: int) -> str:
    return f"record {number} of '{file}'"


def read_records(file: Path) -> Iterator[tuple[int, bytes]]:
    """The byte at which each record's data begin, and the data.

    Raises:
        StudyError: a gzipped file, a length that is not what its checksum says, a file that ends within a record; names
            the file and the record, counted from 0.
    """
    with _opened(file) as stream:
        n_bytes = os.fstat(stream.fileno()).st_size
        for number in count():
            header = stream.read(HEADER.size)
            if not header:
                return
            begin = stream.tell()
            size = _length(header, file, number) if len(header) == HEADER.size else 0
            if begin + size + FOOTER > n_bytes:
                raise StudyError(f"{_place(file, number)} is cut off: the file has {n_bytes:,} bytes; fetch it again")
            yield begin, stream.read(size)
            stream.seek(FOOTER, os.SEEK_CUR)


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        raise file_error(file, error) from error


def _length(header: bytes, file: Path, number: int) -> int:
    size, checksum = HEADER.unpack(header)
    if masked_crc32c(header[:8]) == checksum:
        return size
    if number == 0 and header.startswith(GZIP):
        raise StudyError(f"'{file}' is gzipped, and only plain TFRecords are read; unpack it with gunzip")
    raise StudyError(f"the length of {_place(file, number)} does not fit its checksum (CRC-32C); fetch it again")


def masked_crc32c(data: bytes) -> int:
    """CRC-32C, rotated right by 15 bits, plus a constant, modulo 2³²."""
    crc, table = 0xFFFFFFFF, _crc_table()
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _crc_table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [crc >> 1 ^ (crc & 1) * POLYNOMIAL for crc in table]
    return table


def parse_record(data: bytes, place: str) -> Record:
    """An Example's image, label and, None where it has none, map; `place` names it in messages.

    Raises:
        StudyError: it is none; a feature is absent, of another type, or has several values.
    """
    decode, damage = _decoder()
    try:
        features = {entry.key: entry.value for entry in decode(data).features.feature}
    except damage as error:
        raise StudyError(f"{place} is no tf.train.Example ({error}); fetch it again") from error
    image, label, heatmap = (_only(features, name, place) for name in FEATURES)
    return image, label, heatmap or None


def _only(features: dict[str, Any], name: str, place: str) -> Any:
    """A feature's one value; None: it has no value, and needs none."""
    lists = {field.name: found.value for field, found in features[name].ListFields()} if name in features else {}
    values = lists.get(FEATURES[name], ())
    if len(values) == 1:
        return values[0]
    if name == "heatmap" and not any(map(len, lists.values())):
        return None
    raise StudyError(
        f"{place} has {len(values) or 'no'} values of feature '{name}' as {FEATURES[name]} where one is needed (its "
        f"features: {', '.join(sorted(features)) or 'none'}); write image, label and, if there is one, heatmap"
    )


@cache
def _decoder() -> tuple[Callable[[bytes], Any], type[Exception]]:
    """What makes an Example of bytes, and what it raises where they are none."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, text_format  # type: ignore

    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(EXAMPLE, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Example")).FromString, message.DecodeError
