"""SIGKILL at any instant of a run in parallel, while the schedule moves rates and momenta: resumed, it is the one that
nobody killed, whatever each rank keeps of weights, moments and options."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher import CONF
from tests.conftest import Launch
from tests.e2e.test_killed import kill_when, reached
from tests.support.harness import Running
from tests.support.sameness import assert_same

ENV = {"OMP_NUM_THREADS": "1"}
NUM_STEPS, EVERY = 192, 7
STRATEGIES = sorted(path.stem for path in (CONF / "parallel").glob("*.yaml"))
OTHERS = {
    "zero1-adafactor": ("parallel=zero1", "optimizer=adafactor", "optimizer.groups={head:{lr:2e-2}}"),
    "zero1-muon": ("parallel=zero1", "optimizer=muon"),
    "fsdp-sgd": ("parallel=fsdp", "optimizer=sgd", "optimizer.lr=0.05", "precision=fp16"),
    "tensor-sharded": ("parallel=tensor", "parallel.num_processes=4", "parallel.shard_size=2"),
    "deepspeed-lion": ("parallel=deepspeed", "parallel.stage=1", "optimizer=lion", "optimizer.lr=3e-4"),
    "ddp-local_sgd": ("parallel=ddp", "communication=local_sgd"),
}
"""Beside every strategy with AdamW: other states, and groups of which a rank may have no parameter."""
RUNS = {name: (f"parallel={name}",) for name in STRATEGIES} | OTHERS
INSTANTS = ("start", "loop", "write", "loop", "write", "loop")


def words(*given: str) -> list[str]:
    """A run whose schedule moves the rates of two groups and, the other way, their momentum, at every step."""
    common = {
        "model": "mlp",
        "model.depth": "2",
        "optimizer.groups": "{head:{lr:3e-3}}",
        "scheduler": "onecycle",
        "training.batch_size": "32",
        "training.max_steps": str(NUM_STEPS),
        "training.max_epochs": "null",
        "training.log_every": "2",
        "training.eval_every": "40",
        "training.checkpoint_every": str(EVERY),
        "training.clip_norm": "1.0",
        "tracker": "[]",
    }
    if "parallel=pipeline" in given:
        common |= {"model": "vit", "model.width": "16", "model.num_heads": "2"}
    common |= dict(word.split("=", 1) for word in given)
    return [f"{key}={value}" for key, value in common.items()]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", RUNS)
def test_killed_and_resumed_is_the_whole(launch: Launch, tmp_path: Path, name: str) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    own = words(*RUNS[name])
    done = launch(*own, f"hydra.run.dir={whole}", env=ENV)
    assert done.returncode == 0, done.stderr
    numbers = random.Random(f"{os.environ.get('KILL_SEED', '7')} {name}")
    checkpoints = folder / "checkpoints"

    def start() -> Running:
        began = (folder / "config.yaml").exists()
        return launch.start(*([f"resume={folder}"] if began else [*own, f"hydra.run.dir={folder}"]), env=ENV)

    kills, written_half = 0, 0
    for instant in INSTANTS:
        at = reached(folder) + numbers.randrange(EVERY, 2 * EVERY)
        conditions: dict[str, Callable[[], bool]] = {
            "start": (folder / "config.yaml").exists,
            "loop": lambda at=at: reached(folder) >= at,
            "write": lambda at=at: reached(folder) >= at and any(checkpoints.glob(".step-*/*")),
        }
        delay = {"start": 0.3, "loop": 0.004, "write": 0.0}[instant]
        kills += kill_when(start(), conditions[instant], numbers.uniform(0, delay))
        written_half += instant == "write" and any(checkpoints.glob(".step-*"))
    assert kills == len(INSTANTS)
    assert written_half > 0, "a checkpoint was being written"
    assert reached(folder) < NUM_STEPS
    finished = start().wait()
    assert finished.returncode == 0, finished.stderr
    assert_same(folder, whole)
