"""A bucket on a server of this machine, which speaks as S3 does, counts what it is asked, and is away when told to."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from scaling.storage import Storage

BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class MotoBucket:
    """Attributes: uri: of the empty bucket. requests: method and path of each so far. busy: answers 503 to all."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            os.environ.setdefault(name, "testing")
        os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
        self.requests: list[str] = []
        self.busy = False
        host, port = self._serve(0)
        query = f"endpoint_override={quote(f'http://{host}:{port}', safe='')}&scheme=http"
        Storage(f"s3://bucket?{query}&allow_bucket_creation=true").filesystem.create_dir("bucket")
        self.uri = f"s3://bucket?{query}"

    def _serve(self, port: int) -> tuple[str, int]:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        self._server.start()
        server: Any = self._server._server
        self._moto, server.app = server.app, self._answer
        return self._server.get_host_and_port()

    @contextmanager
    def away(self) -> Iterator[None]:
        """For the block's time nothing listens, and connections that are open get 503; what it holds stays."""
        _, port = self._server.get_host_and_port()
        self.busy = True
        self._server.stop()
        try:
            yield
        finally:
            self._serve(port)
            self.busy = False

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}")
        if self.busy:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(BUSY)))])
            return [BUSY]
        answer: Iterable[bytes] = self._moto(environ, start)
        return answer

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """The requests of the block."""
        found: list[str] = []
        before = len(self.requests)
        try:
            yield found
        finally:
            found += self.requests[before:]

    def stop(self) -> None:
        self._server.stop()
