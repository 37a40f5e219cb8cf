"""Signals, a cluster that is gone, a Ray that does not start: each is one line; without a Ray that runs."""

from __future__ import annotations

import errno
import signal
import socket
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from scaling.cluster import session, watch
from scaling.cluster.driver import admit, one_line_ends
from scaling.cluster.placement import Node
from scaling.cluster.session import ray_session
from scaling.cluster.stopping import Stopped, stop_switch
from scaling.cluster.watch import Pulse, answers, cluster_lost, head_pulse, watched
from scaling.errors import StudyError
from scaling.study import expand_study


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "hung up")],
)
def test_a_signal_stops_once_and_for_all(number, status, word):
    before = signal.getsignal(number)
    with stop_switch() as switch:
        switch.check()
        with pytest.raises(Stopped) as stopped:
            signal.raise_signal(number)
        assert (stopped.value.status, stopped.value.line) == (status, f"{word}: the same command goes on")
        with pytest.raises(Stopped), switch.instead():
            raise SystemError("what Ray makes of it")
        with pytest.raises(Stopped):  # where the first was swallowed
            switch.check()
    assert signal.getsignal(number) is before


def test_a_study_under_nohup_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_switch() as switch:
            signal.raise_signal(signal.SIGHUP)
            switch.check()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_without_a_stop_errors_go_their_way():
    with stop_switch() as switch, pytest.raises(ZeroDivisionError), switch.instead():
        raise ZeroDivisionError


def test_a_silent_cluster_stops_the_main_thread(monkeypatch):
    monkeypatch.setattr(watch, "INTERVAL_S", 0.02)
    silent, began = Pulse("its head at a:1", lambda: time.monotonic() < began + 0.1, 0.2), time.monotonic()
    with stop_switch() as switch, pytest.raises(Stopped) as stopped, watched([silent], switch):
        time.sleep(10)
    assert stopped.value.line.startswith("the Ray cluster is gone (its head at a:1 does not answer)")
    assert (stopped.value.status, stopped.value.at_once, time.monotonic() - began < 5) == (1, True, True)


def test_one_that_answers_now_and_then_goes_on(monkeypatch):
    monkeypatch.setattr(watch, "INTERVAL_S", 0.01)
    asked = iter(range(10**6))
    with stop_switch() as switch, watched([Pulse("a head", lambda: next(asked) % 5 == 0, 0.5)], switch):
        time.sleep(0.7)
    assert next(asked) > 10


def test_pulses_hear_a_port_that_is_open(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert answers("127.0.0.1", port)
        assert head_pulse(f"127.0.0.1:{port}").alive()
    assert not answers("127.0.0.1", port)
    monkeypatch.setenv(watch.RECONNECT, "20")
    assert head_pulse("[::1]:1").patience_s < 20 - 5, "before Ray's client ends the process"


START_ERRORS = [
    OSError("AF_UNIX path length cannot exceed 107 bytes: '/long/plasma_store'\nmore"),
    NotADirectoryError(errno.ENOTDIR, "Not a directory"),
    Exception("The current node timed out during startup. This could happen because ..."),
]


@pytest.mark.parametrize("error", START_ERRORS)
def test_a_ray_that_does_not_start_is_one_message(monkeypatch, error):
    import ray

    def init(**words):
        raise error

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(StudyError, match=r"Ray does not start on this machine \(") as raised, ray_session(None, False):
        pass
    assert "\n" not in str(raised.value)
    assert "RAY_TMPDIR" in str(raised.value)


def test_a_folder_that_uv_run_would_send_is_named(monkeypatch):
    """A Ray that is started here sends nothing; one that is joined may, or where a user asks for it."""
    import ray
    from ray.exceptions import RuntimeEnvSetupError

    def init(**words):
        raise RuntimeEnvSetupError("Package size (591.28MiB) exceeds the maximum size of 512.00MiB.")

    monkeypatch.setattr(ray, "init", init)
    for address in (None, "auto"):
        with pytest.raises(StudyError, match="RAY_ENABLE_UV_RUN_RUNTIME_ENV=0"), ray_session(address, False):
            pass


def test_what_ends_a_study_from_outside_is_one_line():
    from ray.exceptions import ActorUnavailableError, RaySystemError

    ends = {
        OSError(errno.ENOSPC, "No space left on device", "/x"): "cannot be written or read ([Errno 28]",
        ConnectionError("GCS is not there"): "the Ray cluster is gone (GCS is not there)",
        RaySystemError("no GCS\nmore"): "the Ray cluster is gone (System error: no GCS)",
        ActorUnavailableError("gone", None): "the Ray cluster is gone (",
    }
    for error, words in ends.items():
        with pytest.raises(Stopped) as stopped, one_line_ends():
            raise error
        assert words in stopped.value.line
        assert "\n" not in stopped.value.line
        assert stopped.value.status == 1
    for error in (StudyError("a mistake"), KeyError("a bug")):
        with pytest.raises(type(error)), one_line_ends():
            raise error


def test_runs_wait_for_nodes_only_where_the_cluster_grows(make_study, monkeypatch):
    study, said = make_study(resources={"cpus_per_worker": 8}), []
    runs, small, large = expand_study(study), [Node("a", 4)], Node("b", 16)
    monkeypatch.setattr("scaling.cluster.driver.growing_nodes", lambda: ())
    with pytest.raises(StudyError, match="needs 8 CPUs"):
        admit(study, runs, small, None, said.append)
    assert said == []
    admit(study, runs, small, 3, said.append)
    monkeypatch.setattr("scaling.cluster.driver.growing_nodes", lambda: (large,))
    admit(study, runs, small, None, said.append)
    assert [line.startswith("waiting for nodes that the cluster does not have yet: ") for line in said] == [True] * 2
    admit(study, runs, [large], None, said.append)
    assert len(said) == 2


def test_nodes_that_an_autoscaler_may_add():
    gpu = SimpleNamespace(name="gpu", max_count=2, resources={"CPU": 48.0, "GPU": 4.0})
    endless = SimpleNamespace(name="cpu", max_count=-1, resources={"CPU": 8.0})
    grown = session._grown([gpu, endless])
    assert grown[:2] == (Node("gpu-0", 48.0, 4.0), Node("gpu-1", 48.0, 4.0))
    assert {(node.cpus, node.gpus) for node in grown[2:]} == {(8.0, 0.0)}


def test_a_lost_cluster_is_not_waited_for(monkeypatch):
    import ray

    monkeypatch.setattr(session, "END_WAIT_S", 0.1)
    monkeypatch.setattr(ray, "shutdown", lambda: time.sleep(3))
    began, stopped = time.monotonic(), Stopped("interrupted", 130)
    session._leave(stopped)
    assert (stopped.at_once, time.monotonic() - began < 2) == (True, True)
    assert cluster_lost("x").at_once
    assert threading.main_thread().is_alive()
    assert "ray" in sys.modules
