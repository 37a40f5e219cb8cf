"""Is there a Ray cluster at an address? Asked before Ray is, whose client tries for a quarter of an hour."""

from __future__ import annotations

import os
import re
import socket

from scaling.errors import StudyError
from scaling.place import scrub

CLIENT_PORT = 10001  # of ray://, where none is given: Ray's own default
TIME_LIMIT_S = 20.0
# What an HTTP/2 client says first, an empty frame of settings after it; a server, such as gRPC's, answers with its own.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS = 4  # a frame's type, its fourth byte
ADDRESS = re.compile(r"(?P<client>ray://)?(?P<host>\[[0-9a-fA-F:.]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?/?")


def check_address(address: str, time_limit_s: float = TIME_LIMIT_S) -> None:
    """Refuse an address that is none, that takes no connection, or where something else answers.

    Raises:
        StudyError: names the address, and what it is instead.
    """
    if address == "auto":
        return
    host, port = _host_and_port(address)
    try:
        with socket.create_connection((host, port), time_limit_s) as connection:
            spoken = "RAY_USE_TLS" in os.environ or _speaks_http2(connection, time_limit_s)
    except OSError as error:
        raise StudyError(nobody(address, f"no connection: {error.strerror or error}")) from error
    if not spoken:
        raise StudyError(nobody(address, "something else answers there"))


def nobody(address: str, why: str) -> str:
    """The message for an address where there is no cluster."""
    return (
        f"no Ray cluster answers at {named(address)} ({why}); start one with "
        "`ray start --head`, correct the address and RAY_AUTH_TOKEN, or leave it out to run on this machine"
    )


def named(address: str) -> str:
    """An address, without credentials, after the option or the variable that it came by."""
    source = "RAY_ADDRESS" if os.environ.get("RAY_ADDRESS", "").strip() == address else "--address"
    return f"{source}='{scrub(address)}'"


def _host_and_port(address: str) -> tuple[str, int]:
    found = ADDRESS.fullmatch(address)
    port = int(found["port"] or (CLIENT_PORT if found["client"] else 0)) if found else 0
    if found is None or not 0 < port < 2**16:
        instead = " (an http address is the dashboard's, for `ray job submit`)" if address.startswith("http") else ""
        raise StudyError(
            f"{named(address)} is no address of a Ray cluster{instead}; give host:port, such as 10.0.0.1:6379, "
            "ray://host:10001 or auto, or leave it out to run on this machine"
        )
    return found["host"].strip("[]"), port


def _speaks_http2(connection: socket.socket, time_limit_s: float) -> bool:
    connection.settimeout(time_limit_s)
    try:
        connection.sendall(PREFACE)
        head = connection.recv(9)
    except (TimeoutError, ConnectionError):
        return False
    return len(head) > 3 and head[3] == SETTINGS
