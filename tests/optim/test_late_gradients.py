"""Optimizers and gradients that come late, or are missing at a step: each weight is where it would be alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from launcher.artifacts.checkpoint.tensors import pack, unpack
from launcher.parallel.partitioned_optimizer import LocalOptimizer, looks_at_each_element
from tests.optim.test_optimizers import ENTRIES, made, tensors

SHAPES = ((6, 4), (5,), (8, 70), (3, 2, 2, 2))
STEPS = 8
PATTERNS = {
    "late": (range(STEPS), range(3, STEPS), range(1, STEPS), range(5, STEPS)),
    "missing": (range(STEPS), (0, 1, 4, 7), (0, 2, 3, 4, 5, 6, 7), (0, 1)),
    "late and missing": (range(2, STEPS), (2, 5, 7), (0, 3, 4), (6, 7)),
    "never": (range(STEPS), (), (4, 5), ()),
    "never together": ((0, 4), (1, 5), (2, 6), (3, 7)),
}
"""At which steps each of four weights has a gradient."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {entry: (entry, {}) for entry in ENTRIES} | {
    "sgd with dampening": ("sgd", {"nesterov": False, "dampening": 0.3, "weight_decay": 0.1}),
    "sgd without momentum": ("sgd", {"nesterov": False, "momentum": 0.0}),
    "adafactor with steps": ("adafactor", {"scale_parameter": False, "weight_decay": 0.1}),
    "schedule_free with decay": ("schedule_free", {"weight_decay": 0.1}),
}


def rate(step: int) -> float:
    """One that rises and falls."""
    return 0.01 * (1.0, 2.0, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5)[step]


def stepped(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], pattern: Any, steps: range) -> list[Tensor]:
    for step in steps:
        drawn = tensors(*SHAPES, dtype=weights[0].dtype, seed=100 + step)
        for weight, gradient, when in zip(weights, drawn, pattern, strict=True):
            weight.grad = gradient if step in when else None
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
    return [weight.detach().clone() for weight in weights]


def fresh(dtype: torch.dtype) -> list[nn.Parameter]:
    return [nn.Parameter(weight) for weight in tensors(*SHAPES, dtype=dtype)]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_weight_is_where_an_optimizer_of_its_own_would_bring_it(name: str, pattern: str) -> None:
    """One that is made when its first gradient comes, and takes a step when there is one."""
    entry, options = VARIANTS[name]
    dtype = torch.float32 if entry == "adamw_8bit" else torch.float64
    when = PATTERNS[pattern]
    together = fresh(dtype)
    found = stepped(made(entry, together, **options), together, when, range(STEPS))
    for index, start in enumerate(fresh(dtype)):
        alone = nn.Parameter(start.detach().clone())
        optimizer = made(entry, [alone], **options)
        for step in when[index]:
            alone.grad = tensors(*SHAPES, dtype=dtype, seed=100 + step)[index]
            optimizer.param_groups[0]["lr"] = rate(step)
            optimizer.step()
        tolerance = 1e-6 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(found[index], alone.detach(), rtol=tolerance, atol=tolerance)
        assert torch.equal(found[index], start) == (not when[index])


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_resumed_bit_for_bit_at_every_step(name: str, pattern: str) -> None:
    entry, options = VARIANTS[name]
    weights = fresh(torch.float32)
    optimizer = made(entry, weights, **options)
    saved = []
    for step in range(STEPS):
        tree, packed = pack(copy.deepcopy(optimizer.state_dict()))
        saved.append(([weight.detach().clone() for weight in weights], tree, packed))
        end = stepped(optimizer, weights, PATTERNS[pattern], range(step, step + 1))
    for step, (before, tree, packed) in enumerate(saved):
        again = [nn.Parameter(weight) for weight in before]
        resumed = made(entry, again, **options)
        resumed.load_state_dict(unpack(tree, packed))
        for ours, theirs in zip(end, stepped(resumed, again, PATTERNS[pattern], range(step, STEPS)), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", [name for name, (entry, _) in VARIANTS.items() if entry in ("sgd", "adamw", "lion")])
def test_a_part_of_each_weight_is_that_part_of_the_whole(name: str) -> None:
    """What ranks do that split weights, whose optimizer is another one's."""
    entry, options = VARIANTS[name]
    whole, split = fresh(torch.float64), fresh(torch.float64)
    plain = made(entry, whole, **options)
    assert looks_at_each_element(plain)
    local = LocalOptimizer(lambda groups: made(entry, groups, **options), [{"params": split}])  # type: ignore[arg-type]
    pattern = PATTERNS["late and missing"]
    for ours, theirs in zip(
        stepped(local, split, pattern, range(STEPS)), stepped(plain, whole, pattern, range(STEPS)), strict=True
    ):
        assert torch.equal(ours, theirs)


class Branches(nn.Module):
    """Two branches, the second of which is used from the fourth step on."""

    def __init__(self, image_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__()
        pixels = int(torch.Size(image_shape).numel())
        self.first, self.second = nn.Linear(pixels, num_outputs), nn.Linear(pixels, num_outputs)
        self.count = 0

    def forward(self, images: Tensor) -> Tensor:
        self.count += self.training
        flat = images.flatten(1)
        found: Tensor = self.first(flat)
        return found + self.second(flat) if self.count > 3 else found
