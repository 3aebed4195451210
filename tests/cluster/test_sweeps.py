"""Sweeps on a real SLURM: trials are jobs, an array where all are known beforehand; no driver has to live for them."""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from launcher.cluster.slurm import Slurm as Asked
from tests.cluster.running import CLUSTER, SLOW, accounted, job, jobs, result, until
from tests.cluster.slurm import Slurm
from tests.conftest import Launch
from tests.support.harness import ROOT, environment, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

QUICK = ["model=mlp", "training.max_epochs=3", "tracker=[]"]
"""Three epochs of a second in all."""
LOGIN = ["unshare", "--uts", "sh", "-c", 'hostname login2; exec "$@"', "sh", sys.executable, "-m", "launcher"]
"""The command on a machine of another name, which can not see the processes of this one."""


def nodes(slurm: Slurm, number: str) -> str:
    """The nodes that a job was on."""
    return slurm("sacct", "-n", "-X", "-P", "-j", number, "-o", "NodeList")


def test_an_array_survives_its_driver(launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path) -> None:
    """A grid is one array, of which `n_jobs` tasks run at once; a driver that is killed leaves it running, and the next
    one, on another login node, finds its tasks: none is lost, none is run twice."""
    words = ["-m", "optimizer.lr=0.01,0.003,0.001,0.0003", "hydra.sweeper.n_jobs=2", "hydra.sweeper.study_name=study"]
    words += [*SLOW, *CLUSTER, "hydra.sweeper.lease=6s", "cluster.cpus_per_task=4"]
    study = tmp_path / "multirun" / "study"
    running = launch.start(*words, env=env)
    wait_for(running, study / "0" / "metrics.jsonl", '"step": 10,')
    wait_for(running, study / "1" / "metrics.jsonl")
    first = {number: job(study / str(number)) for number in range(4)}
    array = first[0].partition("_")[0]
    assert first == {number: f"{array}_{number}" for number in range(4)}, "one array"
    running.kill()
    running.wait()
    (script,) = (study / "slurm").glob("array-*/*_submission.sh")
    assert "#SBATCH --array=0-3%2" in script.read_text()
    told = slurm("squeue", "-h", "-r", "-t", "all", "-j", array, "-o", "%i|%T")
    states = dict(line.split("|") for line in told.splitlines())
    assert set(states) == set(first.values())
    assert list(states.values()).count("RUNNING") <= 2
    shown = launch("action=status", f"study={study}", env=env).stdout
    assert all(re.search(rf" {each} (PENDING|RUNNING|COMPLETED|COMPLETING)", shown) for each in first.values()), shown
    done = subprocess.run([*LOGIN, *words], cwd=tmp_path, env=environment(env), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {number: job(study / str(number)) for number in range(4)} == first, "the tasks were followed"
    assert all(result(study / str(number))["status"] == "completed" for number in range(4))
    assert {accounted(slurm, each) for each in first.values()} == {"COMPLETED"}
    where = {number: nodes(slurm, each) for number, each in first.items()}
    assert len(set(where.values())) > 1, "a slot's trial had a node of its own"
    shown = launch("action=status", "study=study", env=env).stdout
    assert all(f"{each} COMPLETED on {where[number]}" in shown for number, each in first.items())
    page = (study / "report.html").read_text()
    for number, node in where.items():
        row = re.search(rf"<tr><td[^>]*>(?:<a [^>]*>)?{number}\b.*?</tr>", page, re.DOTALL)
        assert row is not None
        assert f">{node}<" in row[0], "the page says where each trial ran"


def test_left_by_ctrl_c_and_gone_on_with(launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path) -> None:
    """A driver that died before it had written down which jobs are whose finds them by the array's script; a second one
    that is told to leave has the trials save and takes those that wait out of the queue; the third goes on."""
    words = ["-m", "optimizer.lr=0.01,0.003,0.001,0.02", "hydra.sweeper.n_jobs=1", "hydra.sweeper.study_name=study"]
    words += [*SLOW, *CLUSTER, "hydra.sweeper.lease=6s"]
    every = range(4)
    study = tmp_path / "multirun" / "study"
    running = launch.start(*words, env=env)
    wait_for(running, study / "0" / "metrics.jsonl")
    running.kill()
    running.wait()
    first = {number: job(study / str(number)) for number in every}
    for number in every:
        (study / str(number) / "slurm" / "job.json").unlink()
    running = launch.start(*words, env=env)
    for number in every:
        wait_for(running, study / str(number) / "slurm" / "job.json")
    assert {number: job(study / str(number)) for number in every} == first
    wait_for(running, study / "0" / "metrics.jsonl", '"step": 10,')
    running.send(signal.SIGINT)
    left = running.wait()
    assert left.returncode == 75, left.stdout + left.stderr
    assert result(study / "0")["status"] == "preempted"
    assert "failed" not in left.stdout
    assert not [number for number in every[1:] if (study / str(number) / "log.txt").exists()], "none of them began"
    until(lambda: not {name.partition("_")[0] for name in jobs(slurm)} & {first[0].partition("_")[0]}, "none waits")
    done = launch(*(word.replace("n_jobs=1", "n_jobs=4") for word in words), env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [result(study / str(number))["status"] for number in every] == ["completed"] * 4
    assert "resumed  from step" in (study / "0" / "log.txt").read_text()


def test_a_controller_that_is_away(launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path) -> None:
    """A sweep whose next trial can not be submitted waits with it and says so; a run that comes at such a time is refused."""
    words = ["-m", "search=bayes", "optimizer.lr=choice(0.01,0.003)", "hydra.sweeper.n_trials=3"]
    words += [*SLOW, *CLUSTER, "hydra.sweeper.study_name=study"]
    study = tmp_path / "multirun" / "study"
    running = launch.start(*words, env=env)
    wait_for(running, study / "0" / "metrics.jsonl", '"step": 10,')
    slurm.end_controller()
    try:
        refused = launch(*QUICK, *CLUSTER, "hydra.run.dir=other", env=env)
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert "error: cluster=slurm: SLURM does not answer here" in refused.stderr
        assert not (tmp_path / "other").exists()
        wait_for(running, running.stdout, "SLURM does not answer here")
        assert result(study / "0")["status"] == "completed", "of which the controller could not tell"
    finally:
        slurm.start_controller()
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SLURM does not answer here") == 1
    assert [result(study / str(number))["status"] for number in range(3)] == ["completed"] * 3
    assert sorted(path.name for path in study.iterdir() if path.name.isdecimal()) == ["0", "1", "2"]


def test_a_limit_on_submitted_jobs(launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path) -> None:
    """A grid of three where a person may have two jobs: no array of three; the third is submitted when one of two has gone."""
    words = ["-m", "optimizer.lr=0.01,0.003,0.001", "hydra.sweeper.study_name=study", *QUICK, *CLUSTER]
    study = tmp_path / "multirun" / "study"
    until(lambda: not jobs(slurm), "jobs of other tests count")
    slurm("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=2")
    try:
        until(lambda: "=2(" in slurm("scontrol", "show", "assoc_mgr", "flags=assoc", "users=root"), "no limit yet")
        done = launch(*words, env=env)
    finally:
        slurm("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=-1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [result(study / str(number))["status"] for number in range(3)] == ["completed"] * 3
    assert len({job(study / str(number)).partition("_")[0] for number in range(3)}) == 3, "no array of them"


def test_halving_over_four_nodes(launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path) -> None:
    """Eight trials, each with a node to itself; the last one, which draws a hopeless rate when at least four have ended,
    is stopped at the first rung, and SLURM calls none of them failed."""
    words = ["-m", "search=halving", "optimizer.lr=choice(1e-2,5e-3,2e-3,1e-7)", "hydra.sweeper.n_trials=8", *QUICK]
    words += ["hydra.sweeper.n_jobs=4", "hydra.sweeper.pruner.reduction_factor=2", "hydra.sweeper.study_name=halved"]
    words += ["hydra.sweeper.sampler.seed=24"]
    done = launch(*words, *CLUSTER, "cluster.cpus_per_task=4", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    study = tmp_path / "multirun" / "halved"
    results = [result(study / str(number)) for number in range(8)]
    epochs = {
        status: {each["epochs"] for each in results if each["status"] == status} for status in ("completed", "pruned")
    }
    assert epochs["completed"] == {3.0}
    assert (results[7]["status"], results[7]["epochs"]) == ("pruned", 1.0)
    assert epochs["pruned"] <= {1.0, 2.0}, "stopped at a rung"
    best = max(each["objective"]["value"] for each in results)
    assert best in {each["objective"]["value"] for each in results if each["status"] == "completed"}
    names = [job(study / str(number)) for number in range(8)]
    assert len(set(names)) == 8
    assert not any("_" in name for name in names), "what is pruned is not known beforehand: no array"
    assert {accounted(slurm, name) for name in names} == {"COMPLETED"}
    assert 1 < len({nodes(slurm, name) for name in names}) <= 4
    written = [path for number in range(8) for path in (study / str(number) / "slurm").iterdir()]
    assert len(written) >= 24
    told = [path for path in written if b"LAUNCHER_TRIAL" in path.read_bytes()]
    assert told == [], "where the study is, with what login, goes to a job by its environment alone"
    with (study / "trials.csv").open() as file:
        states = [row["state"] for row in csv.DictReader(file)]
    assert states == [each["status"] for each in results]


KEYS = f"""
submitit_folder: ${{hydra.sweep.dir}}/.submitit/%j
timeout_min: 7
cpus_per_task: 2
gpus_per_node: null
tasks_per_node: 2
mem_gb: 3
nodes: 1
name: ${{hydra.job.name}}-far
stderr_to_stdout: false
partition: low
qos: normal
comment: written for another launcher
constraint: fast
exclude: n1
gres: gpu:1
cpus_per_gpu: null
gpus_per_task: null
mem_per_gpu: null
mem_per_cpu: null
account: lab
signal_delay_s: 60
max_num_timeout: 3
python: {sys.executable}
additional_parameters: {{mail-type: END, nice: 7}}
array_parallelism: 2
setup: [export FAR=1]
srun_args: [--quit-on-interrupt]
use_srun: true
"""
"""Every key that hydra-submitit-launcher 1.4 has."""


def test_a_config_for_submitit_runs_unchanged(
    launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path
) -> None:
    """hydra-submitit-launcher's options and keys: in a preset, in a file of one's own that names its class, on the command
    line. What a shell would run of a file has to be allowed."""
    shell = ("cluster.setup", "cluster.srun_args", "cluster.python", "cluster.extra")
    env = env | {"LAUNCHER_TRUST": ",".join(shell)}
    queue = jobs(slurm)
    keys = yaml.safe_load(KEYS)
    known = yaml.safe_load((ROOT / "conf" / "hydra" / "launcher" / "submitit_slurm.yaml").read_text())
    assert keys.keys() == known["hydra"]["launcher"].keys()
    own = {"submitit_folder", "stderr_to_stdout", "additional_parameters"}
    assert keys.keys() - own <= {each.name for each in fields(Asked)}
    for folder in ("experiment", "hydra/launcher"):
        (tmp_path / "own" / folder).mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "far.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - override /model: mlp\n  - override /hydra/launcher: submitit_slurm\n"
        f"hydra:\n  launcher:{KEYS.replace(chr(10), chr(10) + '    ')}\n"
        "training: {max_epochs: 1}\n"
    )
    (tmp_path / "own" / "hydra" / "launcher" / "near.yaml").write_text(
        f"_target_: hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher\n{KEYS}"
    )
    study = ["--config-dir", "own", "-m", "optimizer.lr=0.01,0.003,0.001", "hydra.sweeper.study_name=far", "tracker=[]"]
    far = [*study, "experiment=far"]
    for words in (far, [*study, "hydra/launcher=near", "model=mlp"]):
        planned = launch(*words, "action=plan", env=env)
        assert planned.returncode == 0, planned.stderr
        for line in (
            *("#SBATCH --partition=low", "#SBATCH --time=7", "#SBATCH --cpus-per-task=4", "#SBATCH --mem=3072M"),
            *("#SBATCH --job-name=launcher-far", "#SBATCH --mail-type=END", "export FAR=1", "#SBATCH --array=0-2%2"),
            *("#SBATCH --ntasks-per-node=1", "#SBATCH --signal=USR2@60", "#SBATCH --gres=gpu:1", "#SBATCH --nice=7"),
            *("#SBATCH --qos=normal", "#SBATCH --account=lab", "#SBATCH --exclude=n1", "#SBATCH --constraint=fast"),
            "#SBATCH --comment='written for another launcher'",
        ):
            assert line in planned.stdout
    assert jobs(slurm) <= queue
    done = launch(*far, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [job(tmp_path / "multirun" / "far" / str(number)) for number in range(3)]
    for name in names:
        assert accounted(slurm, name) == "COMPLETED"
        told = slurm("sacct", "-n", "-X", "-P", "-j", name, "-o", "Partition,JobName,AllocCPUS,Account,NodeList")
        assert told == "low|launcher-far|4|lab|n2"
    alone = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=low", "hydra.launcher.timeout_min=5", *QUICK]
    planned = launch(*alone, "action=plan", env=env)
    assert "#SBATCH --partition=low" in planned.stdout, "a single run too"
    wrong = launch(*alone, "hydra.launcher.use_srun=false", env=env)
    assert wrong.returncode == 2
    assert "cluster.use_srun=false" in wrong.stderr
    here = launch("-m", "hydra/launcher=submitit_local", "optimizer.lr=0.01,0.003", *QUICK, "action=plan", env=env)
    assert (here.returncode, "SBATCH" in here.stdout) == (0, False), here.stderr
