"""Files appear whole or not at all, on a local disk and elsewhere."""

from __future__ import annotations

import multiprocessing

import pytest
from pyarrow import fs

from scaling.errors import StudyError
from scaling.storage import Storage


@pytest.fixture(params=["local", "object store"])
def place(request, tmp_path) -> Storage:
    """A folder on disk, and Arrow's in-memory file system, which is written as any remote one."""
    return Storage(tmp_path / "a b" if request.param == "local" else "mock:///bucket/study")


def test_what_is_written_is_read(place):
    place.write_bytes("runs/one.parquet", b"\x00first")
    place.write_bytes("runs/one.parquet", b"second")
    place.write_bytes("runs/two.txt", b"")
    assert place.read_bytes("runs/one.parquet") == b"second"
    assert place.names("runs") == ["one.parquet", "two.txt"]
    assert place.names("runs", ".parquet") == ["one.parquet"]
    assert place.names("absent") == []
    with place.local_file("runs/one.parquet") as path:
        assert path.read_bytes() == b"second"
    place.delete("runs/one.parquet")
    place.delete("runs/one.parquet")
    assert place.names("runs") == ["two.txt"]


def test_a_writer_that_raises_leaves_what_was_there(place):
    place.write_bytes("runs/kept", b"old")

    def write_half(name: str) -> None:
        with place.new_file(name) as path:
            path.write_bytes(b"half")
            raise KeyError

    for name in ("runs/kept", "runs/new"):
        with pytest.raises(KeyError):
            write_half(name)
    assert place.names("runs") == ["kept"]
    assert place.read_bytes("runs/kept") == b"old"
    everything = place.filesystem.get_file_info(fs.FileSelector(place.path("runs")))
    assert [info.base_name for info in everything] == ["kept"], "not even a hidden temporary file"


def test_file_uri_and_path_are_one_place(tmp_path):
    folder = tmp_path / "a b#c"
    Storage(folder).write_bytes("x/y", b"z")
    assert Storage(folder.as_uri()).read_bytes("x/y") == b"z"
    assert Storage(folder).child("x").read_bytes("y") == (folder / "x" / "y").read_bytes()


def test_a_relative_path_is_under_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Storage("results").path("runs") == f"{tmp_path}/results/runs"


@pytest.mark.parametrize(
    ("uri", "child", "path"),
    [
        ("/", "file:///name/runs", "/name/runs"),
        ("file:///base/", "file:///base/name/runs", "/base/name/runs"),
        ("s3://bucket/base?region=eu-west-1", "s3://bucket/base/name/runs?region=eu-west-1", "bucket/base/name/runs"),
        ("s3://bucket?region=eu-west-1", "s3://bucket/name/runs?region=eu-west-1", "bucket/name/runs"),
    ],
)
def test_a_child_keeps_the_query(uri, child, path):
    below = Storage(uri).child("name", "runs")
    assert (below.uri, below.path()) == (child, path)


def _try_lock(folder: str, queue: multiprocessing.Queue) -> None:
    try:
        with Storage(folder).locked():
            queue.put("locked")
    except StudyError as error:
        queue.put(str(error))


def test_a_second_driver_is_kept_out_until_the_first_ends(tmp_path):
    context = multiprocessing.get_context("fork")

    def second() -> str:
        queue = context.Queue()
        process = context.Process(target=_try_lock, args=(str(tmp_path), queue))
        process.start()
        answer = queue.get(timeout=30)
        process.join()
        return answer

    with Storage(tmp_path).locked():
        assert f"another `scaling run` is writing to '{tmp_path}'" in second()
    assert second() == "locked"


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "taken").write_text("a file")
    storage = Storage(tmp_path / "taken" / "results")
    with pytest.raises(StudyError, match=r"taken/results' cannot be written .*--storage"):
        storage.check_writable()


def test_a_writable_place_is_left_as_it_was(place):
    place.check_writable()
    assert place.filesystem.get_file_info(fs.FileSelector(place.path())) == []


@pytest.mark.parametrize("uri", ["ftp://host/folder", "nonsense://x"])
def test_a_place_that_arrow_does_not_know_is_refused(uri):
    with pytest.raises(StudyError, match=f"storage='{uri}' is no place .*give a local path"):
        Storage(uri)
