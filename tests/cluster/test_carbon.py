"""`start=carbon_aware cluster=slurm`: SLURM holds the job back, and nothing waits here."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cluster.running import CLUSTER, QUICK, job
from tests.cluster.slurm import Slurm
from tests.conftest import Launch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_cluster_waits(launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path) -> None:
    now = time.time()
    clean = now + 5400
    rows = [(now - 60, 400), (clean, 100), (now + 20000, 400)]
    lines = [f"{datetime.fromtimestamp(at, UTC).isoformat()},{grams}" for at, grams in rows]
    (tmp_path / "f.csv").write_text("\n".join(["time,intensity", *lines]) + "\n")
    words = [*QUICK, *CLUSTER, "start=carbon_aware", "start.forecast=f.csv", "start.duration=1h"]
    planned = launch(*words, "action=plan", env=env)
    assert planned.returncode == 0, planned.stderr
    held = re.search(r"#SBATCH --begin=now\+(\d+)", planned.stdout)
    assert held is not None
    assert clean - time.time() - 1 <= int(held[1]) <= clean - now + 1
    done = launch(*words, "cluster.wait=false", "hydra.run.dir=run", env=env)
    assert done.returncode == 0, done.stderr
    assert "start: begins at" in done.stdout
    number = job(tmp_path / "run")
    try:
        state, reason, begin = slurm("squeue", "-h", "-j", number, "-o", "%T|%r|%S").split("|")
        assert (state, reason) == ("PENDING", "BeginTime")
        assert datetime.fromisoformat(begin).timestamp() == pytest.approx(clean, abs=60)
    finally:
        slurm("scancel", number)
