"""TFRecords, written here bit by bit, against Parquet of the same bytes."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scaling.data.formats import find_splits, tfrecord
from scaling.data.images import check_dataset, load_images
from scaling.data.prepared import prepare
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage

Row = tuple[bytes, int, bytes | None]
CLICKME = DatasetSpec(name="clickme", path="clickme", image_size=16)


def crc32c(data: bytes) -> int:
    """Polynomial division, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            carry = (crc ^ byte >> bit) & 1
            crc = crc >> 1 ^ (0x82F63B78 if carry else 0)
    return ~crc & 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    rotated = crc // 2**15 + crc % 2**15 * 2**17
    return struct.pack("<I", (rotated + 0xA282EAD8) % 2**32)


def framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def varint(value: int) -> bytes:
    value %= 2**64  # a negative int64 is its two's complement
    low = []
    while value > 127:
        low.append(value % 128 + 128)
        value //= 128
    return bytes([*low, value])


def field(number: int, content: bytes) -> bytes:
    """A protobuf field of wire type 2."""
    return bytes([number * 8 + 2]) + varint(len(content)) + content


def of_bytes(*values: bytes) -> bytes:
    return field(1, b"".join(field(1, value) for value in values))


def of_ints(*values: int) -> bytes:
    return field(3, field(1, b"".join(map(varint, values))))


def of_floats(*values: float) -> bytes:
    return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))


def example(**features: bytes) -> bytes:
    entries = [field(1, field(1, name.encode()) + field(2, feature)) for name, feature in features.items()]
    return field(1, b"".join(entries))


def record(image: bytes, label: int, heatmap: bytes | None) -> bytes:
    maps = {} if heatmap is None else {"heatmap": of_bytes(heatmap)}
    return example(image=of_bytes(image), **maps, label=of_ints(label))


def write(file: Path, rows: list[Row]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(framed(record(*row)) for row in rows))


