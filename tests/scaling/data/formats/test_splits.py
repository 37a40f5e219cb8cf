"""Which files and columns are the two splits: whole, of one generation, labelled 0 … C - 1, or chosen by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scaling.data.formats.shards import Shard, check_whole, parse_stem
from scaling.data.images import check_dataset, load_images
from scaling.errors import StudyError
from scaling.specs.dataset import DatasetSpec

ABC = ["a", "b", "c"]
Write = Callable[..., None]


def spec(path: Path, **choices: str) -> DatasetSpec:
    return DatasetSpec(name="x", path=str(path), **choices)


@pytest.fixture
def write(tmp_path, encode) -> Write:
    """Write `NAME.parquet`: an image struct and columns of labels, each with its names of classes or None."""

    def make(name: str, n_or_labels: Any = (0, 1, 2), names: list[str] | None = ABC, **columns: Any) -> None:
        columns = columns or {"label": (n_or_labels, names)}
        images = [encode(np.full((8, 8, 3), 10 * i, np.uint8)) for i in range(len(next(iter(columns.values()))[0]))]
        struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = {"image": pa.array([{"bytes": image, "path": None} for image in images], struct)}
        table |= {column: pa.array(values) for column, (values, _) in columns.items()}
        features = {c: {"_type": "ClassLabel", "names": known} for c, (_, known) in columns.items() if known}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        file = tmp_path / f"{name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table).replace_schema_metadata(metadata), file)

    return make


@pytest.mark.parametrize(
    ("stem", "shard"),
    [
        ("train", ("train", None, None)),
        ("train-00001-of-00003", ("train", 1, 3)),
        ("train-00001-of-00003-0123456789abcdef", ("train", 1, 3)),
        ("clickme_train_12", ("clickme_train", 12, None)),
        ("0007", ("", 7, None)),
        ("test_ood", ("test_ood", None, None)),
        ("train-00000-of-00001 (1)", ("train-00000-of-00001 (1)", None, None)),
    ],
)
def test_a_files_name_says_its_split_and_how_many_there_are(stem, shard):
    assert parse_stem(stem) == Shard(*shard)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train"], None),
        (["train-0", "train-1", "train-2"], None),
        (["train-1", "train-2"], None),
        (["train-00001-of-00002", "train-00002-of-00002"], None),
        (
            ["train-00000-of-00003", "train-00002-of-00003"],
            "lacks shard 00001: 2 are there, and their names say of-00003",
        ),
        (["train-00000-of-00003", "train-00001-of-00003"], "lacks shard 00002"),
        (["train-00001-of-00003", "train-00002-of-00003"], "lacks shard 00000"),
        (["train-0", "train-2"], "lacks shard 00001: 2 are there, and the last is 00002"),
        (["train-00000-of-99999999999999999999"], "00005 and 99,999,999,999,999,999,993 more"),
        (["train-0-of-1", "train-1-of-1"], "beyond its last, shard 00001"),
        (["train-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"], "two generations of split 'train'"),
        (["train", "train-00000-of-00001"], "'train' and 'train-00000-of-00001' are shards of two generations"),
        (["train-0", "train-00000"], "'train-0' and 'train-00000' are shards of two generations"),
        (["train-0-of-1-0123456789abcdef", "train-0-of-1-fedcba9876543210"], "two generations"),
        (["train-0", "train-1-of-2"], "two generations"),
    ],
)
def test_a_split_is_whole_and_of_one_generation(names, words):
    if words is None:
        return check_whole(names, "train", "d")
    with pytest.raises(StudyError, match=words):
        check_whole(names, "train", "d")
    return None


@pytest.mark.parametrize(
    ("files", "choices", "n"),
    [
        (["train", "train_extra", "trainval-00000-of-00001", "test", "test_ood"], {}, (3, 3)),
        (["train-0", "train-1", "trainval-0", "test"], {}, (6, 3)),
        (["data/train-00000-of-00001", "data/test-00000-of-00001"], {}, (3, 3)),
        (["train/0000", "train/0001", "test/0000"], {}, (6, 3)),
        (["train", "test", "dev-0", "dev-1"], {"heldout_split": "dev"}, (3, 6)),
        (["train_2016", "train_2017", "test"], {"train_split": "train_2017"}, (3, 3)),
        (["train", "test"], {"train_split": "test", "heldout_split": "train"}, (3, 3)),
    ],
)
def test_files_belong_to_the_split_of_their_name_alone(tmp_path, write, files, choices, n):
    for name in files:
        write(name)
    data = load_images(spec(tmp_path, **choices), tmp_path)
    assert (len(data.train), len(data.heldout)) == n


@pytest.mark.parametrize(
    ("files", "choices", "words"),
    [
        (["train-00000-of-00003", "train-00002-of-00003", "test"], {}, r"split 'train' in '.*' lacks shard 00001"),
        (["train", "test-00000-of-00002"], {}, r"split 'test' in '.*' lacks shard 00001"),
        (["train-00000-of-00001", "train-0-of-2", "train-1-of-2", "test"], {}, "two generations of split 'train'"),
        (["train", "data/train", "test"], {}, r"split 'train' is in '.*' and in '.*/data', which may hold the same"),
        (["train", "train/0000", "test"], {}, r"split 'train' is in '.*' and in '.*/train'"),
        (["train/a-0", "train/b-0", "test"], {}, r"holds Parquet files of several names \('a', 'b'\)"),
        (["train_a", "test"], {}, r"no train\*\.parquet in .*dataset\.train_split .*\(there: test, train_a\)"),
        (
            ["train", "test"],
            {"train_split": "tain"},
            "no split 'tain' .*did you mean 'train'.*correct dataset.train_sp",
        ),
        (
            ["train", "test"],
            {"heldout_split": "dev"},
            "no split 'dev' .*known: test, train; correct dataset.heldout_sp",
        ),
        (["train", "test"], {"train_split": "test"}, r"no validation\*\.parquet or val\*\.parquet"),
        (["train", "test"], {"image_column": "label"}, "dataset.image_column='label' is none of the image columns"),
        (
            ["train", "test"],
            {"label_column": "lable"},
            "no column 'lable' of labels.*dataset.label_column.*: image, label",
        ),
    ],
)
def test_files_that_are_not_two_whole_splits_are_refused(tmp_path, write, files, choices, words):
    for name in files:
        write(name)
    with pytest.raises(StudyError, match=words):
        check_dataset(spec(tmp_path, **choices), tmp_path)


@pytest.mark.parametrize("heldout", ["validation", "val"])
@pytest.mark.parametrize("test", [[-1, -1, -1], [None, None, None]], ids=["-1", "null"])
def test_imagenets_labelled_validation_is_held_out_where_the_test_split_has_no_labels(tmp_path, write, heldout, test):
    write("train-00000-of-00001")
    write(f"{heldout}-00000-of-00001", (0, 1, 2, 2))
    write("test-00000-of-00001", pa.array(test, pa.int64()))
    assert load_images(spec(tmp_path), tmp_path).heldout.labels.tolist() == [0, 1, 2, 2]
    with pytest.raises(
        StudyError, match=r"unlabelled images .*use a labelled split \(dataset\.train_split, dataset\.h"
    ):
        check_dataset(spec(tmp_path, heldout_split="test"), tmp_path)


def test_a_test_split_without_the_column_of_labels_is_passed_over(tmp_path, write):
    write("train")
    write("val")
    write("test", image_id=([7, 8, 9], None))
    assert len(load_images(spec(tmp_path), tmp_path).heldout) == 3
    with pytest.raises(StudyError, match="no column 'label' of labels"):
        check_dataset(spec(tmp_path, heldout_split="test"), tmp_path)


def test_a_labelled_test_split_is_held_out_before_a_validation_split(tmp_path, write):
    write("train")
    write("validation", (0, 1, 2, 2))
    write("test")
    assert len(load_images(spec(tmp_path), tmp_path).heldout) == 3
    assert len(load_images(spec(tmp_path, heldout_split="validation"), tmp_path).heldout) == 4


def test_cifar100s_fine_or_coarse_labels_are_chosen_by_name_and_decoded_apart(tmp_path, write):
    for split in ("train", "test"):
        write(split, fine_label=([0, 1, 2, 0], ABC), coarse_label=([0, 0, 1, 0], ["x", "y"]))
    with pytest.raises(
        StudyError, match=r"2 label columns.*; name one by dataset\.label_column: fine_label, coarse_la"
    ):
        check_dataset(spec(tmp_path), tmp_path)
    for column, classes, labels in (("fine_label", "abc", [0, 1, 2, 0]), ("coarse_label", "xy", [0, 0, 1, 0])):
        data = load_images(spec(tmp_path, label_column=column), tmp_path, tmp_path / "cache")
        assert (data.classes, data.train.labels.tolist()) == (tuple(classes), labels)


def test_one_of_several_columns_of_images_is_chosen_by_name(tmp_path, write):
    for split in ("train", "test"):
        write(split)
        table = pq.read_table(tmp_path / f"{split}.parquet")
        turned = table.column("image").combine_chunks().take(pa.array([2, 1, 0]))
        pq.write_table(table.append_column("depth", turned), tmp_path / f"{split}.parquet")
    with pytest.raises(StudyError, match=r"2 image columns.*; name one by dataset\.image_column: image, depth"):
        check_dataset(spec(tmp_path), tmp_path)
    levels = [
        load_images(spec(tmp_path, image_column=c), tmp_path).train.images[:, 0, 0, 0] for c in ("image", "depth")
    ]
    assert [one.tolist() for one in levels] == [[0, 10, 20], [20, 10, 0]]


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        (
            (1, 2, 3),
            None,
            r"label 3 is beyond 2: dataset 'x' has 3 classes, and no image of label 0; number the classes 0",
        ),
        ((0, 1, 300), None, "label 300 is beyond 2: .* no image of label 2"),
        ((0, 1, 3), ABC, "label 3 is beyond 2: dataset 'x' has 3 names of classes"),
        ((0, 2, 2), ABC, None),
        ((0.0, 1.0, 2.0), None, r"0 label columns \(int64\).*label \(double\)"),
        (("a", "b", "c"), ABC, r"0 label columns \(int64\).*label \(string\)"),
    ],
)
def test_labels_of_parquet_are_integers_from_0_to_the_last_class(tmp_path, write, labels, names, words):
    for split in ("train", "test"):
        write(split, labels, names)
    if words is None:
        return check_dataset(spec(tmp_path), tmp_path)
    with pytest.raises(StudyError, match=words):
        check_dataset(spec(tmp_path), tmp_path)
    return None


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (b"{half", "metadata 'huggingface' that cannot be read"),
        (b"[]", "metadata 'huggingface' that cannot be read"),
        (b'{"info": null}', None),
        (b'{"info": {"features": {"boxes": [{"x": 1}]}}}', None),
        (b'{"info": {"features": {"gone": {"_type": "ClassLabel", "names": ["a"]}}}}', None),
    ],
)
def test_metadata_of_any_make_are_read_or_refused(tmp_path, write, metadata, words):
    for split in ("train", "test"):
        write(split)
        file = tmp_path / f"{split}.parquet"
        pq.write_table(pq.read_table(file).replace_schema_metadata({b"huggingface": metadata}), file)
    if words is None:
        return check_dataset(spec(tmp_path), tmp_path)
    with pytest.raises(StudyError, match=words):
        check_dataset(spec(tmp_path), tmp_path)
    return None


def write_npz(file: Path, labels: Any, **arrays: Any) -> None:
    np.savez(file, images=np.zeros((len(labels), 8, 8), np.uint8), labels=np.asarray(labels), **arrays)


@pytest.mark.parametrize(
    ("labels", "arrays", "words"),
    [
        (
            ["cat", "dog"],
            {},
            r"labels of type <U3 and shape \(2,\), such as \['cat'\]; give each image one integer, 0 …",
        ),
        ([b"cat", b"dog"], {}, r"labels of type \|S3"),
        ([0.0, 1.5], {}, "labels of type float64"),
        ([0j, 1j], {}, "labels of type complex128"),
        ([True, False], {}, "labels of type bool"),
        ([1, 2], {}, "label 2 is beyond 1: .*no image of label 0"),
        ([0, 10**12], {}, "label 1000000000000 is beyond 1"),
        (np.array([0, 2**64 - 1], np.uint64), {}, "unlabelled images"),
        ([0, 1], {"classes": ["a"]}, "label 1 is beyond 0: dataset 'x' has 1 names"),
        ([0, 1], {"classes": "a"}, r"classes of shape \(\)"),
    ],
)
def test_labels_of_npz_are_integers_from_0_to_the_last_class(tmp_path, labels, arrays, words):
    for split in ("train", "test"):
        write_npz(tmp_path / f"{split}.npz", labels, **arrays)
    with pytest.raises(StudyError, match=words):
        check_dataset(spec(tmp_path), tmp_path)


def test_npz_files_are_chosen_by_name_or_by_having_labels(tmp_path):
    for name, labels in (("train", [0, 1]), ("test", [-1, -1]), ("val", [0, 1, 1]), ("dev", [0, 1, 1, 0])):
        write_npz(tmp_path / f"{name}.npz", labels)
    for choices, n in (({}, (2, 3)), ({"heldout_split": "dev"}, (2, 4)), ({"train_split": "dev"}, (4, 3))):
        data = load_images(spec(tmp_path, **choices), tmp_path)
        assert (len(data.train), len(data.heldout)) == n
    with pytest.raises(StudyError, match=r"dataset\.label_column='labels' says nothing to npz files.*leave it out"):
        check_dataset(spec(tmp_path, label_column="labels"), tmp_path)


def test_tfrecords_of_several_names_are_chosen_by_name_and_whole(tmp_path):
    def touch(*names: str) -> None:
        for name in names:
            (tmp_path / name).write_bytes(b"")

    touch("a-train-0.tfrecord", "b-train-0.tfrecord", "a-val-0.tfrecord")
    with pytest.raises(
        StudyError, match=r"several names with '\*train\*' \(a-train, b-train\); name one by dataset\.train"
    ):
        check_dataset(spec(tmp_path), tmp_path)
    with pytest.raises(StudyError, match=r"b-train-0\.tfrecord' holds no images"):
        check_dataset(spec(tmp_path, train_split="b-train", heldout_split="a-val"), tmp_path)
    touch("a-train-2.tfrecord")
    with pytest.raises(StudyError, match=r"split 'a-train' in .* lacks shard 00001"):
        check_dataset(spec(tmp_path, train_split="a-train"), tmp_path)


def test_a_place_with_two_sets_a_file_and_an_unknown_home_are_refused(tmp_path):
    for layout in ("cifar-10-batches-bin/data_batch_1.bin", "cifar-100-binary/train.bin"):
        (tmp_path / layout).parent.mkdir()
        (tmp_path / layout).write_bytes(b"")
    with pytest.raises(StudyError, match=r"holds several sets .*set dataset\.path to the folder of one"):
        check_dataset(spec(tmp_path), tmp_path)
    with pytest.raises(StudyError, match=r"train\.bin' is a file; give the folder"):
        check_dataset(spec(tmp_path / "cifar-100-binary/train.bin"), tmp_path)
    with pytest.raises(StudyError, match=r"dataset\.path='~nobody-here/x' names a user without a home"):
        check_dataset(DatasetSpec(name="x", path="~nobody-here/x"), tmp_path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"train_split": "a", "heldout_split": "a", "path": "p"}, "both 'a'; hold out other images"),
        ({"label_column": "label"}, "label_column='label' belongs to a path"),
        ({"train_split": "../secret", "path": "p"}, "train_split"),
        ({"heldout_split": "", "path": "p"}, "heldout_split"),
    ],
)
def test_choices_that_cannot_be_are_refused_in_the_study_file(make_study, fields, words):
    with pytest.raises(StudyError, match=words):
        make_study(dataset={"name": "digits"} | fields)


def test_choices_enter_a_runs_id_only_where_they_are_made(make_run):
    plain = {"name": "x", "path": "p"}
    assert DatasetSpec(**plain).identity() == {"name": "x", "image_size": None}
    choices = ({}, {"train_split": "a"}, {"heldout_split": "a"}, {"image_column": "a"}, {"label_column": "a"})
    ids = [make_run(dataset=plain | one).run_id for one in choices]
    assert len(set(ids)) == len(choices)
    assert ids[0] == make_run(dataset={"name": "x"}).run_id
