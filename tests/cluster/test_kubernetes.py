"""`cluster=kubernetes` without a cluster: the manifest by Kubernetes' own schema, and what its pods run, as processes here."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.conftest import Launch
from tests.support.harness import ROOT
from tests.support.sameness import assert_same
from tests.support.signalled import TRUST

WORDS = ["model=mlp", "training.max_steps=40", "training.max_epochs=null", "training.log_every=5", "tracker=[]"]
WORDS += ["training.eval_every=20", "training.checkpoint_every=10"]
VERSIONS = ["1.31.0", kubernetes_validate.latest_version()]
ASKED = ["cluster=kubernetes", "cluster.image=registry/train:1"]


def manifest(launch: Launch, *words: str) -> dict[str, Any]:
    """What `action=plan` prints at its end."""
    done = launch("model=mlp", "tracker=[]", *ASKED, *words, "action=plan", env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout.partition("nothing was.\n")[2])
    return found


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_plan_is_a_manifest(nodes: int, launch: Launch, tmp_path: Path) -> None:
    """Valid by the schema of the API, and with what was asked for in its place."""
    words = [f"cluster.nodes={nodes}", "cluster.gpus_per_node=2", "cluster.cpus_per_task=8", "cluster.mem_gb=1.5"]
    words += ["cluster.timeout_min=30", f"cluster.mount={tmp_path}", "cluster.claim=runs", "parallel=ddp"]
    found = manifest(launch, *words, "+cluster.extra.nodeSelector.pool=a100", "+cluster.environment.LEVEL=3")
    for version in VERSIONS:
        kubernetes_validate.validate(found, version, strict=True)
    spec = found["spec"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (nodes, nodes, "Indexed")
    assert spec["activeDeadlineSeconds"] == 1800
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "registry/train:1"
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "1536Mi", "nvidia.com/gpu": "2"}
    assert container["command"][:4] == ["python", "-u", "-m", "launcher.launch.node"]
    assert Path(container["command"][4]).is_relative_to(tmp_path)
    assert container["volumeMounts"] == [{"name": "runs", "mountPath": str(tmp_path)}]
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "runs"}
    assert pod["nodeSelector"] == {"pool": "a100"}
    assert {"name": "LEVEL", "value": "3"} in container["env"]
    back = [rule for rule in spec["podFailurePolicy"]["rules"] if rule["action"] == "Ignore"]
    assert bool(back) == (nodes == 1), "pods of several nodes do not come back one by one"
    assert not (tmp_path / "outputs").exists()


def test_the_schema_refuses_what_is_wrong(launch: Launch) -> None:
    wrong = manifest(launch, "+cluster.extra.nodeSelectors.pool=a100")
    with pytest.raises(kubernetes_validate.ValidationError, match="nodeSelectors"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_refused(launch: Launch, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    for words, message in (
        ([*ASKED, "hydra.run.dir=run"], "there is no kubectl here"),
        ([*ASKED, "cluster.claim=runs", "action=plan"], "cluster.claim and cluster.mount go together"),
        ([*ASKED, "cluster.claim=runs", "cluster.mount=/runs", "action=plan"], "is not below cluster.mount=/runs"),
        (["cluster=kubernetes"], "cluster.image"),
    ):
        done = launch("model=mlp", "tracker=[]", *words, env={"OMP_NUM_THREADS": "1", "PATH": str(nothing)})
        assert done.returncode == 2, done.stdout + done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.fixture
def pods() -> Iterator[Any]:
    """Starts what a manifest's container runs, with the environment that its pod has."""
    with ExitStack() as stack:

        def start(folder: Path, num: int = 1, job: str = "launcher-1") -> list[subprocess.Popen[bytes]]:
            (folder / "kubernetes").mkdir(exist_ok=True)
            command = [sys.executable, "-u", "-m", "launcher.launch.node", str(folder)]
            started = []
            for index in range(num):
                env = os.environ | TRUST | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
                env |= {"LAUNCHER_JOB": job, "LAUNCHER_NODES": str(num), "LAUNCHER_HOST": "127.0.0.1"}
                process = subprocess.Popen(command, env=env | {"JOB_COMPLETION_INDEX": str(index)}, cwd=ROOT)
                stack.callback(process.wait)
                stack.callback(process.kill)
                started.append(process)
            return started

        yield start


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_pods_are_one_run(launch: Launch, pods: Any, tmp_path: Path) -> None:
    """Their workers meet; the losses and weights are those of two workers on one machine."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    done = launch(*WORDS, "parallel=ddp", f"hydra.run.dir={whole}", env={"OMP_NUM_THREADS": "1"} | TRUST)
    assert done.returncode == 0, done.stderr
    folder.mkdir()
    shutil.copy(whole / "config.yaml", folder)
    assert [process.wait() for process in pods(folder, 2)] == [0, 0], (folder / "log.txt").read_text()
    assert json.loads((folder / "kubernetes" / "exit.json").read_text()) == {"job": "launcher-1", "status": 0}
    assert json.loads((folder / "result.json").read_text())["world_size"] == 2
    assert_same(folder, whole)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_evicted_pod_goes_on_where_it_saved(launch: Launch, pods: Any, tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "run"
    slow = [*WORDS, "task._target_=tests.support.signalled.Slow", "+task.seconds=0.01"]
    done = launch(*slow, f"hydra.run.dir={whole}", env={"OMP_NUM_THREADS": "1"} | TRUST)
    assert done.returncode == 0, done.stderr
    folder.mkdir()
    config = (whole / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("seconds: 0.01", "seconds: 0.5"))
    (pod,) = pods(folder)
    end = time.monotonic() + 120
    while not (folder / "metrics.jsonl").exists() and pod.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    pod.send_signal(signal.SIGTERM)
    assert pod.wait() == 75, (folder / "log.txt").read_text()
    assert not (folder / "kubernetes" / "exit.json").exists(), "it comes back"
    (folder / "config.yaml").write_text(config)
    assert pods(folder)[0].wait() == 0, (folder / "log.txt").read_text()
    assert_same(folder, whole)
