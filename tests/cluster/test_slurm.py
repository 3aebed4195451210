"""`cluster=slurm` on a real SLURM: the same mathematics, the same exit status, and every way in which a job is taken away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.running import CLUSTER, SLOW, WORDS, accounted, job, jobs, result
from tests.cluster.slurm import Slurm
from tests.conftest import Launch
from tests.harness import wait_for
from tests.sameness import assert_same, lines
from tests.signalled import TRUST

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def whole(warm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that stays on this machine and that nobody interrupts."""
    cwd = tmp_path_factory.mktemp("whole")
    done = warm(*WORDS, *SLOW, "hydra.run.dir=run", cwd=cwd, env={"OMP_NUM_THREADS": "1"} | TRUST)
    assert done.returncode == 0, done.stderr
    return cwd / "run"


def kill(number: str, variable: str, word: str) -> None:
    """SIGKILL to the processes of a job that have `variable` in their environment and `word` in their command."""
    killed = 0
    for entry in Path("/proc").iterdir():
        try:
            told, command = (entry / "environ").read_text(errors="replace"), (entry / "cmdline").read_text()
        except OSError:
            continue
        if entry.name.isdecimal() and {f"SLURM_JOB_ID={number}", variable} <= set(told.split("\0")) and word in command:
            os.kill(int(entry.name), signal.SIGKILL)
            killed += 1
    assert killed


def test_a_run_is_a_job(launch: Launch, slurm: Slurm, env: dict[str, str], whole: Path, tmp_path: Path) -> None:
    done = launch(*WORDS, *SLOW, *CLUSTER, "hydra.run.dir=run", env=env)
    folder = tmp_path / "run"
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"job {job(folder)}, log " in done.stdout
    assert "step 60" in done.stdout, "the log is followed to its end"
    assert "\x1b" not in (folder / "log.txt").read_text(), "no control codes in a log"
    assert_same(folder, whole)
    assert accounted(slurm, job(folder)) == "COMPLETED"
    shown = launch("action=status", "run=run", env=env)
    assert f"{job(folder)} COMPLETED on n" in shown.stdout


