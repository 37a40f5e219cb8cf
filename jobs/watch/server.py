"""The page of a study on loopback, for whoever has the token."""

from __future__ import annotations

import http.server
import secrets
import threading
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from jobs.watch.page import watch_page
from jobs.watch.snapshot import Snapshot
from scaling.errors import StudyError
from scaling.place import scrub

HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Renewed:
    """The latest snapshot's page, taken anew when it is asked for and older than `renew_s`."""

    def __init__(self, take: Callable[[], Snapshot], renew_s: int) -> None:
        self._take, self._renew_s = take, renew_s
        self._lock, self._at, self._page = threading.Lock(), 0.0, ""

    def page(self) -> str:
        """Raises: StudyError, as `Watch.take`."""
        with self._lock:
            if not self._page or time.monotonic() - self._at >= self._renew_s:
                self._page, self._at = watch_page(self._take(), self._renew_s), time.monotonic()
            return self._page


def page_server(renewed: Renewed, port: int, token: str) -> http.server.ThreadingHTTPServer:
    """A server on 127.0.0.1 that answers GET /?token=TOKEN and nothing else.

    Raises:
        StudyError: the port is taken.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            given = parse_qs(asked.query).get("token", [""])[0]
            host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
            if host not in HOSTS:  # a page elsewhere whose name leads here
                self._send(403, "this page is asked for by the address 127.0.0.1")
            elif not secrets.compare_digest(given.encode(), token.encode()):
                self._send(401, "the address with its token is printed by `scaling watch STUDY --serve`")
            elif asked.path != "/":
                self._send(404, "there is one page, /")
            else:
                self._send_page()

        def _send_page(self) -> None:
            try:
                self._send(200, renewed.page(), "text/html")
            except StudyError as error:
                self._send(503, scrub(str(error)))

        def _send(self, status: int, text: str, kind: str = "text/plain") -> None:
            content = text.encode()
            self.send_response(status)
            headers = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(content))}
            for name, value in (HEADERS | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing: addresses hold the token."""

    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise StudyError(f"--port {port} cannot be had on 127.0.0.1 ({error.strerror}); choose another") from error
