"""A real Slurm for a test: controller and nodes on this machine, the nodes in network namespaces of their own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests_jobs import wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "ip", "nsenter", "unshare")
CONFIG = """
ClusterName=test
SlurmctldHost={host}({net}.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=86400
"""


def missing() -> str:
    """Why no Slurm can be started here; empty where it can."""
    programs = [name for name in PROGRAMS if program(name) is None]
    if programs:
        return f"no {', '.join(programs)} here (Debian: apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "nodes in network namespaces need root"


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def run(*words: object, **more: str) -> str:
    """A command's output; its failure with what it said."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False,
                          env=os.environ | more)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def slurm_cluster(folder: Path, nodes: int, cpus: int) -> Iterator[dict[str, str]]:
    """A cluster of `nodes` nodes of `cpus` CPUs; yields the environment of its commands."""
    net = f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(250)}"
    host, own = socket.gethostname(), secrets.token_hex(2)
    names = [f"n{i}" for i in range(1, nodes + 1)]
    for name in ("state", *(f"spool-{name}" for name in names)):
        (folder / name).mkdir(parents=True)
    text = CONFIG.format(folder=folder, host=host, net=net, ports=(free_port(), free_port()))
    text += "".join(
        f"NodeName={name} NodeHostname={host} NodeAddr={net}.{i + 10} CPUs={cpus}\n" for i, name in enumerate(names)
    )
    text += f"PartitionName=all Nodes={','.join(names)} Default=YES State=UP OverSubscribe=NO\n"
    config = folder / "slurm.conf"
    config.write_text(text)
    environment = {"SLURM_CONF": str(config)}
    with ExitStack() as stack:
        stack.enter_context(munge(folder))
        stack.enter_context(network(net, own, names))
        stack.enter_context(process(program("slurmctld"), "-D", "-i", "-f", config, **environment))
        for name in names:
            command = ("nsenter", f"--net=/run/netns/{own}{name}", program("slurmd"), "-D", "-N", name, "-f", config)
            stack.enter_context(process(*command, **environment))
        wait_for("idle nodes", lambda: idle(environment) == nodes, 60)
        yield environment


def idle(environment: dict[str, str]) -> int:
    found = subprocess.run(["sinfo", "-h", "-N", "-o", "%T"], capture_output=True, text=True, check=False,
                           env=os.environ | environment)  # fmt: skip
    return found.stdout.split().count("idle")


@contextmanager
def munge(folder: Path) -> Iterator[None]:
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o400)
    files = [f"--{kind}-file={folder}/munge.{kind}" for kind in ("key", "pid", "log", "seed")]
    with process(program("munged"), "--foreground", "--force", f"--socket={folder}/munge.socket", *files):
        wait_for("munge", (folder / "munge.socket").exists, 20)
        yield


@contextmanager
def network(net: str, own: str, names: list[str]) -> Iterator[None]:
    """A bridge at NET.1, and a namespace a node at NET.10, NET.11, …"""
    bridge = f"br{own}"
    try:
        run("ip", "link", "add", bridge, "type", "bridge")
        run("ip", "addr", "add", f"{net}.1/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")
        for i, name in enumerate(names):
            space, ours = f"{own}{name}", f"v{own}{name}"
            run("ip", "netns", "add", space)
            run("ip", "link", "add", ours, "master", bridge, "type", "veth", "peer", "name", "eth0", "netns", space)
            run("ip", "link", "set", ours, "up")
            for words in (
                ("addr", "add", f"{net}.{i + 10}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("link", "set", "lo", "up"),
            ):
                run("ip", "-n", space, *words)
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", f"{own}{name}"], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", bridge], capture_output=True, check=False)


@contextmanager
def process(*words: object, **more: str) -> Iterator[None]:
    started = subprocess.Popen([str(word) for word in words], env=os.environ | more, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        yield
    finally:
        started.terminate()
        started.wait(20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
