"""All that lies in places lies in a bucket whose URI has a query, too: records, checkpoints, starts, data sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scaling import checkpoint_info, load_model
from scaling.checkpoints.weights import load_weights
from scaling.data.formats.base import dataset_root
from scaling.data.image_source import image_source
from scaling.data.images import check_dataset, load_images
from scaling.errors import DamagedFile, MissingFile, StorageError, StudyError
from scaling.layout import weights_name, weights_names
from scaling.place import Place
from scaling.records import ResultsStore
from scaling.specs.dataset import DatasetSpec
from scaling.storage import Storage
from scaling.train.loop import Training


@pytest.fixture
def trained(make_run, digits_data, s3):
    """A run in the bucket, and its study's folder."""
    run = make_run()
    folder = Place.of(s3).child("tiny")
    list(Training(run, digits_data, Storage(folder)).epochs())
    return run, folder


def test_a_run_is_trained_and_its_model_loaded_by_every_name(trained, s3):
    run, folder = trained
    storage = Storage(folder)
    (record,) = ResultsStore(storage).read_runs().values()
    assert (record.status, record.run_id) == ("finished", run.run_id)
    assert weights_names(storage, run.run_id) == [weights_name(run.run_id, 2)]
    uri = folder.child(*weights_name(run.run_id, 2).split("/")).uri
    models = [
        load_model(uri),
        load_model(run.run_id, study=folder.uri),
        load_model(run, storage=s3, verify=True),
        load_weights(storage, run.run_id, 2)[0],
    ]
    weights = [model.state_dict() for model in models]
    assert all(torch.equal(tensor, other[name]) for other in weights for name, tensor in weights[0].items())
    assert checkpoint_info(uri).accuracy == record.accuracy


def test_damage_and_absence_are_told_apart(trained):
    run, folder = trained
    storage, name = Storage(folder), weights_name(run.run_id, 2)
    storage.write_bytes(name, storage.read_bytes(name)[:1000])
    with pytest.raises(DamagedFile, match=f"epoch 2 of run {run.run_id}"):
        load_weights(storage, run.run_id, 2)
    storage.delete(name)
    with pytest.raises(MissingFile, match=f"epoch 2 of run {run.run_id}"):
        load_weights(storage, run.run_id, 2)
    gone = Storage("s3://k:s3cret@bucket/x?region=us-east-1&scheme=http&endpoint_override=127.0.0.1:9")
    with pytest.raises(StorageError) as error:
        load_weights(gone, run.run_id, 2)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("kind", ["file", "study"])
def test_a_run_starts_from_weights_in_a_bucket(trained, make_run, digits_data, storage, kind):
    run, folder = trained
    where = folder if kind == "study" else folder.child(*weights_name(run.run_id, 2).split("/"))
    tuned = make_run(objective={"name": "ffgsm", "start_from": where.uri})
    model = Training(tuned, digits_data, storage).model
    expected = load_weights(Storage(folder), run.run_id, 2)[0].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_a_start_that_is_not_there_is_named_without_credentials(make_run, digits_data, storage, s3):
    place = Place.of(s3).child("none.safetensors")
    secret = Place(place.base.replace("s3://", "s3://k:s3cret@"), place.query)
    run = make_run(objective={"name": "ffgsm", "start_from": secret.uri})
    with pytest.raises(MissingFile, match=r"objective\.start_from='s3://\*\*\*@bucket/.*none\.safetensors") as error:
        Training(run, digits_data, storage)
    assert "s3cret" not in str(error.value)


@pytest.fixture
def images(write_hf, encode, tmp_path, s3) -> DatasetSpec:
    """A data set of Parquet files in the bucket."""
    random = np.random.default_rng(0)
    storage = Storage(s3)
    for name, n in (("train-0", 12), ("train-1", 9), ("test", 6)):
        coded = [encode(random.integers(0, 256, (8, 8, 3), np.uint8)) for _ in range(n)]
        file = write_hf(tmp_path / f"{name}.parquet", coded, [row % 3 for row in range(n)])
        storage.write_bytes(f"data/{name}.parquet", file.read_bytes())
    return DatasetSpec(name="bucket", path=s3)


@pytest.mark.parametrize("decode", ["once", "each_epoch"])
def test_a_data_set_is_read_from_a_bucket(images, tmp_path, decode):
    spec = images.model_copy(update={"decode": decode})
    check_dataset(spec, tmp_path)
    data = image_source(spec, tmp_path, tmp_path / "cache").pinned().open()
    local = load_images(DatasetSpec(name="bucket", path=str(tmp_path)), tmp_path)
    assert (len(data.train), len(data.heldout), data.digest()) == (21, 6, local.digest())
    assert np.array_equal(data.train.images[:], local.train.images)


def test_a_data_sets_damage_is_told_from_its_stores_faults(images, tmp_path, s3):
    storage = Storage(s3)
    storage.write_bytes("data/test.parquet", storage.read_bytes("data/test.parquet")[:-100])
    with pytest.raises(StudyError, match=r"test\.parquet' is no whole Parquet file .*; fetch it again") as error:
        check_dataset(images, tmp_path)
    assert not isinstance(error.value, StorageError)
    gone = "s3://k:s3cret@bucket/x?region=us-east-1&scheme=http&endpoint_override=127.0.0.1:9"
    with pytest.raises(StorageError, match="cannot be listed") as error:
        check_dataset(DatasetSpec(name="gone", path=gone), tmp_path)
    assert "s3cret" not in str(error.value)


def test_a_bucket_without_images_is_refused_without_credentials(s3, tmp_path):
    place = Place.of(s3)
    secret = Place(place.base.replace("s3://", "s3://k:s3cret@"), place.query).uri
    assert dataset_root(secret, tmp_path).uri == secret
    for changes in ({}, {"format": "npz"}):
        with pytest.raises(StudyError) as error:
            check_dataset(DatasetSpec(name="none", path=secret, **changes), tmp_path)
        assert "s3cret" not in str(error.value)
