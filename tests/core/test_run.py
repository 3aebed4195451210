"""Run: what a checkpoint holds, and that taking it up is as if nothing had happened."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from launcher.artifacts.checkpoint.tensors import pack, unpack
from launcher.console.console import Console
from launcher.core.run import Best, Run
from launcher.process.random_state import rng_state, set_rng_state
from launcher.process.seeds import seed_everything
from launcher.process.signals import Interrupt
from launcher.train.build import build_parallel, build_run, build_task
from launcher.train.loops.supervised import Supervised
from tests.support.fits import config_of

WORDS = (
    "model=mlp",
    "model.dropout=0.3",
    "tracker=[]",
    "training.accumulate=2",
    "training.clip_norm=1",
    "stopping=[val_loss]",
)


def built(folder: Path, *words: str) -> Run:
    config: DictConfig = config_of(*WORDS, *words)
    parallel = build_parallel(config)
    task = build_task(config)
    data = task.datasets()
    torch.manual_seed(1)
    model = task.model()
    seed_everything(config.seed, 0, False)
    folder.mkdir(exist_ok=True)
    return build_run(config, folder, task, data, model, parallel, print, Interrupt())


def trained(folder: Path, *words: str) -> Run:
    run = built(folder, *words)
    Supervised(Console(quiet=True)).fit(run)
    return run


def saved(state: dict[str, Any]) -> dict[str, Any]:
    """The state as a checkpoint's files would give it back."""
    tree, tensors = pack(state)
    restored: dict[str, Any] = unpack(tree, {name: tensor.clone() for name, tensor in tensors.items()})
    return restored


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(one, other) for one, other in zip(left, right, strict=True))
    return bool(left == right)


@pytest.fixture(autouse=True)
def _generators_as_they_were() -> Any:
    before = rng_state()
    yield
    set_rng_state(before)


def test_a_restored_run_is_the_run(tmp_path: Path) -> None:
    run = trained(tmp_path / "first", "training.max_steps=53", "training.log_every=20", "training.eval_every=10")
    run.pending = [(torch.tensor(1.5), 32), (torch.tensor(2.5), torch.tensor(31.0))]
    state = saved(run.state())
    torch.rand(7), np.random.rand(7), random.random()
    fresh = built(tmp_path / "second", "training.max_steps=53")
    fresh.restore(state)
    again = saved(fresh.state())
    for timed in (state, again):
        timed["progress"].pop("wall_s")
        timed.pop("recorder")  # the offset in a file that the second folder does not have
    assert same(state, again)
    assert fresh.progress.step == 53
    assert fresh.best.metrics
    assert (float(torch.rand(())), np.random.rand(), random.random()) != (0.0, 0.0, 0.0)


def test_generators_go_on_where_they_were() -> None:
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    np.random.normal()  # leaves half of a pair behind
    random.gauss(0, 1)
    state = unpack(*pack(rng_state()))

    def drawn() -> list[float]:
        return [
            float(torch.rand(())),
            float(np.random.normal()),
            random.gauss(0, 1),
            random.random(),
            float(torch.randn(())),
        ]

    expected = drawn()
    set_rng_state(state)
    assert drawn() == expected


@pytest.mark.parametrize(
    ("direction", "value", "than", "better"),
    [
        ("minimize", 1.0, None, True),
        ("minimize", 1.0, 2.0, True),
        ("minimize", 2.0, 2.0, False),
        ("minimize", 3.0, 2.0, False),
        ("maximize", 3.0, 2.0, True),
        ("maximize", 2.0, 2.0, False),
        ("maximize", 1.0, 2.0, False),
        ("minimize", float("nan"), None, False),
        ("maximize", float("nan"), -1e9, False),
        ("minimize", float("inf"), None, True),
    ],
)
def test_better(direction: str, value: float, than: float | None, better: bool) -> None:
    run = Run.__new__(Run)
    run.objective = ("val/x", direction)
    assert run.better(value, than) is better


def test_preemption_is_not_a_reason_that_lasts(tmp_path: Path) -> None:
    run = trained(tmp_path, "training.max_steps=4")
    for stop, kept in (("preempted", None), ("val/loss has not improved", "val/loss has not improved"), (None, None)):
        run.stop = stop
        assert run.state()["stop"] == kept
    assert Best() == Best(None, None, {})


def test_more_time_takes_up_a_run_that_time_ended(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "training.max_steps=4")
    run.stop, run.progress.wall_s = "max_time", 10.0
    state = saved(run.state())
    for limit, stop in (("5s", "max_time"), ("60s", None), ("null", None)):
        fresh = built(tmp_path / limit, "training.max_steps=4", f"training.max_time={limit}")
        fresh.restore(saved(state))
        assert fresh.stop == stop
