"""The jobs of a procedure on a real SLURM: rounds that follow from each other, whose driver dies between them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from launcher.cluster.slurm import Slurm as Asked
from launcher.launch.node import ENTRY
from tests.cluster.running import CLUSTER, QUICK, job, jobs, result
from tests.cluster.slurm import Slurm
from tests.conftest import Launch
from tests.support.rounds import TRUST
from tests.support.sameness import assert_same

ROUNDS = [
    *(word for word in QUICK if not word.startswith("task.")), "task._target_=tests.support.rounds.Started",
    "+task.start=null", "procedure._target_=tests.support.rounds.Rounds", "+procedure.num=2",
]  # fmt: skip
NAMES = ("first-0", "first-1", "second-0", "second-1")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_rounds_are_jobs_that_start_from_earlier_ones(
    launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path
) -> None:
    env = env | TRUST
    whole = launch(*ROUNDS, "+procedure.mark=null", "hydra.run.dir=whole", env=env)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    run, mark = tmp_path / "run", tmp_path / "mark"
    killed = launch(*ROUNDS, *CLUSTER, f"+procedure.mark={mark}", "hydra.run.dir=run", env=env)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    assert [name for name in NAMES if (run / name).exists()] == list(NAMES[:2])
    numbers = [job(run / name) for name in NAMES[:2]]
    resumed = launch("resume=run", env=env)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert [job(run / name) for name in NAMES[:2]] == numbers, "the first round has not run again"
    assert len({job(run / name) for name in NAMES}) == 4
    for name in NAMES:
        assert_same(run / name, tmp_path / "whole" / name)
    for key in ("metrics", "mean", "fits", "objective"):
        assert result(run)[key] == result(tmp_path / "whole")[key]


@pytest.mark.slow
def test_to_cancel_nothing_leaves_the_jobs_of_others(
    slurm: Slurm, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose jobs have all ended asks nobody to leave: not what its person has in the queue beside them."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    waits = slurm("sbatch", "--parsable", "--hold", "--wrap", "true")
    Asked().pool(2, ENTRY).cancel([])
    assert waits in jobs(slurm)
    slurm("scancel", waits)
