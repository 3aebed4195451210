"""Two processes: the curve of one at the same global batch, and whose words reach the terminal when a rank fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import Launch
from tests.support.fits import TRUST, config_of, curve, fit, values
from tests.support.harness import Outcome, Warm, environment

DDP = ("parallel=ddp", "tracker=[]", "training.log_every=1")
ODD = "task._target_=tests.support.odd."
LOADED = ("+monitor.loaded._target_=tests.support.odd.Loaded", "+monitor.loaded.name=deepspeed")
CURVES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "portions and clipping": (
        ("model=mlp", "training.clip_norm=0.5", "training.accumulate=2", "training.max_steps=50", *LOADED),
        ("training.accumulate=1",),
    ),
    "a weight of the data": (
        ("model=mlp", f"{ODD}Weighted", "training.accumulate=2", "training.max_steps=50", "validation.fraction=0.02"),
        ("training.accumulate=1",),
    ),
    "batch norm": (("model=cnn", "model.dropout=0", "training.max_steps=30", "training.eval_every=10"), ()),
    "looking ahead and averages": (
        (
            "model=mlp",
            "regularization=[ema,sam,label_smoothing]",
            "monitor=[gradient_health]",
            "training.max_steps=30",
            "training.eval_every=10",
        ),
        (),
    ),
    "a step that is left out": (
        (
            "model=mlp",
            f"{ODD}Explodes",
            "+task.step=12",
            "monitor=[gradient_health]",
            "monitor.gradient_health.action=skip",
            "training.max_steps=20",
        ),
        (),
    ),
}
"""Runs on two ranks, and what one rank does in another way. The second has one batch to judge by: one rank has none."""
FAILURES = {
    "raises": ("model=mlp", f"{ODD}Raises", "+task.rank=1"),
    "dies": ("model=mlp", f"{ODD}Once", "+task.mark=mark", "+task.kill=true", "+task.rank=1"),
    "refused": ("model=mlp", "training.batch_size=2000"),
}


class Both(NamedTuple):
    """The folders of the two runs, the outcomes of the failing ones, and where all of them are."""

    outcomes: dict[str, Outcome]
    folder: Path


@pytest.fixture(scope="module")
def ran(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """All runs of two ranks, started at once: whoever shared a port with another would hang or fail."""
    folder = tmp_path_factory.mktemp("ddp")
    started = {}
    for name, words in [(name, words) for name, (words, _) in CURVES.items()] + list(FAILURES.items()):
        own = folder / name
        own.mkdir()
        started[name] = warm.start(*DDP, *words, "hydra.run.dir=run", cwd=own, env=TRUST)
    return Both({name: running.wait() for name, running in started.items()}, folder)


@pytest.mark.parametrize("name", CURVES)
def test_two_ranks_have_the_curve_of_one(ran: Both, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*next(iter(TRUST.items())))
    outcome = ran.outcomes[name]
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == ""
    assert "real_accelerator" not in outcome.stdout, "DeepSpeed was imported to unwrap the model"
    both = ran.folder / name / "run"
    words, otherwise = CURVES[name]
    changed = {word.partition("=")[0] for word in otherwise}
    fit(tmp_path, *(word for word in words if word.partition("=")[0] not in changed), *otherwise)
    for metric in ("train/loss", "val/loss"):
        assert curve(both, metric) == pytest.approx(curve(tmp_path, metric), rel=2e-6)
    assert curve(both, "val/accuracy") == pytest.approx(curve(tmp_path, "val/accuracy"), abs=1e-7)
    assert curve(both, "lr") == curve(tmp_path, "lr")
    left_out = 1.0 if name == "a step that is left out" else 0.0
    if "monitor=[gradient_health]" in words:
        assert values(both, "unhealthy_gradients")[-1] == values(tmp_path, "unhealthy_gradients")[-1] == left_out
    assert values(both)[-1] < values(both)[0]
    mine, theirs = (load_file(each / "model" / "model.safetensors") for each in (tmp_path, both))
    assert mine.keys() == theirs.keys(), "names of the plain model, without a wrapper's"
    assert all(torch.allclose(mine[key], theirs[key], rtol=1e-3, atol=1e-5) for key in mine)
    result = json.loads((both / "result.json").read_text())
    assert result["world_size"] == 2


def test_another_engine_is_not_imported(ran: Both) -> None:
    """Where DeepSpeed is installed, each rank would take a second for it, and print what it thinks of the machine."""
    assert set(values(ran.folder / "portions and clipping" / "run", "loaded")) == {0.0}


def test_one_process_of_ddp_is_one_process(tmp_path: Path) -> None:
    words = ["training.max_steps=20", "training.accumulate=2", "training.clip_norm=1", "model.norm=batch"]
    fit(tmp_path / "ddp", "parallel=ddp", "parallel.num_processes=1", *words)
    fit(tmp_path / "single", *words)
    assert values(tmp_path / "ddp") == values(tmp_path / "single")
    assert values(tmp_path / "ddp", "val/loss") == values(tmp_path / "single", "val/loss")


def test_a_rank_that_raises_is_quoted_once(ran: Both) -> None:
    outcome = ran.outcomes["raises"]
    assert outcome.returncode == 1
    assert outcome.stderr.startswith(
        "error: rank 1: ValueError: the third digit is one too many\nTraceback (most recent call last):\n"
    )
    assert outcome.stderr.count("the third digit is one too many") == 3, (
        "the message, the line of code, the traceback's last line"
    )
    assert "odd.py" in outcome.stderr
    assert "closed by peer" not in outcome.stderr + outcome.stdout
    result = json.loads((ran.folder / "raises" / "run" / "result.json").read_text())
    assert (result["status"], result["reason"]) == ("failed", "rank 1: ValueError: the third digit is one too many")


def test_a_rank_that_is_killed_is_told(ran: Both) -> None:
    outcome = ran.outcomes["dies"]
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: rank ")
    assert "without a word of its own; the system ends processes when memory runs out" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    result = json.loads((ran.folder / "dies" / "run" / "result.json").read_text())
    assert (result["status"], result["reason"]) == ("failed", outcome.stderr.removeprefix("error: ").strip())


def test_what_only_the_data_shows_is_refused_by_the_workers(ran: Both) -> None:
    outcome = ran.outcomes["refused"]
    assert outcome.returncode == 2
    assert outcome.stderr == "error: training.batch_size=2000 is larger than the training data: 1438 samples\n"
    assert not (ran.folder / "refused" / "run").exists()


WORKERS = """
import pathlib, sys
from launcher.console.console import Console
from launcher.launch.elastic import run_workers
from launcher.artifacts.folder import read_config
from launcher.launch.local_pool import LocalPool
from launcher.process.signals import Interrupt

