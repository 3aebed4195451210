"""`cluster=slurm` on a real SLURM: what a job asks for, what is refused, how a failure and the end of a job are seen."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from launcher.cluster import slurm_jobs as jobs_of
from launcher.cluster import slurm_pool
from launcher.cluster.slurm import Slurm as Asked
from launcher.cluster.slurm import _with_again
from launcher.launch.node import ENTRY
from tests.cluster.running import CLUSTER, QUICK, SLOW, accounted, job, jobs, kill, result, until, written
from tests.cluster.slurm import Slurm
from tests.conftest import Launch
from tests.support.harness import ROOT, wait_for
from tests.support.sameness import assert_same, lines
from tests.support.signalled import TRUST

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_run_is_a_job(launch: Launch, slurm: Slurm, env: dict[str, str], whole: Path, tmp_path: Path) -> None:
    """All that is asked for reaches SLURM, and the numbers are those of a run on this machine. The driver may itself run
    in a job, whose variables SLURM would take for options of the new one."""
    asked = ["cluster=slurm", "cluster.timeout_min=9", "cluster.mem_per_cpu=1500M", "cluster.cpus_per_task=2"]
    asked += ["cluster.partition=low", "cluster.account=lab", "cluster.qos=normal", "cluster.constraint=fast"]
    asked += ["cluster.exclude=n1", "cluster.gres=gpu:1", "cluster.comment=first", "cluster.name=tried"]
    asked += ["cluster.setup=['export SEEN=1']", "cluster.container='env INSIDE=1'", f"cluster.python={sys.executable}"]
    asked += ["+cluster.extra.mail-type=END", "+cluster.extra.nice=7", "cluster.srun_args=[--quit-on-interrupt]"]
    inside = {"SLURM_JOB_ID": "1", "SLURM_MEM_PER_NODE": "900", "SLURM_NNODES": "3", "SLURM_CPUS_PER_TASK": "4"}
    running = launch.start(*SLOW, *asked, "hydra.run.dir=run", env=env | inside)
    folder = tmp_path / "run"
    wait_for(running, folder / "metrics.jsonl")
    environments = [
        set(path.read_text(errors="replace").split("\0")) for path in Path("/proc").glob("[0-9]*/environ") if _may(path)
    ]
    mine = [each for each in environments if f"SLURM_JOB_ID={job(folder)}" in each and "SLURM_PROCID=0" in each]
    assert any({"SEEN=1", "INSIDE=1"} <= each for each in mine), "the container's command runs what is after the setup"
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    number = job(folder)
    assert f"job {number}, log " in done.stdout
    assert "step 60" in done.stdout, "the log is followed to its end"
    log = (folder / "log.txt").read_text()
    assert "\x1b" not in log, "no control codes in a log"
    assert "submitit" not in log
    assert_same(folder, whole)
    assert accounted(slurm, number) == "COMPLETED"
    known = dict(word.partition("=")[::2] for word in slurm("scontrol", "show", "job", number).split())
    wanted = {"Partition": "low", "Account": "lab", "QOS": "normal", "Features": "fast", "ExcNodeList": "n1"}
    wanted |= {"JobName": "tried", "Comment": "first", "TimeLimit": "00:09:00", "NodeList": "n2", "NumCPUs": "2"}
    wanted |= {"MinMemoryCPU": "1500M", "Nice": "7"}
    assert {key: known.get(key) for key in wanted} == wanted
    assert known["TresPerNode"].endswith("gpu:1")
    shown = launch("action=status", "run=run", env=env)
    assert f"{number} COMPLETED on n2  run/log.txt" in shown.stdout


def _may(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_what_an_earlier_job_wrote_is_not_believed(
    launch: Launch, slurm: Slurm, env: dict[str, str], whole: Path, tmp_path: Path
) -> None:
    """A job that ends before its run begins, in a folder whose result tells of a run that was completed."""
    shutil.copytree(whole, tmp_path / "run", symlinks=True)
    again = ["resume=run", "training.max_steps=80", *CLUSTER, "cluster.setup=['exit 3']"]
    done = launch(*again, env=env)
    assert done.returncode == 1, done.stdout + done.stderr
    number = job(tmp_path / "run")
    assert f"SLURM job {number}: FAILED on n" in done.stdout + done.stderr
    assert accounted(slurm, number) == "FAILED"


def test_a_failure_on_another_node_reaches_the_user_and_the_accounts(
    launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path
) -> None:
    words = ["task._target_=tests.support.odd.Raises", "+task.rank=1", "tracker=[]", "model=mlp", "hydra.run.dir=run"]
    done = launch(
        *words, *CLUSTER, "parallel=ddp", "cluster.nodes=2", env=env | {"LAUNCHER_TRUST": "tests.support.odd.*"}
    )
    assert done.returncode == 1
    assert "error: rank 1: ValueError: the third digit is one too many" in done.stdout
    assert "in forward" in done.stdout, "with its traceback"
    assert result(tmp_path / "run")["status"] == "failed"
    assert accounted(slurm, job(tmp_path / "run")) == "FAILED"


def test_a_lost_rank_ends_the_other_node(launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    many = ["parallel=ddp", "parallel.num_processes=2", "cluster.nodes=2", "parallel.max_restarts=0"]
    running = launch.start(*SLOW, *CLUSTER, *many, f"hydra.run.dir={folder}", env=env)
    wait_for(running, folder / "metrics.jsonl", '"step": 10,')
    kill(job(folder), "SLURM_PROCID=1", "forkserver", forked=True)  # the worker of rank 1, on the second node
    done = running.wait()
    assert done.returncode == 1
    assert "rank 1 was ended by SIGKILL" in done.stdout
    assert result(folder)["status"] == "failed"
    assert accounted(slurm, job(folder)) == "FAILED"


def test_killed_without_a_word(launch: Launch, env: dict[str, str], whole: Path, tmp_path: Path) -> None:
    """It is seen, and the run can be resumed: here, as one that never was on a cluster."""
    folder = tmp_path / "run"
    running = launch.start(*SLOW, *CLUSTER, f"hydra.run.dir={folder}", env=env)
    wait_for(running, folder / "metrics.jsonl", '"step": 20,')
    kill(job(folder), "SLURM_PROCID=0", "submitit.core._submit")
    done = running.wait()
    assert done.returncode == 1
    assert f"SLURM job {job(folder)}: FAILED on n" in done.stdout + done.stderr
    again = launch(f"resume={folder}", "cluster=null", env=env)
    assert again.returncode == 0, again.stderr
    assert_same(folder, whole)


def test_nodes_and_ranks_are_one_process(launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path) -> None:
    """Two nodes of two ranks, and ZeRO over two nodes: the losses of one process with the same batch."""
    words = [word for word in QUICK if "dropout" not in word]
    assert launch(*words, "hydra.run.dir=whole", env=env).returncode == 0
    for number, many in enumerate((["parallel=ddp", "parallel.num_processes=4"], ["parallel=zero3"])):
        folder = tmp_path / f"run{number}"
        done = launch(*words, *CLUSTER, *many, "cluster.nodes=2", f"hydra.run.dir={folder}", env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert result(folder)["world_size"] == (4, 2)[number]
        assert slurm("sacct", "-n", "-X", "-P", "-j", job(folder), "-o", "NNodes") == "2"
        for one, other in zip(lines(tmp_path / "whole"), lines(folder), strict=True):
            if "train/loss" in one:
                assert other["train/loss"] == pytest.approx(one["train/loss"], rel=1e-4)


def test_left_followed_cancelled_and_resumed(
    launch: Launch, slurm: Slurm, env: dict[str, str], whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    sent = launch(*SLOW, *CLUSTER, "cluster.wait=false", f"hydra.run.dir={folder}", env=env)
    number = job(folder)
    assert (sent.returncode, sent.stdout) == (0, f"job {number}, log {folder}/log.txt\n"), sent.stderr
    running = launch.start(f"resume={folder}", "cluster.wait=true", env=env)
    until(written(running.stdout, f"job {number}, log "), "the same job is followed")
    wait_for(running, folder / "metrics.jsonl", '"step": 10,')
    running.send(signal.SIGINT)
    left = running.wait()
    assert left.returncode == 0
    assert f"detached: job {number} goes on" in left.stdout
    assert "saving" not in left.stdout
    assert "not taken" not in left.stdout + left.stderr
    assert number in jobs(slurm)
    running = launch.start(f"resume={folder}", "cluster.wait=true", "training.max_steps=70", env=env)
    until(written(running.stdout, f"job {number}, log "), "it is followed again")
    assert "what this command changes is not taken" in running.stdout.read_text() + running.stderr.read_text()
    slurm("scancel", number)
    cancelled = running.wait()
    assert cancelled.returncode == 75, cancelled.stdout + cancelled.stderr
    assert result(folder)["status"] == "preempted"
    config = (folder / "config.yaml").read_text()
    refused = launch(f"resume={folder}", "cluster.partition=fast", env=env)
    assert refused.returncode == 2
    assert (folder / "config.yaml").read_text() == config, "the run is not what was refused"
    again = launch(f"resume={folder}", "cluster.wait=true", env=env)
    assert again.returncode == 0, again.stdout + again.stderr
    assert job(folder) != number
    assert_same(folder, whole)


def test_what_the_cluster_can_not_give_is_refused(launch: Launch, slurm: Slurm, env: dict[str, str]) -> None:
    queue = jobs(slurm)
    for words, reason in (
        (["cluster.nodes=9", "parallel=ddp", "training.batch_size=36"], "Node count specification invalid"),
        (["cluster.partition=fast"], "invalid partition specified: fast"),
        (["cluster.partition=short", "cluster.timeout_min=60"], "time limit"),
        (["cluster.mem_gb=900"], "Memory specification can not be satisfied"),
        (["cluster.gpus_per_node=8"], "Requested node configuration is not available"),
        (["cluster.qos=rapid"], "Invalid qos specification"),
        (["cluster.account=nobody"], "Invalid account or account/partition combination"),
        (["cluster.nodes=2"], "parallel.num_processes=1 can not be cut into 2 nodes"),
    ):
        done = launch(*QUICK, "cluster=slurm", *words, "hydra.run.dir=run", env=env)
        assert done.returncode == 2, done.stdout + done.stderr
        assert reason.lower() in done.stderr.lower()
        assert "Traceback" not in done.stderr
        assert not (launch._folder / "run").exists()
    assert jobs(slurm) <= queue


def test_a_sweep_that_the_cluster_does_not_take_leaves_nothing(
    launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path
) -> None:
    """Neither a folder nor a study: the same sweep, put right, is not that of other trials."""
    queue = jobs(slurm)
    storage = f"sqlite:///{tmp_path / 'all.db'}"
    words = [*QUICK, "-m", "optimizer.lr=0.01,0.02", "hydra.sweeper.study_name=s", "cluster=slurm"]
    for more in ([], ["hydra.sweeper.n_jobs=1"], ["search=halving"], [f"hydra.sweeper.storage={storage}"]):
        done = launch(*words, "cluster.partition=fast", *more, env=env)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "invalid partition specified: fast" in done.stderr.lower()
        assert "Traceback" not in done.stderr
        assert "page:" not in done.stdout
        assert not list(tmp_path.glob("multirun*")), "nor the folder above it, which was made for it"
    assert optuna.get_all_study_names(storage) == []
    assert jobs(slurm) <= queue


def test_a_job_that_slurm_does_not_know_is_given_up(
    slurm: Slurm, env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither at once, nor never: the accounts may be late, but a job that was there before a cluster was set up anew
    does not come back."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(slurm_pool, "_ASK_EVERY", (0.1, 0.1))
    monkeypatch.setattr(slurm_pool, "_UNKNOWN", 3.0)
    folder = tmp_path / "run"
    (folder / "slurm").mkdir(parents=True)
    pool = slurm_pool.SlurmPool(asked=Asked(), entry=ENTRY, _every=0.1)
    pool._jobs["4000000"] = (folder, jobs_of.Job("4000000", folder / "slurm"))
    began = time.monotonic()
    until(lambda: pool.poll("4000000") == 1, "it is waited for for ever")
    assert time.monotonic() - began > 3
    assert "SLURM knows nothing of it any more" in (folder / "log.txt").read_text()


def test_a_folder_with_signs_that_slurm_reads_otherwise(
    launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path
) -> None:
    """With a space, a job is found by its script, once; a percent sign is refused."""
    refused = launch(*QUICK, "cluster=slurm", "hydra.run.dir='a%j'", env=env)
    assert (refused.returncode, "a percent sign" in refused.stderr) == (2, True), refused.stderr
    assert not list(tmp_path.glob("a*"))
    folder = tmp_path / "a run"
    words = [*SLOW, *CLUSTER, "cluster.wait=false"]
    sent = launch(*words, f"hydra.run.dir='{folder}'", env=env)
    assert sent.returncode == 0, sent.stderr
    number = job(folder)
    (folder / "slurm" / "job.json").unlink()  # as of a driver that died too early to write it
    followed = launch(f"resume='{folder}'", "cluster.wait=true", env=env)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert job(folder) == number, "no second job"
    assert "step 60" in followed.stdout
    assert (folder / "log.txt").is_file()


@pytest.mark.parametrize("setup", [[], ["trap 'echo \"bye  then\"' EXIT"]])
def test_a_trap_of_ones_own_is_kept_beside_the_script_s(tmp_path: Path, setup: list[str]) -> None:
    """What puts a job back for a run in a container, in a folder with a space, whatever `cluster.setup` does at the end."""
    inside = tmp_path / "a run" / "slurm"
    inside.mkdir(parents=True)
    said = ["squeue() { echo RUNNING; }", 'scontrol() { echo "asked to $*"; }', "SLURM_JOB_ID=5"]
    lines = [*said, *_with_again(inside, setup), f"touch '{inside}/again'", "exit 75"]
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["asked to requeue 5", *(["bye  then"] if setup else [])], done.stderr
    assert done.returncode == 75
    assert not (inside / "again").exists()


def test_a_plan_shows_the_script_and_submits_nothing(launch: Launch, tmp_path: Path) -> None:
    """Also on a machine without SLURM, where a run is refused."""
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    env = TRUST | {"OMP_NUM_THREADS": "1", "PATH": str(nothing)}
    asked = ["cluster=slurm", "cluster.timeout_min=2", "cluster.mem_gb=1.5", "cluster.gpus_per_node=2", "cluster.qos=q"]
    asked += ["cluster.setup=['module load cuda']", "+cluster.extra.mail-type=END", "cluster.account=lab"]
    asked += ["cluster.container='apptainer exec --nv image.sif'", "cluster.nodes=2", "parallel=ddp"]
    done = launch(*QUICK, *asked, "action=plan", env=env)
    assert done.returncode == 0, done.stderr
    for line in (
        *("#SBATCH --mail-type=END", "#SBATCH --gpus-per-node=2", "#SBATCH --mem=1536M", "module load cuda"),
        *("#SBATCH --qos=q", "#SBATCH --account=lab", "#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=1"),
        "#SBATCH --signal=USR2@60",  # of two minutes' time: one with the start would leave none to train in
        " apptainer exec --nv image.sif python -u -m submitit",
    ):
        assert line in done.stdout
    assert list(tmp_path.glob("outputs*")) == []
    refused = launch(*QUICK, *asked, env=env)
    assert (refused.returncode, "there is no sbatch here" in refused.stderr) == (2, True), refused.stderr
    assert list(tmp_path.glob("outputs/*")) == []


def test_without_an_answer_from_one_the_other_is_asked(slurm: Slurm, env: dict[str, str], tmp_path: Path) -> None:
    """`squeue` and `sacct` each answer alone; where neither does, nothing is said of a job."""
    inside = tmp_path / "run"
    (inside / "slurm").mkdir(parents=True)
    script = inside / "slurm" / "script.sh"
    script.write_text("#!/bin/sh\nexit 3\n")
    number = slurm("sbatch", "--parsable", f"--output={tmp_path}/out", str(script))
    array = slurm("sbatch", "--parsable", "--array=0-3,6%2", "--hold", f"--output={tmp_path}/out", str(script))
    assert accounted(slurm, number) == "FAILED"
    until(lambda: slurm("sacct", "-n", "-X", "-j", array), "sacct does not know of the array")
    asked = {number: "FAILED", f"{array}_0": "PENDING", f"{array}_2": "PENDING", f"{array}_6": "PENDING"}

    def told(folder: Path, *known: str) -> Any:
        """What is known of the jobs where only those programs of SLURM's are in PATH."""
        path = tmp_path / "-".join(("bin", *known))
        path.mkdir(exist_ok=True)
        for name in known:
            if not (path / name).exists():
                (path / name).symlink_to(shutil.which(name, path=env["PATH"]) or name)
        program = "import json,sys; from pathlib import Path; from launcher.cluster.slurm_states import states;"
        program += "found = states({job: Path(sys.argv[1]) for job in sys.argv[2:]});"
        program += "print(json.dumps(None if found is None else {job: state.name for job, state in found.items()}))"
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder), *asked],
            env=os.environ | env | {"PATH": str(path), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert told(inside, "squeue") == asked
    assert told(inside, "sacct") == asked
    assert told(inside) is None
    assert told(tmp_path / "another", "squeue", "sacct") == {}, "jobs that were submitted from elsewhere are not ours"
    slurm("scancel", array)
