"""Sweeps on a real SLURM: trials are jobs, an array where all are known beforehand; no driver has to live for them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from tests.cluster.running import CLUSTER, SLOW, WORDS, accounted, job, jobs, result
from tests.cluster.slurm import Slurm
from tests.conftest import Launch
from tests.harness import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

QUICK = ["model=mlp", "training.max_epochs=3", "tracker=[]"]
"""Three epochs of a second in all."""


def nodes(slurm: Slurm, number: str) -> str:
    """The nodes that a job was on."""
    return slurm("sacct", "-n", "-X", "-P", "-j", number, "-o", "NodeList")


def test_an_array_survives_its_driver(launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path) -> None:
    """A grid is one array, of which `n_jobs` tasks run at once; a driver that is killed leaves it running, and the next
    one finds its tasks: none is lost, none is run twice."""
    words = ["-m", "optimizer.lr=0.01,0.003,0.001,0.0003", "hydra.sweeper.n_jobs=2", "hydra.sweeper.study_name=study"]
    words += [*WORDS, *SLOW, *CLUSTER, "hydra.sweeper.lease=6s", "cluster.cpus_per_task=4"]
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
    done = launch(*words, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {number: job(study / str(number)) for number in range(4)} == first, "the tasks were followed"
    assert all(result(study / str(number))["status"] == "completed" for number in range(4))
    assert {accounted(slurm, each) for each in first.values()} == {"COMPLETED"}
    assert len({nodes(slurm, each) for each in first.values()}) > 1, "a slot's trial had a node of its own"
    shown = launch("action=status", "study=study", env=env).stdout
    assert all(f"{each} COMPLETED on n" in shown for each in first.values())


def test_a_driver_that_died_before_it_knew_the_number(
    launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path
) -> None:
    """Where nothing in a trial's folder tells its job, the array's script and its links do."""
    words = ["-m", "optimizer.lr=0.01,0.003", "hydra.sweeper.n_jobs=2", "hydra.sweeper.study_name=study"]
    words += [*WORDS, SLOW[0], "+task.seconds=0.6", *CLUSTER, "hydra.sweeper.lease=6s"]
    study = tmp_path / "multirun" / "study"
    running = launch.start(*words, env=env)
    wait_for(running, study / "0" / "metrics.jsonl")
    wait_for(running, study / "1" / "metrics.jsonl")
    running.kill()
    running.wait()
    first = {number: job(study / str(number)) for number in range(2)}
    for number in range(2):
        (study / str(number) / "slurm" / "job.json").unlink()
    running = launch.start(*words, env=env)
    for number in range(2):
        wait_for(running, study / str(number) / "slurm" / "job.json")
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    assert {number: job(study / str(number)) for number in range(2)} == first


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
    with (study / "trials.csv").open() as file:
        states = [row["state"] for row in csv.DictReader(file)]
    assert states == [each["status"] for each in results]


def test_a_config_for_submitit_runs_unchanged(
    launch: Launch, slurm: Slurm, env: dict[str, str], tmp_path: Path
) -> None:
    """hydra-submitit-launcher's option and keys, from the command line and from a file."""
    queue = jobs(slurm)
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "far.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - override /model: mlp\n  - override /hydra/launcher: submitit_slurm\n"
        "hydra:\n  launcher:\n    partition: low\n    timeout_min: 7\n    cpus_per_task: 2\n    tasks_per_node: 2\n"
        "    mem_gb: 3\n    array_parallelism: 2\n    name: ${hydra.job.name}-far\n"
        "    additional_parameters: {mail-type: END}\n    setup: [export FAR=1]\n"
        "training: {max_epochs: 1}\n"
    )
    words = ["--config-dir", "own", "-m", "experiment=far", "optimizer.lr=0.01,0.003,0.001"]
    words += ["hydra.sweeper.study_name=far", "tracker=[]"]
    planned = launch(*words, "action=plan", env=env)
    assert planned.returncode == 0, planned.stderr
    for line in (
        *("#SBATCH --partition=low", "#SBATCH --time=7", "#SBATCH --cpus-per-task=4", "#SBATCH --mem=3072M"),
        *("#SBATCH --job-name=launcher-far", "#SBATCH --mail-type=END", "export FAR=1", "#SBATCH --array=0-2%2"),
        "#SBATCH --ntasks-per-node=1",
    ):
        assert line in planned.stdout
    assert jobs(slurm) <= queue
    done = launch(*words, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [job(tmp_path / "multirun" / "far" / str(number)) for number in range(3)]
    for name in names:
        assert accounted(slurm, name) == "COMPLETED"
        told = slurm("sacct", "-n", "-X", "-P", "-j", name, "-o", "Partition,JobName,AllocCPUS")
        assert told == "low|launcher-far|4"
    alone = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=low", "hydra.launcher.timeout_min=5", *QUICK]
    single = launch(*alone, "hydra.run.dir=single", env=env)
    assert single.returncode == 0, single.stdout + single.stderr
    assert (
        slurm("sacct", "-n", "-X", "-P", "-j", job(tmp_path / "single"), "-o", "Partition,Timelimit") == "low|00:05:00"
    )
    wrong = launch(*alone, "hydra.launcher.use_srun=false", env=env)
    assert wrong.returncode == 2
    assert "cluster.use_srun=false" in wrong.stderr
