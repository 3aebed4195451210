"""training.find_batch_size: real memory that runs out in processes of their own, and a run that takes what was found."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.artifacts.folder import read_config
from launcher.errors import ConfigError
from launcher.train.failures import out_of_memory
from tests.conftest import Launch
from tests.support.fits import config_of
from tests.support.harness import ROOT, environment

FIND = ("training.find_batch_size=true", "tracker=[]", "parallel.device=cpu", "hydra.run.dir=run")


def test_all_of_the_training_data_may_fit(launch: Launch, tmp_path: Path) -> None:
    words = ("model=mlp", "training.batch_size=1000", "training.max_steps=1", "parallel.device_memory_gb=8")
    outcome = launch(*FIND, *words)
    assert outcome.returncode == 0, outcome.stderr
    assert "batch size: 1438 fits, all of the training data (found in 3 steps)" in outcome.stdout
    config = read_config(tmp_path / "run")
    assert (config.training.batch_size, config.training.find_batch_size) == (1438, False)


@pytest.mark.slow
def test_it_ends_near_the_edge_of_what_fits(launch: Launch, tmp_path: Path) -> None:
    words = ("model=vit", "training.eval_batch_size=8", "training.max_steps=1", "training.batch_size=256")
    outcome = launch(*FIND, *words, "parallel.device_memory_gb=0.6")
    assert outcome.returncode == 0, outcome.stderr
    found = re.search(r"batch size: (\d+) fits, (\d+) does not", outcome.stdout)
    assert found is not None
    low, high = int(found[1]), int(found[2])
    assert 16 < low < high <= low + low // 16 + 1
    assert f"{low} samples a step" in outcome.stdout


SHORT = """
import os, resource, sys
import torch
from launcher.train.failures import out_of_memory

def mapped():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))

def left(memory):
    resource.setrlimit(resource.RLIMIT_DATA, (mapped() + memory,) * 2)
    try:
        torch.nn.Conv2d(1, 64, 3)(torch.zeros(352, 1, 28, 28))
    except Exception as error:
        return f"{out_of_memory(error)} {error}"
    return ""

for memory in range(0, 60_000_000, 1_000_000):
    if os.fork() == 0:
        print(left(memory), flush=True)
        os._exit(0)
    os.wait()
"""


def test_whoever_says_that_memory_is_short_is_understood() -> None:
    """PyTorch, C++ or oneDNN, whichever of them meets the limit; oneDNN does in one of a hundred tries."""
    assert out_of_memory(RuntimeError("could not create a primitive"))
    assert not out_of_memory(RuntimeError("could not create a primitive descriptor for a matmul primitive"))
    done = subprocess.run(
        [sys.executable, "-c", SHORT],
        capture_output=True,
        text=True,
        env=environment({"OMP_NUM_THREADS": "1"}),
        cwd=ROOT,
    )
    said = [line for line in done.stdout.splitlines() if line]
    assert len(said) > 20, done.stderr
    assert [line for line in said if not line.startswith("True")] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("training.find_batch_size=true", "parallel=ddp"),
            "training.find_batch_size=true: a size is tried in one process",
        ),
        (
            ("training.find_batch_size=true", "task=tabular"),
            "RandomForestClassifier is fitted in one call, without batches",
        ),
    ],
)
def test_what_can_not_be_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_of(*words)
    assert message in str(refused.value)


def test_a_cpu_has_to_be_told_its_limit(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(*FIND)
    assert outcome.returncode == 2
    assert "parallel.device_memory_gb says how much may be used" in outcome.stderr
    assert not (tmp_path / "run").exists()
