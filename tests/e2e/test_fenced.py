"""A driver that was stopped for longer than its lease comes back: what another one has taken over stays the other's."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from launcher.process import lease
from tests.conftest import Launch
from tests.e2e.test_sweep import SHORT, table
from tests.support.fits import curve
from tests.support.harness import Running, wait_for

WORDS = (
    *(word for word in SHORT if "max_epochs" not in word),
    "seed=1,2", "training.max_epochs=60", "training.log_every=50", "training.checkpoint_every=44",
    "hydra.sweeper.study_name=fenced",
)  # fmt: skip


def begun(driver: Running, own: Path) -> None:
    """Return when the trial has a checkpoint to go on from."""
    deadline = time.monotonic() + 240
    while not list(own.glob("checkpoints/step-*")):
        assert not driver.done(), driver.stdout.read_text() + driver.stderr.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_driver_that_comes_back_leaves_what_it_has_lost(launch: Launch, tmp_path: Path) -> None:
    """As if it were of another machine, where nobody sees that it is only stopped."""
    study = tmp_path / "multirun" / "fenced"
    first = launch.start(*WORDS)
    begun(first, study / "0")
    first.send(signal.SIGSTOP)
    own = study / "0" / lease.FILE
    known = json.loads(own.read_text())
    own.write_text(json.dumps(known | {"holder": known["holder"] | {"host": "elsewhere"}}))
    os.utime(own, (time.time() - 600, time.time() - 600))
    second = launch.start(*WORDS, "worker=true")
    wait_for(second, second.stdout, "trial 0: goes on")
    first.send(signal.SIGCONT)
    back, other = first.wait(), second.wait()
    assert (back.returncode, other.returncode) == (0, 0), back.stdout + back.stderr + other.stdout + other.stderr
    assert "trial 0: taken over by another driver" in back.stdout
    assert "trial 0: completed" in other.stdout
    assert "failed" not in back.stdout + other.stdout
    assert [row["state"] for row in table(study)] == ["completed"] * 2
    alone = launch("model=mlp", "tracker=[]", "training.max_epochs=60", "seed=1", "hydra.run.dir=alone")
    assert alone.returncode == 0
    steps = curve(study / "0")
    assert {step: value for step, value in curve(tmp_path / "alone").items() if step in steps} == steps
