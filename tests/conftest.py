"""A study small enough to train in a test, its runs, its data and its folder."""

from __future__ import annotations

import os
import secrets

# Before anything imports Ray: clusters that tests start ask for this token, and none is written to the home folder.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
# Ray's workers are nice to the rest of a machine (15), and would wait for the tests beside them.
os.environ.setdefault("RAY_worker_niceness", "0")
# And before anything imports NumPy: tests run beside each other, one to a core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from moto_bucket import MotoBucket

from scaling.data.images import ImageData, load_images
from scaling.place import Place
from scaling.specs.dataset import DatasetSpec
from scaling.specs.run import RunSpec
from scaling.specs.study import StudySpec
from scaling.storage import Storage
from scaling.study import expand_study, parse_study

# Files that start Ray, in two lines that go on beside each other: those that share the quickstart, and the others
START_RAY = {
    "ray, quickstart": (
        "test_kill.py", "test_quickstart.py", "test_s3.py", "test_stop_early.py", "test_ui.py", "test_verify.py",
        "test_zoo.py",
    ),
    "ray": (
        "test_cifar10_it.py", "test_faults.py", "test_horizons.py", "test_lanes.py",
        "test_ray.py", "test_score.py", "test_stops.py", "test_tune.py",
    ),
}  # fmt: skip

TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": "digits",
    "models": [{"family": "resnet", "depth": 10, "sizes": [2]}],
    "data_sizes": [2],
    "training": {"epochs": 2, "batch_size": 10, "lr": 0.05},
    "benchmarks": ["simulated-ventral-stream.IT"],
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n`, whole files run beside each other; those that start Ray come first, in no more than two lines."""
    from xdist.scheduler import LoadScopeScheduling

    class TwoRays(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            lines = (line for line, files in START_RAY.items() if "/jobs/" in file and file.endswith(files))
            return next(lines, file)

        def _assign_work_unit(self, node: Any) -> None:
            for line in START_RAY:  # they wait more than they compute, and take longest
                if line in self.workqueue:
                    self.workqueue.move_to_end(line, last=False)
            super()._assign_work_unit(node)

    return TwoRays(config, log)


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of decoded images for all tests and the commands that they start, not the user's."""
    folder = tmp_path_factory.mktemp("decoded")
    os.environ["SCALING_CACHE_DIR"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def make_study() -> Callable[..., StudySpec]:
    """The tiny study with some of its fields replaced."""
    return lambda **changes: parse_study({**TINY, **changes})


@pytest.fixture(scope="session")
def make_run(make_study: Callable[..., StudySpec]) -> Callable[..., RunSpec]:
    """The first run of the tiny study with some of the study's fields replaced."""
    return lambda **changes: expand_study(make_study(**changes))[0]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "results" / "tiny")


@pytest.fixture(scope="session")
def bucket() -> Iterator[MotoBucket]:
    server = MotoBucket()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3_server(bucket: MotoBucket) -> str:
    """The URI of an empty bucket on a server of this machine, which speaks as S3 does; for child processes too."""
    return bucket.uri


@pytest.fixture
def s3(s3_server: str) -> str:
    """The URI of an empty folder in the bucket."""
    return Place.of(s3_server).child(f"test {secrets.token_hex(4)}").uri


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[..., Path]:
    """Write the tiny study's file, some fields replaced; its results go below the test's own folder."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**TINY, "storage": str(tmp_path / "results"), **changes}))
        return path

    return write


@pytest.fixture(scope="session")
def digits_data() -> ImageData:
    return load_images(DatasetSpec(name="digits"), Path("no such folder"))


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """(height, width, 3) uint8 as the bytes of an image file."""

    def encode_image(pixels: np.ndarray, kind: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        return buffer.getvalue()

    return encode_image


@pytest.fixture(scope="session")
def write_hf() -> Callable[..., Path]:
    """Write one Parquet shard in the Hugging Face layout: an image struct, a ClassLabel and another integer column."""

    def write(path: Path, coded: list[bytes | None], labels: list[int]) -> Path:
        features = {"picture": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": ["a", "b", "c"]}}
        image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        schema = pa.schema(
            [("picture", image), ("weight_g", pa.int64()), ("kind", pa.int64())],
            metadata={"huggingface": json.dumps({"info": {"features": features}})},
        )
        rows = {
            "picture": [{"bytes": data, "path": None} for data in coded],
            "weight_g": list(range(len(labels))),
            "kind": labels,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(rows, schema=schema), path)
        return path

    return write
