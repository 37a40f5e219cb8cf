"""Does the cluster still answer? A thread asks, since Ray's own client waits a minute and then ends the process."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from scaling.cluster.stopping import GOES_ON, Stopped, StopSwitch

INTERVAL_S, TIMEOUT_S = 1.0, 3.0
# Ray's client gives up after so long, by a C++ exit (default 60). A head that has a store of its own may come back.
RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"
PATIENCE = 0.6  # of that time


@dataclass(frozen=True)
class Pulse:
    """Something that has to answer. alive: whether it does; patience_s: how long it may be silent."""

    what: str
    alive: Callable[[], bool]
    patience_s: float


@contextmanager
def watched(pulses: list[Pulse], switch: StopSwitch) -> Iterator[None]:
    """Stop the study once one of the pulses is silent for longer than its patience."""
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(pulses, switch, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _watch(pulses: list[Pulse], switch: StopSwitch, over: threading.Event) -> None:
    heard = {pulse.what: time.monotonic() for pulse in pulses}
    while not over.wait(INTERVAL_S):
        for pulse in pulses:
            began = time.monotonic()
            if pulse.alive():
                heard[pulse.what] = time.monotonic()
            elif began - heard[pulse.what] > pulse.patience_s and not over.is_set():
                switch.stop(cluster_lost(f"{pulse.what} does not answer"))
                return


def cluster_lost(what: str) -> Stopped:
    """How a study ends whose cluster is gone."""
    return Stopped(f"the Ray cluster is gone ({what}); what was recorded stays: {GOES_ON}", lost=True)


def head_pulse(address: str) -> Pulse:
    """The head's address 'host:port'; it may be silent for most of the time that Ray's client waits for it."""
    host, _, port = address.rpartition(":")
    patience_s = PATIENCE * float(os.environ.get(RECONNECT, 60))
    return Pulse(f"its head at {address}", lambda: answers(host.strip("[]"), int(port)), patience_s)


def node_pulse(path: str) -> Pulse:
    """The raylet of the driver's own node, by its socket; it does not come back."""
    return Pulse("the node of this process", lambda: _unix_answers(path), 3 * INTERVAL_S)


def answers(host: str, port: int, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether anything takes a connection there."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True


def _unix_answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(TIMEOUT_S)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
