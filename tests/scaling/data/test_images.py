"""Image sets: the built-in digits, and Parquet in the Hugging Face layout."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from scaling.data.formats.parquet import ParquetSplit
from scaling.data.images import ImageSet, check_dataset, load_images
from scaling.data.prepared.pixels import CorruptImage, Square, decode_square
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage
from scaling.train.batches import to_input

PLANTED = DatasetSpec(name="planted", path="planted")


@pytest.fixture
def pictures() -> np.ndarray:
    """12 colour ramps of 16 pixels."""
    y, x = np.mgrid[:16, :16] / 15
    ramps = [np.stack([x * k, y * k, np.full_like(x, k)], axis=-1) for k in np.linspace(0.2, 1, 12)]
    return np.round(255 * np.stack(ramps)).astype(np.uint8)


@pytest.fixture
def planted(tmp_path, pictures, encode, write_hf) -> Path:
    """A data folder with `planted`: two PNG training shards and a JPEG test shard in its `data` folder."""
    folder, coded = tmp_path / "planted" / "data", [encode(image) for image in pictures]
    write_hf(folder / "train-00000-of-00002.parquet", coded[:5], [0, 1, 2, 0, 1])
    write_hf(folder / "train-00001-of-00002.parquet", coded[5:8], [2, 0, 1])
    write_hf(folder / "test-00000-of-00001.parquet", [encode(image, "JPEG") for image in pictures[8:]], [0, 1, 2, 2])
    return tmp_path


def test_digits_are_scikit_learns_split_without_overlap_and_stratified(digits_data):
    train, heldout = digits_data.train, digits_data.heldout
    assert (len(train), len(heldout), digits_data.image_size, digits_data.n_classes) == (1437, 360, 8, 10)
    bunch = load_digits()
    grey = np.concatenate([train.images, heldout.images])
    assert (grey == grey[..., :1]).all(), "three equal channels"
    ours = np.column_stack([np.concatenate([train.labels, heldout.labels]), grey[..., 0].reshape(1797, 64)])
    theirs = np.column_stack([bunch.target, np.round(bunch.data * 255 / 16)])
    assert np.array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)]), "all 1,797 images, each once"
    share = np.bincount(heldout.labels) / np.bincount(bunch.target)
    assert share == pytest.approx(np.full(10, 0.2), abs=0.01)


def test_channel_statistics_are_those_of_the_training_pixels(digits_data):
    pixels = digits_data.train.images / 255
    assert digits_data.mean == pytest.approx(pixels.mean((0, 1, 2)), rel=1e-12)
    assert digits_data.std == pytest.approx(pixels.std((0, 1, 2)), rel=1e-9)
    inputs = to_input(digits_data.train.images.copy(), digits_data.mean, digits_data.std, torch.device("cpu")).double()
    assert inputs.mean((0, 2, 3)).numpy() == pytest.approx(np.zeros(3), abs=1e-6)
    assert inputs.std((0, 2, 3), correction=0).numpy() == pytest.approx(np.ones(3), rel=1e-6)


def test_digits_are_resized_as_pillow_does(digits_data):
    larger = load_images(DatasetSpec(name="digits", image_size=32), Path("unused"))
    for index in (0, 700):
        image = Image.fromarray(digits_data.train.images[index]).resize((32, 32), Image.Resampling.BILINEAR)
        assert np.array_equal(larger.train.images[index], np.asarray(image))
    assert np.array_equal(larger.train.labels, digits_data.train.labels)


def test_hugging_face_shards_are_read_in_order(planted, pictures, encode):
    data = load_images(PLANTED, planted)
    assert np.array_equal(data.train.images, pictures[:8])
    assert data.train.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    decoded = [np.asarray(Image.open(io.BytesIO(encode(image, "JPEG")))) for image in pictures[8:]]
    assert np.array_equal(data.heldout.images, decoded)
    assert data.heldout.labels.tolist() == [0, 1, 2, 2]
    assert (data.name, data.n_classes, data.image_size) == ("planted", 3, 16)


def test_images_are_resized_on_the_short_side_and_cropped_in_the_centre(tmp_path, encode, write_hf):
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 10:30] = 200  # the centre square; the rest must be cut off
    for split in ("train", "validation"):
        write_hf(tmp_path / f"planted/{split}.parquet", [encode(wide), encode(wide[:, 10:30])], [0, 1])
    data = load_images(PLANTED.model_copy(update={"image_size": 10}), tmp_path)
    assert np.abs(data.train.images.astype(int) - 200)[:, :, 1:-1].max() == 0
    with pytest.raises(StudyError, match=r"image of 20 x 40 pixels .*train\.parquet, row 0.*; set dataset\.image_size"):
        load_images(PLANTED, tmp_path)


def test_a_column_of_class_labels_is_found_without_metadata_if_it_is_the_only_integer(planted):
    for file in sorted((planted / "planted" / "data").glob("*.parquet")):
        pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)
    with pytest.raises(
        StudyError, match=r"2 label columns .*name one by dataset\.label_column: weight_g, kind; columns: pic"
    ):
        check_dataset(PLANTED, planted)
    for file in sorted((planted / "planted" / "data").glob("*.parquet")):
        pq.write_table(pq.read_table(file).drop_columns(["weight_g"]), file)
    assert load_images(PLANTED, planted).heldout.labels.tolist() == [0, 1, 2, 2]


def test_damaged_images_are_refused_or_decoded_but_never_crash(pictures, encode):
    """Bytes cut or flipped, all in the header: Pillow decodes the image, or its exception becomes ours."""
    messages = []
    for kind in ("PNG", "JPEG"):
        good = encode(pictures[3], kind)
        for place in (*range(60), *range(60, len(good), 10)):
            for bad in (good[:place], good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :]):
                try:
                    assert decode_square(bad, Square(16, 16), "").shape == (16, 16, 3)
                except CorruptImage as error:
                    messages.append(str(error))
    assert len(messages) > 20
    assert all(messages)


@pytest.mark.parametrize("bad", [b"", None, b"no image"])
def test_what_is_no_image_is_named(planted, encode, write_hf, pictures, bad):
    file = planted / "planted/data/train-00001-of-00002.parquet"
    write_hf(file, [encode(pictures[0]), bad], [0, 1])
    with pytest.raises(StudyError, match=r"cannot be decoded \(train-00001-of-00002\.parquet, row 1: .*fetch"):
        load_images(PLANTED, planted)


def test_a_truncated_shard_is_named_before_anything_is_decoded(planted):
    file = planted / "planted/data/train-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(StudyError, match=r"train-00001-of-00002\.parquet' is no whole Parquet file .*; fetch it again"):
        check_dataset(PLANTED, planted)


def test_a_damaged_page_is_named(planted):
    file = planted / "planted/data/train-00001-of-00002.parquet"
    content = bytearray(file.read_bytes())
    content[4:40] = b"\xff" * 36
    file.write_bytes(bytes(content))
    with pytest.raises(StudyError, match=r"train-00001-of-00002\.parquet"):
        load_images(PLANTED, planted)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 0, 1, 1], "class c of the held-out images has no training image .*'planted'"),
        ([0, 1, 2, -1], r"train\.parquet' has unlabelled images \(label -1, row 3\); use a labelled split"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, pictures, encode, write_hf, labels, words):
    write_hf(tmp_path / "planted/train.parquet", [encode(image) for image in pictures[:4]], labels)
    write_hf(tmp_path / "planted/test.parquet", [encode(image) for image in pictures[:3]], [0, 1, 2])
    with pytest.raises(StudyError, match=words):
        load_images(PLANTED, tmp_path)


def test_images_cannot_be_corrupted(digits_data):
    for images in (digits_data.train, digits_data.heldout):
        for array in (images.images, images.labels, images.images[:2]):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("place", [np.array([0, 1]), slice(None)], ids=["chosen images", "the whole array"])
def test_model_input_never_shares_the_memory_of_the_images(place):
    images = ImageSet(np.full((2, 8, 8, 3), 255, np.uint8), np.zeros(2, np.int64))
    inputs = to_input(images.images[place], (0.5,) * 3, (0.25,) * 3, torch.device("cpu"))
    assert inputs.unique().tolist() == [2.0]
    inputs.zero_()
    assert (images.images == 255).all()


def test_cifar10_is_in_the_layout_and_decodes():
    given = os.environ.get("SCALING_DATA_DIR")
    root = Path(given) if given else Path(__file__).parents[4] / "shared" / "data"
    for split in ("train", "test"):
        if not (root / "cifar10" / f"{split}.parquet").is_file():
            pytest.skip(f"{root}/cifar10/{split}.parquet is absent")
    check_dataset(DatasetSpec(name="cifar10", path="cifar10"), root)
    split = ParquetSplit(Storage(root / "cifar10"), ["test.parquet"])
    assert len(split) == 10_000
    assert np.bincount(split.labels).tolist() == [1000] * 10
    assert split.classes[:2] == ("airplane", "automobile")
    pixels = np.stack([decode_square(one, Square(None, 32), "") for rows in split.rows(0, 1000) for one in rows.images])
    assert pixels.mean((0, 1, 2)) / 255 == pytest.approx([0.4942, 0.4851, 0.4504], abs=2e-3)
