"""Waiting for a place that is away for a while: which faults pass by themselves, and when the next try is."""

from __future__ import annotations

import errno
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 180.0  # a server that is restarted, a network that is mended; assumption
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 15.0
# Of network file systems; a local disk gives none of them
AWAY = frozenset({
    errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH,
    errno.ENOTCONN, errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EREMOTEIO,
})  # fmt: skip
# As Arrow words the errors of S3's and Google's clients: no connection, too many requests, a server's own fault
_PASSES = re.compile(
    r"NETWORK_CONNECTION|REQUEST_TIMEOUT|SLOW_DOWN|THROTTLING|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|curlCode"
    r"|HTTP (?:status|response code):? (?:408|429|5\d\d)|Status\((?:UNAVAILABLE|DEADLINE_EXCEEDED|INTERNAL|ABORTED)"
)
T = TypeVar("T")


def passes(error: OSError) -> bool:
    """Whether the same may work a moment later; not so a refusal, a full disk, a bucket that is not there."""
    return error.errno in AWAY or _PASSES.search(str(error)) is not None


class Patience:
    """Of one place: what has answered once, or is said to be there, is waited for; a wrong address is told at once.

    Waits double from FIRST_WAIT_S to LONGEST_WAIT_S, each with up to half of it left out at random, so that many
    processes do not come back in one moment.

    Attributes:
        seconds: how long tries go on. waits: whether they do.
    """

    def __init__(self, seconds: float | None) -> None:
        self.waits, self.seconds = seconds is not None, PATIENCE_S if seconds is None else seconds

    def ask(self, action: Callable[[], T]) -> T:
        """What `action` returns, which may be called again.

        Raises:
            OSError: of the last try.
        """
        began, wait = time.monotonic(), FIRST_WAIT_S
        while True:
            try:
                result = action()
            except FileNotFoundError:
                self.waits = True
                raise
            except OSError as error:
                if not (self.waits and passes(error)) or time.monotonic() - began > self.seconds:
                    raise
            else:
                self.waits = True
                return result
            time.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, LONGEST_WAIT_S)
