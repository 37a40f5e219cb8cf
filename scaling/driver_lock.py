"""One driver a study: a second one is told who runs it, and one that has died is found out.

In a local folder the system's own lock of a file, which ends with its process, on whatever node (a network file system
has to hand locks on, as NFS does).

In an object store each driver writes a file of its own and then lists those of all: it has the study where there is no
other. Of two, whoever wrote later sees the other's, so that never both have it (the flag principle, Herlihy & Shavit
2008, ch. 1.2); two that start in one moment may both withdraw, and try again a random moment later. No conditional
write is needed, which Arrow does not offer, but a store that lists what was written before: S3 since 2020, Google's,
Azure's, MinIO.

A driver rewrites its file every BEAT_S. One that does not for SILENT_S is dead, and so is one of this machine whose
process is gone: its file is removed. Only this machine's own steady clock measures that, so that clocks may differ and
jump. A driver that was held up for longer and goes on finds its file gone or itself named in another's, and ends; until
it looks, BEAT_S at most, both write, which whole files of deterministic runs survive.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import platform
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from scaling.errors import MissingFile, StorageError, StudyError
from scaling.layout import LOCK
from scaling.patience import PATIENCE_S
from scaling.storage import Storage

BEAT_S = 15.0
SILENT_S = PATIENCE_S + 2 * BEAT_S  # a driver whose storage is away for longer gives up by itself
LOOK_S = 2.0  # between looks at another driver's file
SOON_S = 3.0  # after two drivers withdrew
Say = Callable[[str], None]


@contextmanager
def only_driver(storage: Storage, say: Say = lambda line: None, lost: Say = lambda line: None) -> Iterator[None]:
    """Be the one driver of a study's folder for the block's time.

    Args:
        say: hears why it takes a while. lost: hears, in a thread of its own, why the study has to end: another driver
            took it over.

    Raises:
        StudyError: another driver has it. StorageError: the place does not answer.
    """
    if storage.is_local:
        with _locked_file(storage):
            yield
        return
    lease = Lease(storage, say, beat_s=BEAT_S)
    lease.take()
    over = threading.Event()
    thread = threading.Thread(target=lease.beat_until, args=(over, lost), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(BEAT_S)  # a sign of life after the end would look like a driver
        lease.give_back()


@dataclass(frozen=True)
class Driver:
    """Who has a study, or asks for it.

    boot, pid, began: the process, on its machine as long as that runs. holds: whether it has the study, or only asks
    for it. beat: counts its signs of life. took: drivers that it found dead.
    """

    id: str
    who: str
    boot: str
    pid: int
    began: str
    holds: bool = False
    beat: int = 0
    took: tuple[str, ...] = ()

    @classmethod
    def of_this_process(cls) -> Driver:
        who = f"{_user()} on {platform.node()}, process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
        return cls(uuid.uuid4().hex, who, _boot(), os.getpid(), _began(os.getpid()))

    @property
    def is_here(self) -> bool | None:
        """Whether its process is there; None: it is of another machine, or of a container that hides it."""
        return None if self.boot != _boot() else _began(self.pid) == self.began


@dataclass
class Lease:
    """The file of a driver among those of all, in the folder LOCK."""

    storage: Storage
    say: Say
    beat_s: float = BEAT_S
    silent_s: float = SILENT_S
    me: Driver = field(default_factory=Driver.of_this_process)
    _seen: dict[str, tuple[Driver, float]] = field(default_factory=dict)  # id -> as it was first seen, and when

    def take(self) -> None:
        """Write one's own file where there is no other's, and have the study where there is none after that either.

        Raises:
            StudyError: another driver has the study.
        """
        while True:
            if self._waits_for_others():
                time.sleep(LOOK_S)
                continue
            self._write(holds=False)
            if self._drivers().keys() == {self.me.id}:
                self._write(holds=True)
                if self._overtaken() is None:
                    return
            self.storage.delete(self._name(self.me.id))
            time.sleep(random.uniform(0, SOON_S))

    def give_back(self) -> None:
        """Remove one's own file; in a store that is away it stays, and the next driver finds this one dead."""
        with suppress(StorageError):
            self.storage.patient(0).delete(self._name(self.me.id))

    def beat_until(self, over: threading.Event, lost: Say) -> None:
        """Show signs of life until it is over, or another driver has the study."""
        self.storage = self.storage.patient(0)
        while not over.wait(self.beat_s):
            with suppress(StorageError):  # the study itself waits for its storage, or gives up
                other = self._overtaken()
                if other is not None:
                    lost(other)
                    return
                self._write(holds=True)

    def _overtaken(self) -> str | None:
        there = self._drivers()
        takers = [driver.who for driver in there.values() if self.me.id in driver.took]
        if takers:
            return f"another `scaling run` took '{self.storage.shown}' over ({takers[0]}), as this one was silent"
        gone = self.me.id not in there
        return f"this driver's lock in '{self.storage.child(LOCK).shown}' was removed" if gone else None

    def _waits_for_others(self) -> bool:
        """Whether others may still live. Removes the files of those that do not."""
        waits = False
        for driver in self._drivers().values():
            if self._is_dead(driver):
                self.me = replace(self.me, took=(*self.me.took, driver.id))
                self.storage.delete(self._name(driver.id))
            else:
                waits = True
        return waits

    def _is_dead(self, driver: Driver) -> bool:
        """False: it may live.

        Raises:
            StudyError: it lives, and has the study.
        """
        now, here = time.monotonic(), driver.is_here
        first, since = self._seen.get(driver.id, (None, now))
        if driver.holds and (here or first not in (None, driver)):
            raise StudyError(
                f"another `scaling run` is writing to '{self.storage.shown}' ({driver.who}); wait for it or end it, "
                "then run again"
            )
        if first != driver:
            self._seen[driver.id] = (driver, now)
            if driver.holds and here is None:
                self.say(f"this study was begun by {driver.who}: goes on here once that was silent for "
                         f"{self.silent_s:.0f} s")  # fmt: skip
            return here is False
        return here is False or now - since > self.silent_s

    def _write(self, holds: bool) -> None:
        self.me = replace(self.me, holds=holds, beat=self.me.beat + 1)
        self.storage.write_bytes(self._name(self.me.id), json.dumps(asdict(self.me)).encode())

    def _drivers(self) -> dict[str, Driver]:
        """All drivers whose files are there, by id."""
        found = {}
        for name in self.storage.names(LOCK):
            with suppress(MissingFile):  # it has just ended
                found[name] = self._parsed(name, self.storage.read_bytes(f"{LOCK}/{name}"))
        return found

    def _parsed(self, name: str, content: bytes) -> Driver:
        try:
            known = json.loads(content)
            return Driver(**{one.name: known[one.name] for one in fields(Driver)} | {"took": tuple(known["took"])})
        except (ValueError, KeyError, TypeError) as error:
            raise StudyError(
                f"'{self.storage.child(LOCK, name).shown}' is no driver's lock ({error!r}); remove it"
            ) from error

    @staticmethod
    def _name(driver: str) -> str:
        return f"{LOCK}/{driver}"


@contextmanager
def _locked_file(storage: Storage) -> Iterator[None]:
    """The system's lock of a file in which its holder stands."""
    path = Path(storage.path(LOCK))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise storage.error("written", LOCK, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = path.read_text(encoding="utf-8")
            raise StudyError(
                f"another `scaling run` is writing to '{storage.shown}'{holder and f' ({holder})'}; wait for it or end "
                "it, then run again"
            ) from error
        except OSError as error:
            raise storage.error("locked", LOCK, error) from error
        try:
            file.truncate(0)
            file.write(Driver.of_this_process().who)
            file.flush()
        except OSError as error:
            raise storage.error("written", LOCK, error) from error
        yield


def _user() -> str:
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return f"user {os.getuid()}"


def _boot() -> str:
    """What tells this machine, as long as it runs, and the processes that are seen here from all others."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # another system than Linux
        return uuid.uuid4().hex


def _began(pid: int) -> str:
    """When a process began, in the system's ticks; empty where there is none: numbers of processes come again."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""
