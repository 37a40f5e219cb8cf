"""One driver a study, in a local folder and in a bucket: who comes second, who died, who was taken for dead."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import replace

import pytest

from scaling import driver_lock
from scaling.driver_lock import Driver, Lease, only_driver
from scaling.errors import StudyError
from scaling.layout import LOCK
from scaling.storage import Storage


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    monkeypatch.setattr(driver_lock, "LOOK_S", 0.05)
    monkeypatch.setattr(driver_lock, "SOON_S", 0.2)


def driver_elsewhere(name: str) -> Driver:
    return replace(Driver.of_this_process(), boot=name, who=f"somebody on {name}")


def lease(storage: Storage, name: str = "another node", **times: float) -> Lease:
    """Of a driver on another machine."""
    return Lease(storage, lambda line: None, me=driver_elsewhere(name), **times)


def try_lock(storage: Storage) -> str:
    try:
        with only_driver(storage):
            return "locked"
    except StudyError as error:
        return str(error)


def test_a_second_driver_is_told_at_once_who_runs_the_study(tmp_path, s3):
    for storage in (Storage(tmp_path / "results"), Storage(s3)):
        with only_driver(storage):
            said = try_lock(storage)
            assert f"another `scaling run` is writing to '{storage.shown}' (" in said
            assert f"process {os.getpid()}, since 20" in said
        assert try_lock(storage) == "locked"


def test_a_driver_of_this_machine_that_was_killed_is_followed_at_once(s3):
    storage = Storage(s3)
    with subprocess.Popen(["sleep", "60"]) as process:
        began = driver_lock._began(process.pid)
        Lease(storage, print, me=replace(Driver.of_this_process(), pid=process.pid, began=began)).take()
        assert "another `scaling run` is writing" in try_lock(storage)
        process.kill()
    assert len(storage.names(LOCK)) == 1
    with only_driver(storage):
        assert len(storage.names(LOCK)) == 1
    assert storage.names(LOCK) == []


def test_of_many_that_start_at_once_one_at_a_time_has_it_and_each_gets_it(s3):
    inside, had = [], []

    def drive(name: str) -> None:
        own = lease(Storage(s3), name, silent_s=60)
        while name not in had:
            try:
                own.take()
            except StudyError:  # it saw the holder twice
                time.sleep(0.05)
                continue
            inside.append(name)
            time.sleep(0.1)
            had.append(name)
            assert inside == [name]
            inside.remove(name)
            own.give_back()

    names = [f"node {i}" for i in range(4)]
    threads = [threading.Thread(target=drive, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(had) == names
    assert inside == []


def test_one_that_died_on_another_node_is_followed_after_its_silence_whatever_the_clocks_say(s3, monkeypatch):
    lease(Storage(s3), "a lost node").take()
    jumps = iter(range(0, 10**9, 10**5))
    monkeypatch.setattr(time, "time", lambda: 1e9 + next(jumps) * (-1) ** next(jumps))
    said: list[str] = []
    own, began = replace(lease(Storage(s3), silent_s=1.0), say=said.append), time.monotonic()
    own.take()
    assert 1.0 < time.monotonic() - began < 10
    assert said == ["this study was begun by somebody on a lost node: goes on here once that was silent for 1 s"]
    assert Storage(s3).names(LOCK) == [own.me.id]


def test_one_that_lives_on_another_node_keeps_a_second_out(s3):
    first, over = lease(Storage(s3), "a far node", beat_s=0.2), threading.Event()
    first.take()
    thread = threading.Thread(target=first.beat_until, args=(over, pytest.fail))
    thread.start()
    try:
        with pytest.raises(StudyError, match=r"another `scaling run` is writing .*\(somebody on a far node\)"):
            lease(Storage(s3), silent_s=20).take()
    finally:
        over.set()
        thread.join()
    assert Storage(s3).names(LOCK) == [first.me.id]


def test_one_that_was_taken_for_dead_ends_when_it_wakes(s3):
    slept, over, told = lease(Storage(s3), "a stopped node", beat_s=0.1), threading.Event(), []
    slept.take()
    second = lease(Storage(s3), "the next node", silent_s=0.2)
    second.take()
    slept.beat_until(over, told.append)
    (line,) = told
    assert "took '" in line
    assert "(somebody on the next node)" in line
    assert Storage(s3).names(LOCK) == [second.me.id]


def test_a_sign_of_life_that_was_held_up_does_not_bring_it_back(s3):
    """Its file appears again after another driver has removed it: the one that woke up ends, the other goes on."""
    slept = lease(Storage(s3), "a stopped node", beat_s=0.1)
    slept.take()
    second = lease(Storage(s3), "the next node", silent_s=0.2, beat_s=0.1)
    second.take()
    slept._write(holds=True)
    over, told = threading.Event(), []
    thread = threading.Thread(target=second.beat_until, args=(over, pytest.fail))
    thread.start()
    slept.beat_until(threading.Event(), told.append)
    time.sleep(0.3)
    over.set()
    thread.join()
    assert "(somebody on the next node)" in told[0]


def test_a_lock_that_was_removed_by_hand_ends_its_driver(s3):
    own, told = lease(Storage(s3), beat_s=0.1), []
    own.take()
    Storage(s3).delete(f"{LOCK}/{own.me.id}")
    own.beat_until(threading.Event(), told.append)
    assert told[0].startswith("this driver's lock in '")


def test_what_is_no_lock_is_named(s3):
    Storage(s3).write_bytes(f"{LOCK}/notes", b"do not touch")
    with pytest.raises(StudyError, match=r"/.lock/notes.*' is no driver's lock .*remove it"):
        lease(Storage(s3)).take()
