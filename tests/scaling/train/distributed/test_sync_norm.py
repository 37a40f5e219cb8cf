"""Batch norm of two workers against torch's own with all images, in float64; and what else workers exchange.

Run as a program, this file is one of the two workers.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from two_workers import WORLD, be_worker, start_workers

from scaling.train.batch import Batch
from scaling.train.distributed.gather import all_reduce_sum, average_gradients, gather_rows, share_index
from scaling.train.distributed.sync_norm import WorkersBatchNorm, sync_batch_norm

NORMS = {
    "1d": (lambda: nn.BatchNorm1d(5), (5,)),
    "2d": (lambda: nn.BatchNorm2d(3), (3, 4, 2)),
    "cumulative": (lambda: nn.BatchNorm2d(3, momentum=None), (3, 2, 2)),
    "plain": (lambda: nn.BatchNorm1d(5, affine=False, eps=1e-2), (5, 3)),
    "untracked": (lambda: nn.BatchNorm1d(5, track_running_stats=False), (5,)),
    "silu": (lambda: BatchNormAct2d(3, act_layer=nn.SiLU), (3, 4, 2)),
}
SIZES = {"even": 8, "uneven": 7}
N = 7
CASES = [(name, size) for name in NORMS for size in SIZES]


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def make_model(name: str) -> nn.Module:
    model = nn.Sequential(NORMS[name][0]()).double()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.copy_(random(*parameter.shape, seed=index))
    return model


def use(model: nn.Module, name: str, size: str, share: slice) -> dict[str, Any]:
    """Two batches of which `share` is here; the second's gradients of a loss that holds a gradient of its own."""
    n, shape = SIZES[size], NORMS[name][1]
    for seed in (1, 2):
        model.zero_grad()
        images = (3 + 2 * random(n, *shape, seed=seed))[share].requires_grad_()
        weights = random(n, *shape, seed=seed + 10)[share]
        output = model(images)
        first = (output.square() * weights).sum()
        (inner,) = torch.autograd.grad(first, images, create_graph=True)
        (first + (inner.square() * weights).sum()).backward()
    return {
        "of images": {"output": output.detach(), "inner": inner.detach(), "gradient": images.grad},
        "of weights": {key: parameter.grad for key, parameter in model.named_parameters()},
        "state": dict(model.state_dict()),
        "evaluated": model.eval()(images).detach(),
    }


