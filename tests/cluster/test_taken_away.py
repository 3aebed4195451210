"""Every way in which SLURM takes a job away, on a real one: the run saves, comes back, and its weights are those of a run
that nobody disturbed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cluster.running import CLUSTER, SLOW, WORDS, accounted, job, kill, until, written
from tests.cluster.slurm import Slurm
from tests.conftest import Launch
from tests.support.harness import Running, Warm, wait_for
from tests.support.sameness import assert_same

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SAFE = "cluster.exclude=n4"
"""What takes nodes away leaves one alone."""
PAIR = ["parallel=ddp", "cluster.nodes=2", "parallel.max_restarts=1", SAFE]


@pytest.fixture(scope="module", autouse=True)
def limited(warm: Warm, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Running:
    """A run with a limit of two minutes, and the warning 25 s before it, or up to a minute earlier, as SLURM has it. It
    goes on while the other tests run, on a node that none of them takes away."""
    limit = ["+task.seconds=1.8", "cluster=slurm", "cluster.timeout_min=2", "cluster.signal_delay_s=25"]
    limit += ["+cluster.extra.nodelist=n4"]
    return warm.start(*WORDS, *limit, "hydra.run.dir=run", cwd=tmp_path_factory.mktemp("limited"), env=env)


def times(path: Path, text: str) -> int:
    """How often a log says something."""
    return path.read_text().count(text) if path.exists() else 0


def test_signals_a_requeue_and_a_preemption(
    launch: Launch, slurm: Slurm, env: dict[str, str], whole: Path, tmp_path: Path
) -> None:
    """One run that is taken away four times, each in another way: it is the same job each time."""
    folder, log = tmp_path / "run", tmp_path / "run" / "log.txt"
    where = ["cluster.partition=low", "cluster.cpus_per_task=4"]
    running = launch.start(*SLOW, *CLUSTER, *where, f"hydra.run.dir={folder}", env=env)
    for count, how in enumerate(("USR2", "TERM", "requeue", "preemption"), start=1):
        wait_for(running, folder / "metrics.jsonl", f'"step": {10 * count},')
        number = job(folder)
        if how == "requeue":
            slurm("scontrol", "requeue", number)
        elif how == "preemption":  # its node is wanted by a partition that goes first
            first = ["-w", slurm("squeue", "-h", "-j", number, "-o", "%N"), "--exclusive", "-p", "main"]
            slurm("sbatch", "--wait", *first, "-o", "/dev/null", "--wrap", "true")
        else:
            slurm("scancel", f"--signal={how}", number)
        until(lambda count=count: times(log, "resumed  from step") == count, f"{how}: the job did not come back")
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    assert job(folder) == number, "the same job each time"
    told = slurm("sacct", "-n", "-X", "-P", "-D", "-j", number, "-o", "State")
    assert len(told.split()) == 5
    assert_same(folder, whole)


def test_in_a_container_without_slurm(
    launch: Launch, slurm: Slurm, env: dict[str, str], container: str, whole: Path, tmp_path: Path
) -> None:
    """Nothing in there can put a job back into the queue: the script, which is outside, does, also of one task of an
    array, and only when the run asks it to."""
    where = [*SLOW, *CLUSTER, f"cluster.container='{container}'", f"cluster.python={sys.executable}", SAFE]
    study = ["-m", "seed=0,1", "hydra.sweeper.n_jobs=2", "hydra.sweeper.study_name=study"]
    folder = tmp_path / "multirun" / "study" / "0"
    log = folder / "log.txt"
    running = launch.start(*where, *study, env=env)
    wait_for(running, folder / "metrics.jsonl", '"step": 10,')
    number = job(folder)
    assert number.endswith("_0")
    trains = (folder / ".lock").read_text()
    assert Path(f"/proc/{trains}/ns/mnt").readlink() != Path("/proc/self/ns/mnt").readlink(), "it is in a container"
    slurm("scancel", "--signal=USR2", number)
    until(lambda: times(log, "resumed  from step") == 1, "the job did not come back")
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    assert times(log, "asks its script, outside of this container") == 1
    for each, starts in ((number, 2), (job(folder.with_name("1")), 1)):
        assert accounted(slurm, each) == "COMPLETED"
        assert len(slurm("sacct", "-n", "-X", "-P", "-D", "-j", each, "-o", "State").split()) == starts
    assert_same(folder, whole)
    cancelled = launch.start(*where, "hydra.run.dir=cancelled", env=env)
    wait_for(cancelled, tmp_path / "cancelled" / "metrics.jsonl", '"step": 10,')
    number = job(tmp_path / "cancelled")
    slurm("scancel", number)
    assert cancelled.wait().returncode == 75
    assert accounted(slurm, number) == "CANCELLED by 0", "and stays out of the queue"


def test_a_daemon_then_a_node_is_gone(
    launch: Launch, slurm: Slurm, env: dict[str, str], whole: Path, tmp_path: Path
) -> None:
    """Without its daemon a node still trains when SLURM has given it up and started the job elsewhere: the new start
    waits for the old one. Then a whole node is lost."""
    folder, log = tmp_path / "run", tmp_path / "run" / "log.txt"
    running = launch.start(*WORDS, "+task.seconds=1.3", *CLUSTER, SAFE, f"hydra.run.dir={folder}", env=env)
    wait_for(running, folder / "metrics.jsonl", '"step": 10,')
    number = job(folder)
    first = int(slurm("squeue", "-h", "-j", number, "-o", "%N").removeprefix("n"))
    slurm.kill_daemon(first)
    try:
        wait_for(running, log, "waiting for its end")
        kill(number, f"SLURMD_NODENAME=n{first}", "submitit.core._submit")
        until(lambda: times(log, "resumed  from step") == 1, "the new start goes on")
    finally:
        slurm.start_node(first)
    until(written(folder / "metrics.jsonl", '"step": 50,'), "it trains on")
    second = int(slurm("squeue", "-h", "-j", number, "-o", "%N").removeprefix("n"))
    slurm.kill_node(second, number)
    try:
        done = running.wait()
    finally:
        slurm.start_node(second)
    assert done.returncode == 0, done.stdout + done.stderr
    assert second != first
    assert job(folder) == number
    assert_same(folder, whole)


def test_two_nodes_lose_a_rank_and_a_node(
    launch: Launch, slurm: Slurm, env: dict[str, str], pair: Path, tmp_path: Path
) -> None:
    """A run over two nodes: it saves on both when it is told to, starts its workers again when one is killed, and goes
    back into the queue when the second node is gone."""
    folder, log = tmp_path / "run", tmp_path / "run" / "log.txt"
    running = launch.start(*SLOW, *CLUSTER, *PAIR, f"hydra.run.dir={folder}", env=env)
    wait_for(running, folder / "metrics.jsonl", '"step": 15,')
    number = job(folder)
    slurm("scancel", "--signal=USR2", number)
    until(lambda: times(log, "resumed   from step") == 1, "it comes back")
    wait_for(running, folder / "metrics.jsonl", '"step": 30,')
    kill(number, "SLURM_PROCID=1", "forkserver", forked=True)
    until(lambda: times(log, "resumed   from step") == 2, "its workers start again")
    wait_for(running, folder / "metrics.jsonl", '"step": 45,')
    names = slurm("scontrol", "show", "hostnames", slurm("squeue", "-h", "-j", number, "-o", "%N")).split()
    lost = int(names[1].removeprefix("n"))
    slurm.kill_node(lost, number)
    try:
        done = running.wait()
    finally:
        slurm.start_node(lost)
    assert done.returncode == 0, done.stdout + done.stderr
    assert job(folder) == number, "the same job"
    assert_same(folder, pair)


def test_its_time_is_over(limited: Running, whole: Path) -> None:
    """The job saves when it is warned, and goes back into the queue."""
    done, folder = limited.wait(280), limited.cwd / "run"
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"job {job(folder)} goes back into the queue" in done.stdout
    assert_same(folder, whole)