folder = pathlib.Path(sys.argv[1])
try:
    run_workers(read_config(folder), folder, False, Console(), Interrupt())
except Exception as error:
    print("workers:", error)
config = read_config(folder)
config.parallel = {"_target_": "launcher.parallel.single.Single", "_partial_": True, "num_processes": 1}
from launcher.artifacts.folder import write_config
write_config(config, folder)
pool = LocalPool()
handle = pool.submit(folder)
while (status := pool.poll(handle)) is None:
    pool.wait(1)
print("pool:", status)
"""


def test_a_worker_holds_targets_against_the_list_itself(tmp_path: Path) -> None:
    """The driver has checked the config; somebody edits the file that the workers read."""
    from launcher.artifacts.folder import write_config

    folder, made = tmp_path / "run", tmp_path / "made"
    folder.mkdir()
    config = config_of(
        "model=mlp", "tracker=[]", "parallel=ddp", "+monitor.own._target_=launcher.monitors.gradient_norm.GradientNorm"
    )
    config.monitor.own = {"_target_": "os.mkdir", "path": str(made)}
    write_config(config, folder)
    env = {key: value for key, value in environment().items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", WORKERS, str(folder)],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "os.mkdir" in done.stdout.partition("pool:")[0]
    assert "OMP_NUM_THREADS" not in done.stderr, "the threads are shared out without a warning of Accelerate's"
    assert done.stdout.endswith("pool: 2\n"), "a wrong configuration"
    assert "os.mkdir" in (folder / "log.txt").read_text()
    assert not made.exists()


def test_a_run_moves_between_one_and_two_ranks(launch: Launch, tmp_path: Path) -> None:
    words = ["model=mlp", "tracker=[]", "training.log_every=1", "scheduler=constant"]
    assert launch(*words, "training.max_steps=20", "hydra.run.dir=run").returncode == 0
    moved = launch("resume=run", "training.max_steps=40", "parallel=ddp")
    assert moved.returncode == 0, moved.stderr
    fit(tmp_path / "whole", "training.max_steps=40", "scheduler=constant")
    assert curve(tmp_path / "run") == pytest.approx(curve(tmp_path / "whole"), rel=2e-6)