def rows() -> torch.Tensor:
    return torch.randn(N, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def loss_of(everything: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Each row's loss depends on all rows."""
    return (everything.flatten(1)[own] @ everything.flatten(1).T).tanh().square().sum()


def batch_of(share: Any) -> Batch:
    n = len(range(N)[share]) if isinstance(share, slice) else len(share)
    return Batch(torch.zeros(n, 3, 2, 2), torch.zeros(n), (0, 0), share, N)


def exchange(rank: int) -> dict[str, Any]:
    share = slice(rank, None, WORLD)
    own = share_index(batch_of(share))
    mine = rows()[share].requires_grad_()
    everything = gather_rows(mine, own, N)
    loss_of(everything, own).backward()
    used, idle = torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(2))
    other = torch.nn.Parameter(torch.zeros(4))
    used.grad, other.grad = torch.full((2, 3), 1.0 + rank), torch.arange(4.0) * (1 - rank)
    average_gradients([used, idle, other])
    total = all_reduce_sum(torch.tensor([1.0 + rank]).expand(3))
    return {
        "own": own, "everything": everything.detach(), "gradient": mine.grad, "total": total,
        "used": used.grad, "idle": idle.grad, "other": other.grad,
    }  # fmt: skip


def work(rank: int) -> dict[str, Any]:
    found: dict[str, Any] = {"exchange": exchange(rank)}
    for name, size in CASES:
        model = sync_batch_norm(make_model(name))
        assert isinstance(model[0], WorkersBatchNorm)
        found[f"{name} {size}"] = use(model, name, size, slice(rank, None, WORLD))
    torch.manual_seed(0)
    images = 1000 + torch.randn(6, 4)
    found["far"] = sync_batch_norm(nn.BatchNorm1d(4))(images[rank::WORLD]).detach()
    found["half"] = sync_batch_norm(nn.BatchNorm1d(4))((images - 1000).bfloat16()[rank::WORLD]).detach()
    shared = nn.BatchNorm1d(4)
    twins = sync_batch_norm(nn.ModuleDict({"a": nn.Sequential(shared), "b": shared}))
    found["shared"] = twins["a"][0] is twins["b"] and sync_batch_norm(twins)["b"] is twins["b"]
    return found


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return start_workers(__file__, tmp_path_factory.mktemp("norms"))


@pytest.mark.parametrize(("name", "size"), CASES)
def test_two_workers_norm_as_one(workers, name, size):
    """Outputs, first and second derivatives, running statistics, eval mode; the state dict has the same names."""
    expected = use(make_model(name), name, size, slice(None))
    found = [worker[f"{name} {size}"] for worker in workers]
    for rank, worker in enumerate(found):
        for key, value in expected["of images"].items():
            torch.testing.assert_close(worker["of images"][key], value[rank::WORLD], rtol=1e-6, atol=1e-9, msg=key)
        torch.testing.assert_close(worker["state"], expected["state"], rtol=1e-9, atol=1e-12)
        assert list(worker["state"]) == list(expected["state"])
        if name != "untracked":  # else a batch of its own, as torch does it
            torch.testing.assert_close(worker["evaluated"], expected["evaluated"][rank::WORLD])
    for key, value in expected["of weights"].items():
        summed = sum(worker["of weights"][key] for worker in found)
        torch.testing.assert_close(summed, value, rtol=1e-6, atol=1e-9, msg=key)
    assert all(torch.equal(value, found[1]["state"][key]) for key, value in found[0]["state"].items())


def test_statistics_far_from_zero_and_in_half_precision(workers):
    torch.manual_seed(0)
    images = 1000 + torch.randn(6, 4)
    far = nn.functional.batch_norm(images.double(), None, None, training=True).float()
    half = nn.BatchNorm1d(4)((images - 1000).bfloat16()).detach()
    for rank, worker in enumerate(workers):
        torch.testing.assert_close(worker["far"], far[rank::WORLD], rtol=0, atol=5e-4)
        assert worker["half"].dtype == torch.bfloat16
        torch.testing.assert_close(worker["half"], half[rank::WORLD], rtol=1e-2, atol=1e-2)


def test_a_norm_in_two_places_stays_one(workers):
    assert all(worker["shared"] for worker in workers)


def test_alone_nothing_is_replaced():
    model = make_model("2d")
    norm = model[0]
    assert sync_batch_norm(model)[0] is norm


def test_alone_or_evaluated_it_is_plain_batch_norm():
    ours, plain, images = WorkersBatchNorm(3), nn.BatchNorm2d(3), torch.randn(4, 3, 2, 2)
    assert torch.equal(ours(images), plain(images))
    assert torch.equal(ours.running_var, plain.running_var)
    assert torch.equal(ours.eval()(images), plain.eval()(images))
    with pytest.raises(ValueError, match="batch norm of 1 dimensions"):
        ours(images[0, 0, 0])


def test_rows_come_in_the_order_of_the_global_batch_with_their_gradients(workers):
    """Shares of 4 and 3; the sum of the workers' losses is the loss of all."""
    all_rows = rows().requires_grad_()
    loss_of(all_rows, torch.arange(N)).backward()
    for rank, worker in enumerate(worker["exchange"] for worker in workers):
        assert worker["own"].tolist() == list(range(rank, N, WORLD))
        assert torch.equal(worker["everything"], rows()), "exact: the others' summands are zero"
        torch.testing.assert_close(worker["gradient"], all_rows.grad[rank::WORLD])
        assert worker["total"].tolist() == [3, 3, 3]


def test_gradients_become_their_mean_where_there_are_any(workers):
    for worker in (worker["exchange"] for worker in workers):
        assert torch.equal(worker["used"], torch.full((2, 3), 1.5))
        assert torch.equal(worker["other"], torch.arange(4.0) / 2)
        assert worker["idle"] is None


def test_alone_there_is_nothing_to_exchange():
    assert torch.equal(gather_rows(rows(), torch.arange(N), N), rows())
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    average_gradients([parameter])
    assert torch.equal(parameter.grad, torch.ones(2))
    assert share_index(batch_of(slice(None))).tolist() == list(range(N))
    assert share_index(batch_of([2, 0, 1, 3, 4, 6, 5])).tolist() == [2, 0, 1, 3, 4, 6, 5]
    with pytest.raises(ValueError, match=r"3 of a batch's 7 images are here .*micro_batch"):
        share_index(batch_of(slice(1, None, 2)))


if __name__ == "__main__":
    be_worker(work)
