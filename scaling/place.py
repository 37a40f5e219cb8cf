"""Where something lies, as text: a local path or a URI with its query. No other code takes such text apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

from scaling.errors import StudyError

HIDDEN = "***"
# Keys of a query that hold no secret; the value of any other is hidden.
SHOWN_KEYS = frozenset({
    "region", "scheme", "endpoint_override", "connect_timeout", "request_timeout", "retry_limit_seconds", "patience_s",
    "allow_bucket_creation", "allow_bucket_deletion", "check_directory_existence_before_creation", "replication",
})  # fmt: skip


def is_uri(text: str | Path) -> bool:
    return "://" in str(text)


def shown(text: str | Path) -> str:
    """A path or name as it is, a URI without its credentials."""
    return Place.of(text).shown if is_uri(text) else str(text)


# In free text: what stands between :// and the last @ of a host's name, also where a secret's slashes are not encoded;
# and values of a query whose key says that it is one.
_USER = re.compile(r"(?<=://)(?:[^/\s'\"<>]+|[^/\s'\"<>:]*:(?!\d+/)[^\s'\"<>]+)@")
_SECRET = re.compile(r"(?i)(?<=[?&])([\w.-]*(?:pass|pwd|secret|token|key|sig|credential)[\w.-]*=)[^&\s'\"<>]+")


def scrub(text: str) -> str:
    """Free text, such as a library's, in which no URI shows its credentials."""
    return _SECRET.sub(rf"\1{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))


@dataclass(frozen=True)
class Place:
    """A URI without its query, and the query; names are appended before the query, percent-encoded."""

    base: str
    query: str = ""

    @classmethod
    def of(cls, text: str | Path) -> Place:
        """The place of a URI, or of a path (absolute, relative to the working directory, or below `~`)."""
        uri = str(text) if is_uri(text) else Path(text).expanduser().absolute().as_uri()
        base, _, query = uri.partition("?")
        return cls(base, query)

    @property
    def uri(self) -> str:
        """The whole of it, secrets included: for programs, never for people."""
        return self.base + ("?" if self.query else "") + self.query

    @property
    def scheme(self) -> str:
        return self.base.partition("://")[0]

    @property
    def name(self) -> str:
        """The last part."""
        return unquote(self.base.rpartition("/")[2])

    @property
    def options(self) -> dict[str, str]:
        """The query."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def with_options(self, options: dict[str, str]) -> Place:
        """The same place, its query replaced."""
        return Place(self.base, urlencode(options))

    def child(self, *parts: str) -> Place:
        """Some folders down."""
        return Place("/".join([self.base.removesuffix("/"), *(quote(part) for part in parts)]), self.query)

    @property
    def parent(self) -> Place:
        """The folder that a file lies in.

        Raises:
            StudyError: the place is no more than a bucket or a host.
        """
        folder = self.base.rpartition("/")[0]
        if folder.endswith(":/"):
            raise StudyError(f"'{self.shown}' names no file; give its folder too, as in s3://bucket/folder/file")
        return Place(folder + "/" if folder.endswith("//") else folder, self.query)

    @property
    def shown(self) -> str:
        """For messages: a local path as it is, a URI without credentials."""
        if self.scheme == "file":
            return unquote(self.base.removeprefix("file://"))
        rest = self.base.removeprefix(f"{self.scheme}://")
        user = self._user()
        query = "&".join(f"{key}={self._shown_value(key, value)}" for key, value in self.options.items())
        shown = f"{HIDDEN}@{rest[len(user) + 1 :]}" if user else rest
        return f"{self.scheme}://{shown}" + ("?" if query else "") + query

    def hide(self, message: object) -> str:
        """A message of a library, without what is secret in this place."""
        hidden = [value for key, value in self.options.items() if self._shown_value(key, value) == HIDDEN]
        users = [self._user(), *(Place(value)._user() for value in hidden if is_uri(value))]
        secrets = [*hidden, *users, *(user.partition(":")[2] for user in users)]
        forms = {form for one in secrets for form in (one, unquote(one), quote(one, safe=""))} - {""}
        text = str(message).replace(self.uri, self.shown)
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, HIDDEN)
        return text

    def _user(self) -> str:
        """`key:secret` before the host, also one whose slashes are not encoded as they should be."""
        rest = self.base.removeprefix(f"{self.scheme}://")
        head = rest.partition("/")[0]
        if "@" in head:
            return head.rpartition("@")[0]
        return rest.rpartition("@")[0] if re.search(r":(?!\d+$)", head) else ""

    @staticmethod
    def _shown_value(key: str, value: str) -> str:
        return HIDDEN if key not in SHOWN_KEYS or "@" in value else value
