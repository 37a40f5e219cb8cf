"""Ends that come from outside: Ctrl-C, SIGTERM, a closed terminal, a lost cluster. Each ends with one line."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GOES_ON = "the same command goes on"
INCOMPLETE = 1
HEARD_WITHIN_S = 3.0
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}


class Stopped(KeyboardInterrupt):
    """A study that ends before its work is done. Of this type, as Ray's core lets no other pass a signal handler.

    line: what is said; status: of the process; lost: the cluster does not answer any more; at_once: Ray does not end
    either, so that it is not waited for.
    """

    def __init__(self, line: str, status: int = INCOMPLETE, lost: bool = False) -> None:
        super().__init__(line)
        self.line, self.status, self.lost, self.at_once = line, status, lost, lost


def files_refused(error: Exception) -> Stopped:
    """How a study ends whose files cannot be written or read any more, such as on a full disk."""
    return Stopped(f"the study's files cannot be written or read ({error}); mend that: {GOES_ON}")


class StopSwitch:
    """Stops the main thread by an exception, which `check` raises again where a destructor or Ray swallowed it."""

    def __init__(self) -> None:
        self.stopped: Stopped | None = None
        self._heard = threading.Event()

    def arm(self) -> None:
        """Take the signals; again after Ray has started, which takes some for itself. `nohup`'s choice stays."""
        if threading.current_thread() is threading.main_thread():
            for number in WORDS:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, self._on_signal)

    def stop(self, stopped: Stopped) -> None:
        """From another thread: stop the main thread, or the process where that waits deep in Ray and hears nothing."""
        if self.stopped is not None:
            return
        self.stopped = stopped
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        if not self._heard.wait(HEARD_WITHIN_S):
            os.write(1, f"{stopped.line}\n".encode())
            os._exit(stopped.status)

    def check(self) -> None:
        """Raises: Stopped, once a stop was asked for."""
        if self.stopped is not None:
            raise self.stopped

    @contextmanager
    def instead(self) -> Iterator[None]:
        """Once a stop was asked for, whatever the block raises is that stop: Ray raises its own in its place."""
        try:
            yield
        except BaseException as error:
            if self.stopped is None or error is self.stopped:
                raise
            raise self.stopped from error

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stopped is not None and self.stopped.status == 128 + number:  # asked twice
            os._exit(self.stopped.status)
        if self.stopped is None:
            self.stopped = Stopped(f"{WORDS[signal.Signals(number)]}: {GOES_ON}", 128 + number)
        self._heard.set()
        raise self.stopped


@contextmanager
def stop_switch() -> Iterator[StopSwitch]:
    """A switch that takes the signals for the block's time."""
    before = {number: signal.getsignal(number) for number in WORDS}
    switch = StopSwitch()
    switch.arm()
    try:
        yield switch
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
