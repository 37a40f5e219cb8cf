"""Readers of data sets on disk, against torchvision, Pillow and records written by hand."""

from __future__ import annotations

import gzip
import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10, FashionMNIST, ImageFolder
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from scaling.data.formats import find_splits
from scaling.data.images import check_dataset, load_images
from scaling.data.prepared.pixels import Square, decode_square
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def spec(path: str | Path, **changes) -> DatasetSpec:
    return DatasetSpec(name="x", path=str(path), **changes)


def write_idx(file: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    file.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(file, "wb") if file.suffix == ".gz" else file.open("wb") as stream:
        stream.write(header + values.astype(np.uint8).tobytes())


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """FashionMNIST/raw as torchvision keeps it: 12 + 6 grey images of 28 pixels, 3 classes."""
    random = np.random.default_rng(0)
    for stem, n in (("train", 12), ("t10k", 6)):
        raw = tmp_path / "FashionMNIST" / "raw"
        write_idx(raw / f"{stem}-images-idx3-ubyte", random.integers(0, 256, (n, 28, 28)))
        write_idx(raw / f"{stem}-labels-idx1-ubyte", np.arange(n) % 3)
    return tmp_path


def test_idx_equals_torchvision_reading_the_same_files(mnist):
    data = load_images(spec(mnist), Path("unused"))
    for train, ours in ((True, data.train), (False, data.heldout)):
        theirs = FashionMNIST(mnist, train=train)
        assert np.array_equal(ours.images, theirs.data.numpy()[..., None].repeat(3, -1))
        assert np.array_equal(ours.labels, theirs.targets.numpy())


@pytest.mark.parametrize("folder", [".", "FashionMNIST/raw", "MNIST/raw"])
def test_idx_gzipped_or_plain_wherever_it_lies(mnist, tmp_path, folder):
    packed = tmp_path / "packed" / folder
    packed.mkdir(parents=True)
    for file in (mnist / "FashionMNIST/raw").iterdir():
        (packed / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    ours = load_images(spec("packed"), tmp_path)
    assert np.array_equal(ours.train.images, load_images(spec(mnist), tmp_path).train.images)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_debians_fashion_mnist_is_found_without_reading_its_pixels():
    check_dataset(spec(DEBIAN), Path("unused"))
    train, heldout = find_splits(spec(DEBIAN), Storage(DEBIAN))
    assert (len(train), len(heldout)) == (60_000, 10_000)
    assert train.present().tolist() == list(range(10))


@pytest.fixture
def cifar(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """cifar-10-batches-bin with 2 records a file, written byte by byte."""
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (12, 3, 32, 32), np.uint8), np.arange(12, dtype=np.uint8) % 2
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        records = [bytes([labels[r]]) + pixels[r].tobytes() for r in (2 * i, 2 * i + 1)]
        (folder / f"{name}.bin").write_bytes(b"".join(records))
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\n\n")
    return tmp_path, pixels.transpose(0, 2, 3, 1), labels


def test_cifar10_records(cifar):
    folder, pixels, labels = cifar
    data = load_images(spec(folder), folder)
    assert np.array_equal(np.concatenate([data.train.images, data.heldout.images]), pixels)
    assert np.array_equal(np.concatenate([data.train.labels, data.heldout.labels]), labels)
    assert data.classes == ("airplane", "automobile")


def test_cifar100_takes_the_fine_label(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
    for name, rows in (("train", (0, 1)), ("test", (2, 3))):
        (tmp_path / f"{name}.bin").write_bytes(b"".join(bytes([9, row % 2]) + pixels[row].tobytes() for row in rows))
    data = load_images(spec(tmp_path, format="cifar"), tmp_path)
    assert data.train.labels.tolist() == [0, 1]
    assert np.array_equal(data.heldout.images[1], pixels[3].reshape(3, 32, 32).transpose(1, 2, 0))


def test_cifars_pickles_are_refused(tmp_path):
    (tmp_path / CIFAR10.base_folder).mkdir()
    with pytest.raises(StudyError, match=r"cifar-10-batches-py.*could run code.*cifar-10-binary\.tar\.gz"):
        check_dataset(spec(tmp_path), tmp_path)


def test_folders_equal_torchvisions_image_folder_with_its_transforms(picture_folder):
    data = load_images(spec("pictures", image_size=24, stored_size=32), picture_folder)
    ways = {
        "train": (data.train, Compose([Resize(32, InterpolationMode.BILINEAR), CenterCrop(32)])),
        "val": (data.heldout, Compose([Resize(32, InterpolationMode.BILINEAR), CenterCrop(24)])),
    }
    for split, (ours, transform) in ways.items():
        theirs = ImageFolder(str(picture_folder / "pictures" / split), transform)
        assert ours.labels.tolist() == theirs.targets
        assert np.array_equal(ours.images, np.stack([np.asarray(image) for image, _ in theirs]))
        assert list(data.classes) == theirs.classes
    assert (data.image_size, data.train.images.shape[1]) == (24, 32)


@pytest.mark.parametrize("shape", [(31, 47), (200, 33), (57, 57), (24, 90), (333, 500)])
@pytest.mark.parametrize(("side", "crop"), [(24, 24), (32, 24), (37, 24)])
def test_any_shape_is_resized_and_cropped_as_torchvision_does(photo, encode, shape, side, crop):
    coded = encode(photo(*shape))
    wanted = Compose([Resize(side, InterpolationMode.BILINEAR), CenterCrop(crop)])(Image.open(io.BytesIO(coded)))
    assert np.array_equal(decode_square(coded, Square(side, crop), ""), np.asarray(wanted))


def test_a_large_jpeg_is_decoded_smaller_first_without_a_visible_difference(photo, encode):
    """At 8 times the wanted side it is decoded at half its size; less than half a grey level on average is lost."""
    coded = encode(photo(512, 640), "JPEG")
    plain = Compose([Resize(64), CenterCrop(64)])(Image.open(io.BytesIO(coded)).convert("RGB"))
    difference = decode_square(coded, Square(64, 64), "").astype(float) - np.asarray(plain)
    assert 0 < np.abs(difference).mean() < 0.5
    assert np.abs(difference).max() <= 3


def test_npz_with_maps(tmp_path):
    random = np.random.default_rng(0)
    maps = random.random((6, 10, 10)).astype(np.float32)
    maps[2] = np.nan
    images = random.integers(0, 256, (6, 10, 10), np.uint8)
    np.savez(tmp_path / "train.npz", images=images, labels=np.arange(6) % 2, maps=maps, classes=["a", "b"])
    np.savez(tmp_path / "test.npz", images=images[..., None], labels=np.arange(6) % 2)
    data = load_images(spec(tmp_path), tmp_path)
    assert np.array_equal(data.train.images, images[..., None].repeat(3, -1))
    assert np.array_equal(data.train.maps, maps, equal_nan=True)
    assert data.heldout.maps is None
    assert data.classes == ("a", "b")


def test_clickmes_layout_resizes_a_map_with_its_image(tmp_path, photo, encode):
    images = [photo(40, 60, seed) for seed in range(3)]
    maps = [encode(images[0][..., 0]), None, encode(images[2][..., 1], "JPEG")]
    rows = {"image": [encode(image) for image in images], "heatmap": maps, "label": [0, 1, 0]}
    for split in ("train", "test"):
        pq.write_table(pa.table(rows), tmp_path / f"{split}.parquet")
    data = load_images(spec(tmp_path, image_size=20), tmp_path)
    transform = Compose([Resize(20), CenterCrop(20)])
    for row, coded in enumerate(maps):
        if coded is None:
            assert np.isnan(data.train.maps[row]).all()
            continue
        wanted = np.asarray(transform(Image.open(io.BytesIO(coded)))) / 255
        np.testing.assert_allclose(data.train.maps[row], wanted, rtol=1e-6)


@pytest.mark.parametrize("n_shards", [1, 3])
def test_parquet_rows_from_any_place_whatever_the_shards_and_row_groups(tmp_path, encode, write_hf, n_shards):
    pictures = [encode(np.full((8, 8, 3), i, np.uint8)) for i in range(23)]
    for i, part in enumerate(np.array_split(np.arange(23), n_shards)):
        file = write_hf(tmp_path / f"train-{i}.parquet", [pictures[k] for k in part], (part % 3).tolist())
        pq.write_table(pq.read_table(file), file, row_group_size=4)
    write_hf(tmp_path / "test.parquet", pictures[:3], [0, 1, 2])
    train, _ = find_splits(spec(tmp_path), Storage(tmp_path))
    for start in (0, 1, 4, 9, 22, 23):
        blocks = list(train.rows(start, 5))
        assert [len(block) for block in blocks[:-1]] == [5] * (len(blocks) - 1)
        assert [image for block in blocks for image in block.images] == pictures[start:]
        assert [label for block in blocks for label in block.labels] == [k % 3 for k in range(start, 23)]


def test_a_uri_is_read_as_a_folder_is(tmp_path, encode, write_hf, photo):
    for split in ("train", "test"):
        coded = [encode(photo(9, 9, k)) for k in range(3)]
        write_hf(tmp_path / "far away" / f"{split}-00000-of-00001.parquet", coded, [0, 1, 2])
    near = load_images(spec("far away"), tmp_path)
    far = load_images(spec((tmp_path / "far away").as_uri()), Path("unused"))
    assert np.array_equal(near.train.images, far.train.images)
    assert near.digest() == far.digest()
    with pytest.raises(StudyError, match=r"'s3x://.*no place that pyarrow can open"):
        check_dataset(spec("s3x://bucket/folder"), tmp_path)


def drop(file: Path, n_bytes: int = 40) -> None:
    file.write_bytes(file.read_bytes()[:-n_bytes])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda raw: drop(raw / "train-labels-idx1-ubyte", 1), "holds 11 values where its header says 12"),
        (lambda raw: drop(raw / "train-images-idx3-ubyte"), "values where its header says 12 x 28 x 28"),
        (lambda raw: (raw / "t10k-images-idx3-ubyte").write_bytes(b"html"), "does not begin as an idx file"),
        (lambda raw: write_idx(raw / "train-labels-idx1-ubyte", np.zeros(11)), r"\(12, 28, 28\) beside 11 labels"),
        (lambda raw: write_idx(raw / "t10k-labels-idx1-ubyte", np.arange(6) % 2), "class 2 has training images"),
        (lambda raw: write_idx(raw / "t10k-labels-idx1-ubyte", np.arange(6)), "classes 3, 4, 5: each of the held-out"),
    ],
)
def test_damaged_idx(mnist, damage, words):
    damage(mnist / "FashionMNIST/raw")
    with pytest.raises(StudyError, match=words):
        load_images(spec(mnist), mnist)


