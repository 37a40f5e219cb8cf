"""Downloads against an HTTP server on loopback: checksums, refusals, resuming where a download broke off."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scaling.data.recordings import catalogue
from scaling.data.recordings import fetch as fetch_module
from scaling.data.recordings.fetch import DATASETS, Dataset, default_data_dir, fetch
from scaling.errors import StudyError

FILES = {"a.bin": b"alpha" * 4000, "b.bin": b"beta" * 9}


class Server(ThreadingHTTPServer):
    """Serves `files` under /data, by ranges if `ranges`; `cut` ends each body early.

    `requests` lists what was asked for, `asked_ranges` the Range headers, `sent` the bytes of the bodies.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.ranges = dict(FILES), False, True
        self.requests, self.asked_ranges, self.sent = [], [], 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/data"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        self.server.asked_ranges.append(self.headers.get("Range"))
        body = self.server.files.get(self.path.removeprefix("/data/"))
        if body is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range") if self.server.ranges else None
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        body = body[start:]
        body = body[: len(body) // 2] if self.server.cut else body
        self.server.sent += len(body)
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    hashes = {name: hashlib.sha256(body).hexdigest() for name, body in FILES.items()}
    monkeypatch.setitem(DATASETS, "toy", Dataset("http://127.0.0.1:9/nowhere", hashes, "test"))
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def files_below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_arrive_and_are_not_fetched_twice(server, tmp_path):
    paths = fetch("toy", tmp_path, server.url, progress=False)
    assert paths == [tmp_path / "toy" / name for name in FILES]
    assert files_below(tmp_path / "toy") == FILES
    assert fetch("toy", tmp_path, server.url + "/", progress=False) == paths
    assert server.requests == ["/data/a.bin", "/data/b.bin"]


def test_progress_is_shown(server, tmp_path, capfd):
    fetch("toy", tmp_path, server.url)
    assert "20.0k" in capfd.readouterr().err


def test_a_wrong_hash_is_refused_and_not_kept(server, tmp_path):
    server.files["b.bin"] = b"other"
    with pytest.raises(StudyError, match=r"b\.bin was refused and nothing kept: SHA256 hash .* does not match"):
        fetch("toy", tmp_path, server.url, progress=False)
    assert files_below(tmp_path / "toy") == {"a.bin": FILES["a.bin"]}


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server, tmp_path):
    size = len(FILES["a.bin"])
    server.cut = True
    with pytest.raises(StudyError, match=rf"a\.bin.*closed after {size // 2:,} of {size:,} bytes.*try again"):
        fetch("toy", tmp_path, server.url, progress=False)
    assert files_below(tmp_path / "toy") == {"a.bin.part": FILES["a.bin"][: size // 2]}
    with pytest.raises(StudyError, match=rf"closed after {size * 3 // 4:,} of {size:,} bytes"):
        fetch("toy", tmp_path, server.url, progress=False)
    server.cut = False
    fetch("toy", tmp_path, server.url, progress=False)
    assert files_below(tmp_path / "toy") == FILES
    assert server.asked_ranges == [None, f"bytes={size // 2}-", f"bytes={size * 3 // 4}-", None]
    assert server.sent == sum(map(len, FILES.values()))


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.cut, server.ranges = True, False
    with pytest.raises(StudyError, match=r"a\.bin"):
        fetch("toy", tmp_path, server.url, progress=False)
    server.cut = False
    fetch("toy", tmp_path, server.url, progress=False)
    assert files_below(tmp_path / "toy") == FILES


def test_a_part_that_is_already_whole_is_taken(server, tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.bin.part").write_bytes(FILES["a.bin"])
    fetch("toy", tmp_path, server.url, progress=False)
    assert files_below(tmp_path / "toy") == FILES
    assert server.sent == len(FILES["b.bin"])


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.bin.part").write_bytes(FILES["a.bin"] + b"more")
    fetch("toy", tmp_path, server.url, progress=False)
    assert files_below(tmp_path / "toy") == FILES


def test_a_part_of_other_content_is_refused_once_and_removed(server, tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.bin.part").write_bytes(b"x" * 100)
    with pytest.raises(StudyError, match="refused and nothing kept: SHA256"):
        fetch("toy", tmp_path, server.url, progress=False)
    assert files_below(tmp_path / "toy") == {}
    fetch("toy", tmp_path, server.url, progress=False)
    assert files_below(tmp_path / "toy") == FILES


def test_sha1_is_checked_where_that_is_published(server, tmp_path, monkeypatch):
    digest = hashlib.sha1(FILES["b.bin"]).hexdigest()
    monkeypatch.setitem(DATASETS, "toy", Dataset(server.url, {}, "test", {"b.bin": digest}))
    fetch("toy", tmp_path, progress=False)
    assert files_below(tmp_path / "toy") == {"b.bin": FILES["b.bin"]}
    monkeypatch.setitem(DATASETS, "toy", Dataset(server.url, {}, "test", {"a.bin": digest}))
    with pytest.raises(StudyError, match=r"refused and nothing kept: SHA1 hash .* does not match"):
        fetch("toy", tmp_path, progress=False)
    assert "a.bin" not in files_below(tmp_path / "toy")


@pytest.mark.parametrize("name", list(catalogue.PUBLISHED))
def test_brain_score_sets_are_registered(name):
    dataset = DATASETS[name]
    assert dataset.base_url.startswith("https://")
    assert [Path(file).suffix for file in dataset.hashes()] == [".nc", ".csv", ".zip"]
    assert all(known.startswith("sha1:") and len(known) == 45 for known in dataset.hashes().values())


def test_a_damaged_file_is_replaced_only_by_a_good_one(server, tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "a.bin").write_bytes(b"damaged")
    server.files["a.bin"] = b"wrong too"
    with pytest.raises(StudyError, match="refused"):
        fetch("toy", tmp_path, server.url, progress=False)
    assert (tmp_path / "toy" / "a.bin").read_bytes() == b"damaged"
    server.files["a.bin"] = FILES["a.bin"]
    fetch("toy", tmp_path, server.url, progress=False)
    assert files_below(tmp_path / "toy") == FILES


@pytest.mark.parametrize(
    ("path", "words"),
    [("/absent", ["404", "a.bin", "try again"]), (None, ["nowhere/a.bin", "check the connection"])],
    ids=["not found", "no server"],
)
def test_failed_downloads(server, tmp_path, path, words):
    with pytest.raises(StudyError) as error:
        fetch("toy", tmp_path, path and server.url + path, progress=False)
    assert all(word in str(error.value) for word in words), error.value
    assert files_below(tmp_path) == {}


def test_an_address_of_no_known_kind(server, tmp_path):
    with pytest.raises(StudyError, match="refused and nothing kept"):
        fetch("toy", tmp_path, "gopher://127.0.0.1", progress=False)


def test_unknown_names_and_folders_that_cannot_be(tmp_path):
    with pytest.raises(StudyError, match="'kriegeskorte2009' is unknown to fetch; did you mean 'kriegeskorte2008'"):
        fetch("kriegeskorte2009", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot write"):
        fetch("kriegeskorte2008", tmp_path / "file")


def test_data_dir_is_the_variable_or_the_cache(monkeypatch):
    monkeypatch.setenv("SCALING_DATA_DIR", "/somewhere")
    assert default_data_dir() == Path("/somewhere")
    monkeypatch.delenv("SCALING_DATA_DIR")
    assert default_data_dir() == Path(fetch_module.pooch.os_cache("ventral-scaling"))


def test_registered_hashes_are_those_of_the_published_files(kriegeskorte_dir):
    for name, sha256 in DATASETS["kriegeskorte2008"].sha256.items():
        content = (kriegeskorte_dir / "kriegeskorte2008" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
