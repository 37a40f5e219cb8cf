"""Downloads against an HTTP server on loopback: checksums, refusals, nothing partial left."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scaling.data import fetch as fetch_module
from scaling.data.fetch import DATASETS, Dataset, default_data_dir, fetch
from scaling.errors import StudyError

FILES = {"a.bin": b"alpha" * 4000, "b.bin": b"beta" * 9}


class Server(ThreadingHTTPServer):
    """Serves `files` under /data; `cut` ends each body early, `requests` lists what was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.requests = dict(FILES), False, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/data"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        body = self.server.files.get(self.path.removeprefix("/data/"))
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.server.cut else body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    hashes = {name: hashlib.sha256(body).hexdigest() for name, body in FILES.items()}
    monkeypatch.setitem(DATASETS, "toy", Dataset("http://127.0.0.1:9/nowhere", hashes, "test"))
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
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


def test_a_download_that_breaks_off_leaves_nothing(server, tmp_path):
    server.cut = True
    with pytest.raises(StudyError, match=r"a\.bin"):
        fetch("toy", tmp_path, server.url, progress=False)
    assert files_below(tmp_path / "toy") == {}
    server.cut = False
    fetch("toy", tmp_path, server.url, progress=False)
    assert files_below(tmp_path / "toy") == FILES


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