def test_a_truncated_gzip_is_named(mnist):
    raw = mnist / "FashionMNIST/raw"
    file = raw / "train-images-idx3-ubyte"
    (raw / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes())[:-500])
    file.unlink()
    with pytest.raises(StudyError, match=r"train-images-idx3-ubyte\.gz' cannot be read whole .*fetch it again"):
        load_images(spec(mnist), mnist)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: drop(folder / "data_batch_3.bin", 1), "6,145 bytes, no whole number of records of 3,073"),
        (lambda folder: (folder / "data_batch_4.bin").unlink(), r"data_batch_4\.bin' is missing"),
        (
            lambda folder: (folder / "test_batch.bin").write_bytes(bytes([7]) * 3073),
            "label 7, beyond the 2 class names",
        ),
    ],
)
def test_damaged_cifar(cifar, damage, words):
    damage(cifar[0] / "cifar-10-batches-bin")
    with pytest.raises(StudyError, match=words):
        check_dataset(spec(cifar[0]), cifar[0])


PLAIN = {"images": np.zeros((4, 8, 8), np.uint8), "labels": np.arange(4)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"maps": np.zeros((6, 8, 8))}, "6 maps for 4 images, 2 maps without an image"),
        ({"maps": np.zeros((3, 8, 8))}, "3 maps for 4 images, 1 images without a row of maps"),
        ({"maps": np.zeros((4, 8, 9))}, r"maps of \(8, 9\) pixels for images of \(8, 8\)"),
        ({"labels": np.arange(3)}, r"labels of shape \(3,\) for 4 images"),
        ({"labels": np.array([0, 1, 2, -1])}, r"unlabelled images \(label -1, row 3\)"),
        ({"images": np.zeros((4, 8, 8))}, "float64 images"),
        ({"labels": np.array([0, None, 2, 3], dtype=object)}, "no whole npz of plain arrays.*allow_pickle"),
    ],
)
def test_bad_npz_is_refused_without_reading_pixels(tmp_path, changes, words):
    np.savez(tmp_path / "train.npz", **(PLAIN | changes))
    np.savez(tmp_path / "test.npz", **PLAIN)
    with pytest.raises(StudyError, match=words):
        check_dataset(spec(tmp_path), tmp_path)


