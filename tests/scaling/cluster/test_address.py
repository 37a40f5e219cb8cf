"""Addresses where there is no Ray: each is refused within seconds, before Ray is asked, and shows no password."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from scaling.cluster.address import PREFACE, check_address
from scaling.cluster.session import wanted_address
from scaling.errors import StudyError

CLOSED = "127.0.0.1:1"


@pytest.fixture
def answering() -> Iterator:
    """A listener that answers every connection with these bytes; its port."""
    servers = []

    def listen(words: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(len(PREFACE))
                connection.sendall(words)
                time.sleep(3)

        threading.Thread(target=answer, daemon=True).start()
        return int(server.getsockname()[1])

    yield listen
    for server in servers:
        server.close()


@pytest.mark.parametrize("address", [CLOSED, f"ray://{CLOSED}", "nohost.invalid:6379", "[::1]:1", "ray://127.0.0.1"])
def test_an_address_where_nobody_listens_is_refused_at_once(address):
    began = time.monotonic()
    with pytest.raises(StudyError) as raised:
        check_address(address)
    assert f"no Ray cluster answers at --address='{address}' (no connection" in str(raised.value)
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n"])
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_port_where_something_else_listens_is_refused(answering, scheme, words):
    with pytest.raises(StudyError, match="something else answers there"):
        check_address(f"{scheme}127.0.0.1:{answering(words)}", time_limit_s=1)


def test_what_speaks_as_ray_does_is_left_to_ray(answering):
    check_address(f"127.0.0.1:{answering(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))}")
    check_address("auto")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1", ["give host:port"]),
        ("127.0.0.1:", ["give host:port"]),
        (":6379", ["give host:port"]),
        ("127.0.0.1:99999", ["give host:port"]),
        ("two words:1", ["'two words:1' is no address"]),
        ("ray://", ["ray://host:10001"]),
        ("http://127.0.0.1:8265", ["the dashboard's", "`ray job submit`"]),
        ("ray://me:s3cret@127.0.0.1:1", ["ray://***@127.0.0.1:1"]),
    ],
)
def test_what_is_no_address_is_refused(address, words):
    with pytest.raises(StudyError) as raised:
        check_address(address)
    message = str(raised.value)
    assert [word for word in ["is no address of a Ray cluster", *words] if word not in message] == [], message
    assert "s3cret" not in message


def test_the_variable_is_named_where_the_address_came_by_it(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", CLOSED)
    with pytest.raises(StudyError, match=f"answers at RAY_ADDRESS='{CLOSED}'"):
        check_address(str(wanted_address(None)))


@pytest.mark.parametrize("value", ["", " ", "local"])
def test_ray_is_started_here_where_no_cluster_is_named(monkeypatch, value):
    monkeypatch.setenv("RAY_ADDRESS", value)
    assert wanted_address(None) is None
