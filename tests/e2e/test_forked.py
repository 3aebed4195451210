"""The server that trials are forked from is killed, and nothing else: they go on, and so does the sweep."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from launcher.artifacts.folder import LOCK
from tests.conftest import Launch
from tests.e2e.test_fenced import begun
from tests.e2e.test_sweep import table
from tests.support.fits import curve

WORDS = ("model=mlp", "tracker=[]", "training.max_epochs=60", "training.log_every=50", "training.checkpoint_every=44")


def server_of(trial: Path) -> int:
    """The number of the process that a trial's was forked from."""
    pid = (trial / LOCK).read_text()
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_trials_outlive_their_server(launch: Launch, tmp_path: Path) -> None:
    study = tmp_path / "multirun" / "forked"
    running = launch.start("-m", *WORDS, "seed=1,2,3", "hydra.sweeper.n_jobs=2", "hydra.sweeper.study_name=forked")
    begun(running, study / "0")
    begun(running, study / "1")
    os.kill(server_of(study / "1"), signal.SIGKILL)
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["state"] for row in table(study)] == ["completed"] * 3
    assert "goes on" not in done.stdout, "none was begun a second time"
    assert launch(*WORDS, "seed=1", "hydra.run.dir=alone").returncode == 0
    assert curve(study / "0") == curve(tmp_path / "alone")
