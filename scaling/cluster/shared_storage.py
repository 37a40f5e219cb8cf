"""Do all nodes see the driver's storage? Asked before the first run: each reads what the driver wrote, and writes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence

from scaling.cluster.failures import first_line, reason_of
from scaling.cluster.placement import Node
from scaling.errors import StudyError
from scaling.storage import Storage

TIME_LIMIT_S = 60.0
SEEN_WITHIN_S = 5.0  # network file systems may show a new file late
DRIVER = "driver"
MANY = 5  # nodes that a message names


def check_shared(storage: Storage, nodes: Sequence[Node], time_limit_s: float = TIME_LIMIT_S) -> None:
    """Refuse a storage that is not the same place on every node.

    Raises:
        StudyError: names the nodes and what each says.
    """
    folder = f".probe-{uuid.uuid4().hex}"
    storage.write_bytes(f"{folder}/{DRIVER}", folder.encode())
    try:
        answers = _ask(storage, folder, nodes, time_limit_s)
        raise_unshared(storage, unshared(storage, folder, nodes, answers))
    finally:
        storage.delete_folder(folder)


def answer(storage_uri: str, folder: str, name: str) -> str | None:
    """On a node: read what the driver wrote, and write; why that is not possible, or None."""
    storage = Storage(storage_uri)
    try:
        if not _appears(storage, f"{folder}/{DRIVER}"):
            return "does not see what the driver wrote"
        storage.write_bytes(f"{folder}/{name}", name.encode())
    except (OSError, StudyError) as error:
        return first_line(error)
    return None


def unshared(storage: Storage, folder: str, nodes: Sequence[Node], answers: Mapping[str, str | None]) -> list[str]:
    """What is wrong, and where. answers: of each node, by its name; those that gave none are not in it."""
    problems = []
    for node in nodes:
        said = answers.get(node.name, "gave no answer")
        if said is None and not _appears(storage, f"{folder}/{node.name}"):
            said = "the driver does not see what it wrote"
        if said is not None:
            problems.append(f"{node.host}: {said}")
    return problems


def raise_unshared(storage: Storage, problems: Sequence[str]) -> None:
    """Raises: StudyError, if there are problems."""
    if not problems:
        return
    more = f" and {len(problems) - MANY} more" if len(problems) > MANY else ""
    raise StudyError(
        f"storage='{storage.shown}' is not one place for all nodes of the cluster "
        f"({'; '.join(problems[:MANY])}{more}); "
        "give storage: or --storage a folder that all nodes share, or a URI such as s3://bucket/folder"
    )


def _ask(storage: Storage, folder: str, nodes: Sequence[Node], time_limit_s: float) -> dict[str, str | None]:
    """One task pinned to each node; it reserves nothing, so that a head without CPUs runs it too."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(answer)
    asked = {}
    for node in nodes:
        pinned = NodeAffinitySchedulingStrategy(node.name, soft=False)
        ref = task.options(num_cpus=0, scheduling_strategy=pinned).remote(storage.uri, folder, node.name)
        asked[ref] = node.name
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=time_limit_s)
    for ref in late:
        ray.cancel(ref, force=True)
    return {asked[ref]: _result(ref) for ref in ready}


def _result(ref: object) -> str | None:
    import ray

    try:
        said = ray.get(ref)
    except ray.exceptions.RayError as error:  # such as a node where this package is not installed
        return reason_of(error)
    return None if said is None else str(said)


def _appears(storage: Storage, name: str) -> bool:
    deadline = time.monotonic() + SEEN_WITHIN_S
    while not (there := storage.exists(name)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return there
