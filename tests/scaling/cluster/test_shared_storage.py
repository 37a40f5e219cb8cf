"""A storage that nodes do not share, from both sides; nodes are played by other folders. With Ray: test_faults.py."""

from __future__ import annotations

import pytest

from scaling.cluster import shared_storage
from scaling.cluster.placement import Node
from scaling.cluster.shared_storage import answer, raise_unshared, unshared
from scaling.errors import StudyError
from scaling.storage import Storage

NODES = [
    Node("a1", 4, host="alpha"),
    Node("b2", 4, host="beta"),
    Node("c3", 4, host="gamma"),
    Node("d4", 0, host="delta"),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(shared_storage, "SEEN_WITHIN_S", 0.0)


@pytest.fixture
def driver(tmp_path) -> Storage:
    storage = Storage(tmp_path / "driver")
    storage.write_bytes("probe/driver", b"probe")
    return storage


def test_nodes_that_share_the_storage_pass(driver):
    answers = {node.name: answer(driver.uri, "probe", node.name) for node in NODES}
    assert set(answers.values()) == {None}
    raise_unshared(driver, unshared(driver, "probe", NODES, answers))


def test_every_way_to_share_nothing_is_named_with_its_node(driver, tmp_path):
    copy = Storage(tmp_path / "copy")  # holds what the driver wrote, as a copy made once does; what it gets stays there
    copy.write_bytes("probe/driver", b"probe")
    answers = {
        "a1": answer(driver.uri, "probe", "a1"),
        "b2": answer(Storage(tmp_path / "own").uri, "probe", "b2"),
        "c3": answer(copy.uri, "probe", "c3"),
    }
    problems = unshared(driver, "probe", NODES, answers)
    assert problems == [
        "beta: does not see what the driver wrote",
        "gamma: the driver does not see what it wrote",
        "delta: gave no answer",
    ]
    with pytest.raises(StudyError) as error:
        raise_unshared(driver, problems)
    for word in (
        f"storage='{driver.shown}' is not one place for all nodes",
        "beta: ",
        "gamma: ",
        "delta: ",
        "--storage",
    ):
        assert word in str(error.value)


def test_a_node_that_may_not_write_says_so(tmp_path, driver):
    (tmp_path / "driver" / "probe" / "sub").write_text("a file where a folder is to be")
    assert "probe/sub" in answer(driver.uri, "probe", "sub/name")


def test_of_many_nodes_a_few_are_named(driver):
    many = [Node(f"n{i}", 1, host=f"host{i}") for i in range(40)]
    with pytest.raises(StudyError, match="host4: gave no answer and 35 more"):
        raise_unshared(driver, unshared(driver, "probe", many, {}))