def write_parquet(file: Path, rows: list[Row]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    images, labels, maps = (list(column) for column in zip(*rows, strict=True))
    columns = {"image": images, "heatmap": pa.array(maps, pa.binary()), "label": labels}
    pq.write_table(pa.table(columns), file)


@pytest.fixture
def rows(photo, encode) -> Callable[..., list[Row]]:
    """Photographs as JPEG, two of three with a grey map, of three labels."""

    def make(n: int, seed: int = 0, labels: tuple[int, ...] = (0, 1, 2)) -> list[Row]:
        images = [encode(photo(20, 25, 100 * seed + i), "JPEG") for i in range(n)]
        maps = [encode(photo(20, 25, 100 * seed + i + 50)[..., 0], "JPEG") if i % 3 else None for i in range(n)]
        return list(zip(images, [labels[i % 3] for i in range(n)], maps, strict=True))

    return make


@pytest.fixture
def clickme(tmp_path, rows) -> Path:
    """The published layout, 8 + 5 training and 6 held-out images; as Parquet beside it."""
    for name, split, n, seed in (
        ("train/train-0", "train-0", 8, 0),
        ("train/train-1", "train-1", 5, 1),
        ("val/val-0", "test", 6, 2),
    ):
        write(tmp_path / f"clickme/{name}.tfrecords", rows(n, seed))
        write_parquet(tmp_path / f"parquet/{split}.parquet", rows(n, seed))
    return tmp_path


def test_the_checksum_is_the_published_one():
    assert crc32c(b"123456789") == 0xE3069283
    for data in (b"123456789", b"", bytes(8), bytes([255] * 8), struct.pack("<Q", 123_456)):
        assert struct.pack("<I", tfrecord.masked_crc32c(data)) == masked(data)


@pytest.mark.parametrize("decode", ["once", "each_epoch"])
def test_images_labels_and_maps_are_what_parquet_of_the_same_bytes_gives(clickme, monkeypatch, decode):
    monkeypatch.setattr(prepare, "BLOCK_ROWS", 3)
    spec = CLICKME.model_copy(update={"decode": decode})
    ours = load_images(spec, clickme, clickme / "cache")
    theirs = load_images(CLICKME.model_copy(update={"path": "parquet"}), clickme)
    assert ours.digest() == theirs.digest()
    assert (ours.mean, ours.std, ours.classes) == (theirs.mean, theirs.std, theirs.classes)
    for one, other in ((ours.train, theirs.train), (ours.heldout, theirs.heldout)):
        assert np.array_equal(one.images[:], other.images)
        assert one.labels.tolist() == other.labels.tolist()
        np.testing.assert_array_equal(one.maps[:], other.maps)
    assert np.isnan(ours.train.maps[:]).all((1, 2)).tolist() == [i % 3 == 0 for n in (8, 5) for i in range(n)]


@pytest.mark.parametrize(
    ("train", "heldout"),
    [
        (("train/train-0.tfrecords", "train/train-1.tfrecords"), "val/val-0.tfrecords"),
        (("clickme_train_0", "clickme_train_1"), "clickme_val_0"),
        (
            ("x-train.tfrecord-00000-of-00002", "x-train.tfrecord-00001-of-00002"),
            "x-validation.tfrecord-00000-of-00001",
        ),
        (("test_set-train-0.tfrecord", "test_set-train-1.tfrecord"), "test_set-test.tfrecord"),
    ],
)
def test_shards_are_found_by_name_and_read_in_its_order(tmp_path, rows, train, heldout):
    wide = (0, 1, 300)  # as of ImageNet's, which take two bytes
    first, second = rows(4, 0, wide), rows(3, 1, wide)
    for name, content in ((train[1], second), (train[0], first), (heldout, rows(3, 2, wide))):
        write(tmp_path / name, content)
    (tmp_path / ".train-2.tfrecords").write_bytes(b"a download that is not done")
    (tmp_path / "train.tfrecords.md5").write_text("0")
    split, held_out = find_splits(DatasetSpec(name="x", path="."), Storage(tmp_path))
    assert (len(split), len(held_out)) == (7, 3)
    assert split.present().tolist() == [0, 1, 300]
    for start in (0, 2, 4, 6, 7):
        blocks = list(split.rows(start, 3))
        assert [len(block) for block in blocks[:-1]] == [3] * (len(blocks) - 1)
        found = [row for block in blocks for row in zip(block.images, block.labels, block.maps, strict=True)]
        assert found == (first + second)[start:]
    assert next(split.rows(4, 1)).places == [f"{Path(train[1]).name}, record 0"]


def test_named_in_a_study_file_or_found_by_itself(clickme, make_study):
    named, found = (
        make_study(dataset={"name": "clickme", "path": "clickme", "image_size": 16} | form).dataset
        for form in ({"format": "tfrecord"}, {})
    )
    assert named.format == "tfrecord"
    assert load_images(named, clickme).digest() == load_images(found, clickme).digest()
    with pytest.raises(StudyError, match=r"no \*train\*\.tfrecord\* in .*parquet' \(dataset 'clickme'\)"):
        check_dataset(named.model_copy(update={"path": "parquet"}), clickme)
    with pytest.raises(StudyError, match=r"is no local folder, which format='tfrecord' needs"):
        check_dataset(named.model_copy(update={"path": "mock://clickme"}), clickme)


def test_an_empty_map_is_none_and_other_features_are_passed_over(tmp_path, rows):
    (image, label, _), (_, _, heatmap) = rows(2)
    plain = {"image": of_bytes(image), "label": of_ints(label)}
    ways = [plain | {"heatmap": empty} for empty in (b"", of_bytes(), of_bytes(b""))]
    ways += [{"label": field(3, b"\x08\x00"), "image": plain["image"], "click_count": of_floats(3.0)}]  # not packed
    for name in ("train-0", "val"):
        (tmp_path / f"{name}.tfrecords").write_bytes(b"".join(framed(example(**way)) for way in ways))
    spec = DatasetSpec(name="x", path=str(tmp_path), image_size=16)
    data = load_images(spec, tmp_path)
    assert data.train.maps is None
    assert data.train.labels.tolist() == [0] * 4
    write(tmp_path / "train-1.tfrecords", [(image, 0, heatmap)])
    maps = load_images(spec, tmp_path).train.maps
    assert np.isnan(maps).all((1, 2)).tolist() == [True] * 4 + [False]


def test_labels_are_read_without_keeping_images(clickme):
    split, _ = find_splits(CLICKME, Storage(clickme / "clickme"))
    fingerprint = split.fingerprint()
    assert "index" not in vars(split), "a prepared data set is opened by the files' names, sizes and times alone"
    assert len(split) == 13
    assert split.index.nbytes == 13 * 48
    assert [entry[:2] for entry in fingerprint] == [[file.name, file.stat().st_size] for file in split.files]


def changed(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


IMAGE, LABEL = of_bytes(b"coded"), of_ints(1)
GOOD = framed(example(image=IMAGE, label=LABEL))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD + GOOD[:-1], r"record 1 of '.*train-0\.tfrecords' is cut off: the file has [\d,]+ bytes; fetch it again"),
        (GOOD + GOOD[:20], r"record 1 of .* is cut off"),
        (GOOD + GOOD[:5], r"record 1 of .* is cut off"),
        (changed(GOOD, 2), r"the length of record 0 of '.*train-0\.tfrecords' does not fit its checksum \(CRC-32C\)"),
        (GOOD + changed(GOOD, 9), "the length of record 1 of"),
        (b"<html>not found</html>", "the length of record 0 of"),
        (gzip.compress(GOOD, mtime=0), r"train-0\.tfrecords' is gzipped, and only plain TFRecords are read; unpack it"),
        (GOOD + framed(b"no protobuf"), r"record 1 of '.*train-0\.tfrecords' is no tf\.train\.Example \(.*fetch it ag"),
        (GOOD + framed(b""), r"record 1 of .* has no values of feature 'image' .*\(its features: none\); write"),
        (framed(example(label=LABEL)), r"has no values of feature 'image' as bytes_list .*features: label\)"),
        (framed(example(image=IMAGE)), r"has no values of feature 'label' as int64_list .*features: image\)"),
        (framed(example(image=IMAGE, label=of_floats(1))), "no values of feature 'label' as int64_list where one is"),
        (framed(example(image=IMAGE, label=of_ints(1, 2))), "has 2 values of feature 'label' as int64_list where one"),
        (framed(example(image=IMAGE, label=of_ints(-1))), r"record 0 of .* is unlabelled \(label -1\); use a labelled"),
        (
            framed(example(image=IMAGE, label=LABEL, heatmap=of_floats(0.5, 1))),
            r"record 0 of .* has no values of feature 'heatmap' as bytes_list .*features: heatmap, image, label\)",
        ),
        (b"", r"train-0\.tfrecords' holds no images"),
    ],
    ids=lambda value: value if isinstance(value, str) else "bytes",
)
def test_damage_names_the_file_and_the_record_and_is_found_without_decoding(tmp_path, content, words):
    (tmp_path / "train-0.tfrecords").write_bytes(content)
    (tmp_path / "val-0.tfrecords").write_bytes(GOOD)
    with pytest.raises(StudyError, match=words) as caught:
        check_dataset(DatasetSpec(name="x", path=str(tmp_path)), tmp_path)
    assert "\n" not in str(caught.value)


