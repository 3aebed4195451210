"""What a plan measures beside a run of the real command, in memory; nobody sets how the allocator goes about it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.preflight.first_steps import EVERY, STEPS, rehearse, shortened
from tests.conftest import Command, Launch
from tests.support.fits import config_of

MIB = 1 << 20
PROCESS = re.compile(r"process +a peak of ([\d.]+) MiB, measured in 6 steps here: ([\d.]+) MiB over the ([\d.]+) MiB")
WIDE = ("model=mlp", "model.width=2048", "training.batch_size=256", "training.max_steps=24", "training.eval_every=4")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        WIDE,
        ("model=cnn", "training.max_epochs=1"),
        ("model=vit", "training.batch_size=128", "training.max_epochs=1"),
    ],
    ids=["mlp", "cnn", "vit"],
)
def test_a_plan_says_within_a_tenth_what_a_run_takes(
    words: tuple[str, ...], run_launcher: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of what the run adds to what was there before, up to a few libraries' MiB."""
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    words = (*words, "tracker=[]", "parallel.device=cpu")
    planned = run_launcher("action=plan", *words)
    told = PROCESS.search(planned.stdout)
    assert told is not None, planned.stdout + planned.stderr
    assert [path for path in tmp_path.iterdir() if path.name == "outputs"] == []
    outcome = run_launcher(*words, "hydra.run.dir=run")
    assert outcome.returncode == 0, outcome.stderr
    peak = json.loads((tmp_path / "run" / "result.json").read_text())["peak_memory_bytes"] / MIB
    most, added, before = (float(each) for each in told.groups())
    assert most == pytest.approx(peak, rel=0.1)
    assert added == pytest.approx(peak - before, rel=0.1, abs=12)
    assert f"verdict         fits: {most:g} MiB of" in planned.stdout


def test_the_steps_are_those_of_the_run_without_its_length() -> None:
    config = config_of("scheduler.warmup=500", "training.max_epochs=30", "optimizer.lr=auto", "stopping=[val_loss]")
    short = shortened(config)
    assert (short.training.max_steps, short.training.max_epochs, short.training.eval_every) == (STEPS, None, EVERY)
    assert (short.tracker, short.stopping, short.optimizer.lr) == ({}, {}, 1e-3)
    assert config.training.max_epochs == 30, "and the run's own config stays"


def test_what_fails_in_its_steps_is_estimated_alone() -> None:
    config = config_of("model=mlp", "parallel.device=cpu")
    config.training.batch_size = 5000  # more than there are
    assert rehearse(config) is None


def test_nothing_is_measured_where_it_is_not_wanted_or_not_the_run(launch: Launch) -> None:
    for words in (
        ("plan.measure=false",),
        ("parallel=ddp", "parallel.num_processes=2"),
        ("parallel.device_memory_gb=1",),
    ):
        outcome = launch("action=plan", "model=mlp", *words)
        assert outcome.returncode == 0, outcome.stderr
        assert "of tensors at the peak" in outcome.stdout
        assert "measured in" not in outcome.stdout


PEAK = """
import subprocess, sys
held = bytearray(300 << 20)
told = "import platform; from launcher.artifacts.result import peak_memory_bytes; print(peak_memory_bytes())"
print(subprocess.check_output([sys.executable, "-c", told], text=True))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what a process takes over from another is Linux's")
def test_a_process_has_a_peak_of_its_own() -> None:
    """Started by a large program, it is not as large."""
    with_large, alone = (
        int(subprocess.check_output([sys.executable, "-c", code], text=True))
        for code in (PEAK, PEAK.replace("300 << 20", "0"))
    )
    assert with_large == pytest.approx(alone, rel=0.05)