def test_truncated_npz_missing_array_and_broken_map(tmp_path):
    np.savez(tmp_path / "test.npz", **PLAIN)
    np.savez(tmp_path / "train.npz", images=PLAIN["images"])
    with pytest.raises(StudyError, match="has no array 'labels'; it has images"):
        check_dataset(spec(tmp_path), tmp_path)
    drop(tmp_path / "train.npz")
    with pytest.raises(StudyError, match="no whole npz"):
        check_dataset(spec(tmp_path), tmp_path)
    maps = np.zeros((4, 8, 8))
    maps[1, 2, 2] = np.nan
    np.savez(tmp_path / "train.npz", **PLAIN, maps=maps)
    with pytest.raises(StudyError, match="map of image 1 has pixels that are not finite"):
        load_images(spec(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: (root / "train/n03_owl").mkdir(), "class n03_owl has training images and no held-out image"),
        (
            lambda root: shutil.move(root / "train/n01_cat", root / "x"),
            "class n01_cat of the held-out images has no tr",
        ),
        (
            lambda root: [f.unlink() for f in (root / "val/n02_dog").iterdir()],
            "folder of class 'n02_dog' .*holds no im",
        ),
        (lambda root: [shutil.rmtree(root / f"val/{name}") for name in ("n01_cat", "n02_dog")], "no folder a class"),
        (lambda root: shutil.rmtree(root / "val"), "no train.*train/CLASS.*each beside its held-out images"),
    ],
)
def test_bad_folders_are_refused_without_decoding(picture_folder, damage, words):
    damage(picture_folder / "pictures")
    with pytest.raises(StudyError, match=words):
        check_dataset(spec("pictures"), picture_folder)