@pytest.mark.parametrize("how", ["USR2", "TERM", "requeue", "preemption"])
def test_taken_away_and_put_back(
    how: str, launch: Launch, slurm: Slurm, env: dict[str, str], whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    where = ["cluster.partition=low", "cluster.cpus_per_task=4"] if how == "preemption" else []
    running = launch.start(*WORDS, *SLOW, *CLUSTER, *where, f"hydra.run.dir={folder}", env=env)
    wait_for(running, folder / "metrics.jsonl", '"step": 20,')
    number, above = job(folder), ""
    if how == "requeue":
        slurm("scontrol", "requeue", number)
    elif how == "preemption":  # four nodes wanted by a partition that goes first
        above = slurm(
            "sbatch", "--parsable", "-N4", "--exclusive", "-p", "main", "-o", "/dev/null", "--wrap", "sleep 5"
        )
    else:
        slurm("scancel", f"--signal={how}", number)
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    if above:
        slurm("scancel", above)
    assert job(folder) == number, "the same job again"
    assert "REQUEUED" in slurm("sacct", "-n", "-X", "-P", "-D", "-j", number, "-o", "State") or how == "preemption"
    assert "resumed" in (folder / "log.txt").read_text()
    assert_same(folder, whole)


def test_its_time_is_over(launch: Launch, env: dict[str, str], whole: Path, tmp_path: Path) -> None:
    """A limit of one minute, with the warning 25 s before it: the job saves, and goes back into the queue."""
    folder = tmp_path / "run"
    slow = [SLOW[0], "+task.seconds=0.8"]
    limit = ["cluster=slurm", "cluster.timeout_min=1", "cluster.signal_delay_s=25"]
    done = launch(*WORDS, *slow, *limit, f"hydra.run.dir={folder}", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"job {job(folder)} goes back into the queue" in done.stdout
    assert_same(folder, whole)


def test_a_node_is_gone(launch: Launch, slurm: Slurm, env: dict[str, str], whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    running = launch.start(*WORDS, *SLOW, *CLUSTER, f"hydra.run.dir={folder}", env=env)
    wait_for(running, folder / "metrics.jsonl", '"step": 20,')
    node = int(slurm("squeue", "-h", "-j", job(folder), "-o", "%N").removeprefix("n"))
    slurm.kill_node(node, job(folder))
    try:
        done = running.wait()
    finally:
        slurm.start_node(node)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(folder, whole)


def test_a_failure_reaches_the_user_and_the_accounts(
    launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path
) -> None:
    words = ["task._target_=tests.odd.Raises", *CLUSTER, "hydra.run.dir=run", "tracker=[]", "model=mlp"]
    env["LAUNCHER_TRUST"] = "tests.odd.*"
    done = launch(*words, env=env)
    assert done.returncode == 1
    assert "ValueError" in done.stdout
    assert result(tmp_path / "run")["status"] == "failed"
    assert accounted(slurm, job(tmp_path / "run")) == "FAILED"


def test_killed_without_a_word(launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    running = launch.start(*WORDS, *SLOW, *CLUSTER, f"hydra.run.dir={folder}", env=env)
    wait_for(running, folder / "metrics.jsonl", '"step": 10,')
    kill(job(folder), "SLURM_PROCID=0", "submitit.core._submit")
    done = running.wait()
    assert done.returncode == 1
    assert f"SLURM job {job(folder)}: FAILED on n" in done.stdout + done.stderr


def test_two_nodes_of_two_ranks_are_one_process(
    launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path
) -> None:
    words = [word for word in WORDS if "dropout" not in word]
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert launch(*words, f"hydra.run.dir={whole}", env=env).returncode == 0
    many = ["parallel=ddp", "parallel.num_processes=4", "cluster.nodes=2"]
    done = launch(*words, *CLUSTER, *many, f"hydra.run.dir={folder}", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert result(folder)["world_size"] == 4
    assert slurm("sacct", "-n", "-X", "-P", "-j", job(folder), "-o", "NNodes") == "2"
    for one, other in zip(lines(whole), lines(folder), strict=True):
        if "train/loss" in one:
            assert other["train/loss"] == pytest.approx(one["train/loss"], rel=1e-4)


def test_a_lost_rank_ends_the_other_node(launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    many = ["parallel=ddp", "parallel.num_processes=2", "cluster.nodes=2", "parallel.max_restarts=0"]
    running = launch.start(*WORDS, *SLOW, *CLUSTER, *many, f"hydra.run.dir={folder}", env=env)
    wait_for(running, folder / "metrics.jsonl", '"step": 10,')
    kill(job(folder), "SLURM_PROCID=1", "forkserver")  # among them the worker of rank 1, on the second node
    done = running.wait()
    assert done.returncode == 1
    assert "lost" in done.stdout or "SIGKILL" in done.stdout
    assert result(folder)["status"] == "failed"
    assert accounted(slurm, job(folder)) == "FAILED"


def test_left_and_followed_again(launch: Launch, env: dict[str, str], whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    running = launch.start(*WORDS, *SLOW, *CLUSTER, f"hydra.run.dir={folder}", env=env)
    wait_for(running, folder / "metrics.jsonl", '"step": 10,')
    number = job(folder)
    running.send(signal.SIGINT)
    left = running.wait()
    assert left.returncode == 0
    assert f"detached: job {number} goes on" in left.stdout
    again = launch(f"resume={folder}", env=env)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"job {number}, log " in again.stdout, "the same job"
    assert_same(folder, whole)


def test_what_the_cluster_can_not_give_is_refused(launch: Launch, slurm: Slurm, env: dict[str, str]) -> None:
    queue = jobs(slurm)
    for words, reason in (
        (["cluster.nodes=9", "parallel=ddp", "training.batch_size=36"], "Node count specification invalid"),
        (["cluster.partition=fast"], "invalid partition specified: fast"),
        (["cluster.partition=short", "cluster.timeout_min=60"], "time limit"),
        (["cluster.mem_gb=900"], "Memory specification can not be satisfied"),
        (["cluster.gpus_per_node=8"], "Requested node configuration is not available"),
    ):
        done = launch(*WORDS, "cluster=slurm", *words, "hydra.run.dir=run", env=env)
        assert done.returncode == 2, done.stdout + done.stderr
        assert reason.lower() in done.stderr.lower()
        assert "Traceback" not in done.stderr
        assert not (launch._folder / "run").exists()
    assert jobs(slurm) <= queue


def test_a_plan_shows_the_script_and_submits_nothing(launch: Launch, slurm: Slurm, env: dict[str, str]) -> None:
    queue = jobs(slurm)
    extra = ["cluster.setup=['module load cuda']", "+cluster.extra.mail-type=END", "cluster.gpus_per_node=2"]
    done = launch(*WORDS, *CLUSTER, *extra, "action=plan", env=env)
    assert done.returncode == 0, done.stderr
    for line in ("#SBATCH --mail-type=END", "#SBATCH --gpus-per-node=2", "#SBATCH --mem=2048M", "module load cuda"):
        assert line in done.stdout
    assert jobs(slurm) <= queue
    assert list(launch._folder.glob("outputs*")) == []


def test_without_an_answer_from_one_the_other_is_asked(slurm: Slurm, env: dict[str, str], tmp_path: Path) -> None:
    """`squeue` and `sacct` each answer alone; where neither does, nothing is said of a job."""
    from launcher.cluster.states import states

    inside = tmp_path / "run"
    (inside / "slurm").mkdir(parents=True)
    script = inside / "slurm" / "script.sh"
    script.write_text("#!/bin/sh\nexit 3\n")
    number = slurm("sbatch", "--parsable", f"--output={tmp_path}/out", str(script))
    array = slurm("sbatch", "--parsable", "--array=0-3,6%2", "--hold", f"--output={tmp_path}/out", str(script))
    assert accounted(slurm, number) == "FAILED"
    while not slurm("sacct", "-n", "-X", "-j", array):
        time.sleep(0.1)
    asked = {number: "FAILED", f"{array}_0": "PENDING", f"{array}_2": "PENDING", f"{array}_6": "PENDING"}
    program = "import json,sys; from pathlib import Path; from launcher.cluster.states import states;"
    program += "found = states({job: Path(sys.argv[1]) for job in sys.argv[2:]});"
    program += "print(json.dumps(found and {job: state.name for job, state in found.items()}))"
    programs = {name: Path(path) for name in ("squeue", "sacct", "python") if (path := _which(name, env))}
    for known, answer in ((("squeue",), asked), (("sacct",), asked), ((), None)):
        path = tmp_path / "-".join(("bin", *known))
        path.mkdir()
        for name in known:
            (path / name).symlink_to(programs[name])
        import sys

        done = subprocess.run(
            [sys.executable, "-c", program, str(inside), *asked],
            env=os.environ | env | {"PATH": str(path), "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
        )
        assert json.loads(done.stdout) == answer, (known, done.stderr)
    slurm("scancel", array)
    elsewhere = states({number: tmp_path / "another"})
    assert elsewhere == {} or elsewhere is None, (
        "a job of the same number that was submitted from elsewhere is not ours"
    )


def _which(name: str, env: dict[str, str]) -> str | None:
    import shutil

    return shutil.which(name, path=env["PATH"])