def test_damage_inside_an_image_stops_or_is_left_out(clickme, rows):
    content = rows(5, 1)
    content[3] = (content[3][0][:200], *content[3][1:])
    write(clickme / "clickme/train/train-1.tfrecords", content)
    with pytest.raises(StudyError, match=r"cannot be decoded \(train-1\.tfrecords, record 3: "):
        load_images(CLICKME, clickme)
    data = load_images(CLICKME.model_copy(update={"corrupt": "skip"}), clickme)
    assert len(data.train) == 12
    assert data.skipped[0].startswith("train-1.tfrecords, record 3: ")


def test_only_one_split_and_a_file_out_of_reach(tmp_path, rows):
    spec = DatasetSpec(name="x", path=str(tmp_path))
    write(tmp_path / "train-0.tfrecords", rows(3))
    with pytest.raises(
        StudyError, match=r"no \*val\*\.tfrecord\* or \*validation\*.* or \*test\*\.tfrecord\* in '.*bes"
    ):
        check_dataset(spec, tmp_path)
    write(tmp_path / "val-0.tfrecords", rows(3))
    train, _ = find_splits(spec, Storage(tmp_path))
    (tmp_path / "train-0.tfrecords").unlink()
    with pytest.raises(StudyError, match=r"train-0\.tfrecords' cannot be read \(.*\), seen from node .*; restore it"):
        train.present()
