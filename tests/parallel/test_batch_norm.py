"""Batch norm over all ranks, beside torch's over the whole batch."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from launcher.parallel.batch_norm import SyncBatchNorm, synchronise
from launcher.tasks.models.layers import TokenBatchNorm

SHAPES = {
    nn.BatchNorm1d: (6, 4),
    nn.BatchNorm2d: (6, 4, 3, 3),
    nn.BatchNorm3d: (6, 4, 2, 2, 2),
    TokenBatchNorm: (6, 5, 4),
}


def whole(kind: type[nn.Module], momentum: float | None, affine: bool) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A layer and two batches for it, in float64's stead far from zero: a variance by E[x^2] - E[x]^2 would lose it."""
    generator = torch.Generator().manual_seed(0)
    layer = kind(4, momentum=momentum, affine=affine)
    if affine:
        with torch.no_grad():
            layer.weight.uniform_(0.5, 2, generator=generator)
            layer.bias.uniform_(-1, 1, generator=generator)
    shape = (2, *SHAPES[kind])
    return layer, 1000 + torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


CASES = [(kind, momentum, affine) for kind in SHAPES for momentum, affine in ((0.1, True), (None, False))]


def on_rank(rank: int, world_size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    found = []
    for kind, momentum, affine in CASES:
        layer, inputs, targets = whole(kind, momentum, affine)
        layer = synchronise(nn.Sequential(layer))
        outputs, gradients = [], []
        for x, y in zip(inputs, targets, strict=True):
            mine = x.chunk(world_size)[rank].clone().requires_grad_()
            output = layer(mine)
            (output * y.chunk(world_size)[rank]).sum().backward()
            outputs.append(output.detach())
            gradients.append(mine.grad)
        own = [parameter.grad for parameter in layer.parameters()]
        layer.eval()
        judged = layer(inputs[0].chunk(world_size)[rank]).detach()
        found.append((outputs, gradients, own, dict(layer[0].state_dict()), judged))
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()
    os._exit(0)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple]]:
    folder = tmp_path_factory.mktemp("norm")
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=on_rank, args=(rank, 2, str(folder))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda index: f"{CASES[index][0].__name__}-{CASES[index][1]}")
def test_two_ranks_are_torchs_own_on_the_whole_batch(ranks: list[list[tuple]], index: int) -> None:
    layer, inputs, targets = whole(*CASES[index])
    parts = [rank[index] for rank in ranks]
    layer = layer.double()
    for number, (x, y) in enumerate(zip(inputs, targets, strict=True)):
        x = x.double().requires_grad_()
        output = layer(x)
        (output * y.double()).sum().backward()
        torch.testing.assert_close(
            torch.cat([part[0][number] for part in parts]).double(), output.detach(), rtol=2e-4, atol=2e-4
        )
        torch.testing.assert_close(
            torch.cat([part[1][number] for part in parts]).double(), x.grad, rtol=2e-3, atol=2e-4
        )
    for position, parameter in enumerate(layer.parameters()):
        summed = sum(part[2][position] for part in parts)
        torch.testing.assert_close(summed.double(), parameter.grad, rtol=1e-3, atol=1e-3)
    for part in parts:
        assert part[3].keys() == layer.state_dict().keys()
        for name, value in layer.state_dict().items():
            torch.testing.assert_close(part[3][name].to(value.dtype), value, rtol=1e-5, atol=1e-5)
    layer.eval()
    torch.testing.assert_close(
        torch.cat([part[4] for part in parts]).double(), layer(inputs[0].double()).detach(), rtol=2e-4, atol=2e-3
    )


def test_the_modules_stay_the_ones_they_are() -> None:
    model = nn.Sequential(nn.Linear(3, 4), TokenBatchNorm(4), nn.ModuleDict({"inner": nn.BatchNorm2d(2)}))
    before = [id(each) for each in [*model.modules(), *model.parameters(), *model.buffers()]]
    assert synchronise(synchronise(model)) is model
    assert [id(each) for each in [*model.modules(), *model.parameters(), *model.buffers()]] == before
    assert isinstance(model[1], (TokenBatchNorm, SyncBatchNorm))
    assert [kind.__name__ for kind in type(model[1]).__mro__].count("SyncBatchNorm") == 1