def write_parquet(file: Path, names: list[str], labels: list[int | None], coded: bytes, **columns) -> None:
    feature = {"label": {"_type": "ClassLabel", "names": names}}
    metadata = {"huggingface": __import__("json").dumps({"info": {"features": feature}})}
    table = pa.table({"image": [coded] * len(labels), "label": pa.array(labels, pa.int64()), **columns})
    pq.write_table(table.replace_schema_metadata(metadata), file)


@pytest.mark.parametrize(
    ("train", "heldout", "words"),
    [
        ((["a", "b"], [0, 1]), (["b", "a"], [0, 1]), "label 0 is 'a' in the training images and 'b' in the held-out"),
        ((["a", "b"], [0, 1]), (["a", "c"], [0, 1]), "class b has training images and no held-out image"),
        ((["a", "b"], [0, 1]), (["a", "b"], [0, 0]), "class b has training images and no held-out image"),
        ((["a", "b"], [0, None]), (["a", "b"], [0, 1]), r"1 unlabelled images \(first row 1\)"),
    ],
)
def test_classes_of_parquet_are_compared_by_name_without_decoding(tmp_path, encode, train, heldout, words):
    for split, content in (("train", train), ("test", heldout)):
        write_parquet(tmp_path / f"{split}.parquet", *content, b"no image")
    with pytest.raises(StudyError, match=words):
        check_dataset(spec(tmp_path), tmp_path)


def test_a_map_without_its_image_or_of_another_shape(tmp_path, encode, photo):
    good = encode(photo(10, 10))
    for heatmap, image, words in (
        (good, None, r"a map without its image \(train\.parquet, row 1\)"),
        (encode(photo(10, 15)), good, r"a map of 10 x 15 pixels for an image of 10 x 10 \(train\.parquet, row 1\)"),
    ):
        rows = {"image": [good, image], "heatmap": [None, heatmap], "label": [0, 1]}
        pq.write_table(pa.table(rows), tmp_path / "train.parquet")
        pq.write_table(pa.table({**rows, "image": [good, good], "heatmap": [good, good]}), tmp_path / "test.parquet")
        with pytest.raises(StudyError, match=words):
            load_images(spec(tmp_path), tmp_path)


def test_only_one_split_and_a_wrong_format(tmp_path, encode, mnist):
    write_parquet(tmp_path / "train.parquet", ["a"], [0], b"")
    with pytest.raises(StudyError, match=r"no test\*\.parquet or validation\*\.parquet or val\*\.parquet in"):
        check_dataset(spec(tmp_path), tmp_path)
    with pytest.raises(StudyError, match=r"no train\.npz in .*dataset 'x'"):
        check_dataset(spec(tmp_path, format="npz"), tmp_path)
    with pytest.raises(StudyError, match=r"decode='each_epoch' decodes coded images, and idx holds plain pixels"):
        check_dataset(spec(mnist, format="idx", decode="each_epoch"), tmp_path)
