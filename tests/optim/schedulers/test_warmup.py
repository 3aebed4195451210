"""The whole curve of each schedule, beside its closed form or torch's own, and after a resume."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, StepLR

from launcher.core.run import Plan
from launcher.errors import ConfigError
from launcher.optim.build import build_scheduler
from launcher.optim.schedulers.warmup import Warmup

STEPS = 40


def optimizer(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates or (0.5,)])


def plan(total: int | None = STEPS) -> Plan:
    others = {field.name: None for field in dataclasses.fields(Plan)[2:]}
    return Plan(total, 10, **others)  # type: ignore[arg-type]  # of these a schedule sees nothing


def built(
    name: str, total: int | None = STEPS, rates: tuple[float, ...] = (), **settings: Any
) -> tuple[Warmup, torch.optim.Optimizer]:
    from launcher import CONF

    node = OmegaConf.merge(OmegaConf.load(CONF / "scheduler" / f"{name}.yaml"), settings)
    owner = optimizer(*rates)
    return build_scheduler(node, owner, plan(total).total_steps, plan(total).steps_per_epoch), owner


def rates(schedule: Any, owner: torch.optim.Optimizer, num: int = STEPS) -> list[float]:
    found = []
    for _ in range(num):
        found.append(owner.param_groups[0]["lr"])
        owner.step()
        schedule.step()
    return found


def rise(x: float, shape: str) -> float:
    return x if shape == "linear" else (1 - math.cos(math.pi * x)) / 2


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize(("warmup", "num"), [(0, 0), (0.1, 4), (0.25, 10), (7, 7), (1, 1)])
def test_warmup_and_cosine_are_their_closed_form(warmup: float, num: int, shape: str) -> None:
    schedule, owner = built("cosine", warmup=warmup, warmup_shape=shape, eta_min=0.01)
    expected = [0.5 * rise((step + 1) / (num + 1), shape) for step in range(num)]
    decay = STEPS - num
    expected += [0.01 + (0.5 - 0.01) * (1 + math.cos(math.pi * step / decay)) / 2 for step in range(decay)]
    assert rates(schedule, owner) == pytest.approx(expected, rel=1e-9)
    assert owner.param_groups[0]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize("warmup", [0, 6])
def test_constant_stays(warmup: int) -> None:
    schedule, owner = built("constant", warmup=warmup)
    assert rates(schedule, owner) == pytest.approx(
        [0.5 * (step + 1) / (warmup + 1) for step in range(warmup)] + [0.5] * (STEPS - warmup)
    )


@pytest.mark.parametrize("warmup", [0, 6])
def test_step_falls_by_gamma_after_every_step_size(warmup: int) -> None:
    schedule, owner = built("step", warmup=warmup, step_size=9, gamma=0.3)
    assert rates(schedule, owner)[warmup:] == pytest.approx(
        [0.5 * 0.3 ** (step // 9) for step in range(STEPS - warmup)]
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda owner: CosineAnnealingLR(owner, 30),
        lambda owner: StepLR(owner, 7, 0.5),
        lambda owner: LinearLR(owner, 0.25, 1.0, 12),
    ],
)
def test_after_the_warmup_it_is_torchs_own(make: Any) -> None:
    alone, ours = optimizer(), optimizer()
    schedule = Warmup(make(ours), 5)
    start = ours.param_groups[0]["lr"]
    expected = rates(make(alone), alone)
    assert start == pytest.approx(expected[0] / 6)
    assert rates(schedule, ours, STEPS + 5)[5:] == pytest.approx(expected, rel=1e-12)


def test_each_group_has_its_own_rate() -> None:
    schedule, owner = built("cosine", rates=(0.5, 0.02), warmup=4)
    for _ in range(STEPS):
        first, second = schedule.get_last_lr()
        assert second == pytest.approx(first * 0.04)
        owner.step()
        schedule.step()


@pytest.mark.parametrize("name", ["cosine", "constant", "step"])
@pytest.mark.parametrize("warmup", [0, 8])
@pytest.mark.parametrize("at", [1, 3, 7, 8, 9, 25])
def test_a_resume_goes_on_where_it_was(name: str, warmup: int, at: int) -> None:
    """As `Run.restore` does it: the optimizer's state first, which makes new groups, then the schedule's."""
    settings = {"warmup": warmup} | ({"step_size": 5} if name == "step" else {})
    whole = rates(*built(name, **settings))
    schedule, owner = built(name, **settings)
    assert rates(schedule, owner, at) == whole[:at]
    fresh, other = built(name, **settings)
    other.load_state_dict(owner.state_dict())
    fresh.load_state_dict(schedule.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch's "before optimizer.step()"
        assert rates(fresh, other, STEPS - at) == whole[at:]


@pytest.mark.parametrize("name", ["cosine", "constant", "step"])
@pytest.mark.parametrize("warmup", [0, 3, 0.2])
def test_a_lengthened_run_has_the_new_lengths_schedule(name: str, warmup: float) -> None:
    settings = {"warmup": warmup} | ({"step_size": 5} if name == "step" else {})
    schedule, owner = built(name, **settings)
    rates(schedule, owner, 20)
    fresh, other = built(name, 2 * STEPS, **settings)
    other.load_state_dict(owner.state_dict())
    fresh.seek(20)
    expected = rates(*built(name, 2 * STEPS, **settings), num=2 * STEPS)
    assert rates(fresh, other, 2 * STEPS - 20) == pytest.approx(expected[20:], rel=1e-12)


@pytest.mark.parametrize("word", ["decay_steps", "total_steps", "steps_per_epoch", "warmup_steps"])
def test_words_stand_for_lengths(word: str) -> None:
    schedule, _ = built("cosine", warmup=0.1, T_max=word)
    lengths = {"decay_steps": 36, "total_steps": 40, "steps_per_epoch": 10, "warmup_steps": 4}
    assert schedule.scheduler.T_max == lengths[word]


def test_what_needs_a_length_is_refused_without_one() -> None:
    with pytest.raises(ConfigError, match=r"scheduler\.warmup=0\.1 is a share of the run, whose length is not known"):
        built("cosine", None, warmup=0.1)
    with pytest.raises(ConfigError, match=r"scheduler\.T_max=decay_steps needs the run's length"):
        built("cosine", None, warmup=5)
    assert rates(*built("constant", None, warmup=5), num=8)[5:] == [0.5] * 3


def test_a_warmup_as_long_as_the_run_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"scheduler\.warmup=40 takes 40 of the run's 40 steps"):
        built("constant", warmup=40)
