"""Runs that go wrong once they have begun, by the real command: status, words, and what the folder says afterwards."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

from tests.conftest import Launch
from tests.support.fits import TRUST
from tests.support.harness import environment

RUN = ("model=mlp", "tracker=[]", "training.max_epochs=1", "hydra.run.dir=run")
ODD = "task._target_=tests.support.odd."


def failed(folder: Path) -> str:
    """The reason in result.json, which has to say that the run failed."""
    result = json.loads((folder / "run" / "result.json").read_text())
    assert result["status"] == "failed"
    reason: str = result["reason"]
    return reason


def test_a_loss_that_is_no_number(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(*RUN, "optimizer.lr=1e30", "training.log_every=10")
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: the loss is nan at step 2 (epoch 1, training samples ")
    for advice in ("optimizer.lr", "scheduler.warmup", "training.clip_norm", "There is no checkpoint yet."):
        assert advice in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert failed(tmp_path) == outcome.stderr.removeprefix("error: ").strip()


def test_the_last_good_checkpoint_is_named_and_goes_on(launch: Launch, tmp_path: Path) -> None:
    words = [
        f"{ODD}Diverges",
        "+task.step=33",
        "training.checkpoint_every=10",
        "training.log_every=10",
        "training.eval_every=null",
    ]
    outcome = launch(*RUN, *words, env=TRUST)
    assert outcome.returncode == 1
    named = outcome.stderr.partition("The last good checkpoint is ")[2].strip().rstrip(".")
    assert named == "run/checkpoints/step-30"
    assert (tmp_path / named / "manifest.json").is_file()
    resumed = launch("resume=run", env=TRUST)  # the task counts anew: the 33rd step of this process never comes
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 44


def test_an_error_of_a_tasks_own_code_keeps_its_traceback(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(*RUN, f"{ODD}Raises", env=TRUST)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("Traceback (most recent call last):")
    assert outcome.stderr.endswith("ValueError: the third digit is one too many\n")
    assert "odd.py" in outcome.stderr
    assert "direct cause" not in outcome.stderr
    assert failed(tmp_path) == "ValueError: the third digit is one too many"


def test_a_label_out_of_range(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(*RUN, f"{ODD}OneTooFew", env=TRUST)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith(
        "error: a label is out of range at step 1: 9, where the model's outputs are counted from 0."
    )
    assert failed(tmp_path) in outcome.stderr
    shown = launch(
        *(word for word in RUN if "dir" not in word), f"{ODD}OneTooFew", "debug=true", "hydra.run.dir=shown", env=TRUST
    )
    assert "Target 9 is out of bounds" in shown.stderr
    assert "softmax_loss" in shown.stderr


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (32 << 30, 32 << 30))


def starved(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "launcher", *RUN, *words]
    return subprocess.run(
        command, cwd=folder, env=environment(TRUST), preexec_fn=limited, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip


def test_an_option_that_an_estimator_finds_wrong_with_this_data(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(
        "task=tabular", "data=wine", "model=knn", "model.n_neighbors=1000", "tracker=[]", "hydra.run.dir=run"
    )
    assert outcome.returncode == 1
    assert outcome.stderr == (
        "error: KNeighborsClassifier can not be fitted to this data: "
        "Expected n_neighbors <= n_samples_fit, but n_neighbors = 1000, n_samples_fit = 142, n_samples = 142\n"
    )
    assert failed(tmp_path) == outcome.stderr.removeprefix("error: ").strip()


def test_out_of_memory_says_what_would_help(tmp_path: Path) -> None:
    done = starved(tmp_path, f"{ODD}Greedy", "training.accumulate=2")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: out of memory at step 2 with training.batch_size=32. Try training.accumulate=4 "
    )
    for advice in ("training.find_batch_size=true", "memory=checkpointing", "precision=bf16", "training.batch_size"):
        assert advice in done.stderr
    assert done.stderr.count("\n") == 1
    assert failed(tmp_path) == done.stderr.removeprefix("error: ").strip()


def test_a_model_too_large_to_build(tmp_path: Path) -> None:
    """The memory that is stated is not there: the first tensor finds none."""
    large = ("model.width=200000000", "model.depth=1", "parallel.device_memory_gb=100000")
    done = starved(tmp_path, *large)
    assert done.returncode == 1
    assert done.stderr.startswith("error: out of memory before the first step: ")
    assert done.stderr.count("\n") == 1
    assert failed(tmp_path) == done.stderr.removeprefix("error: ").strip()


def test_a_failed_run_goes_on_where_it_was(launch: Launch, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    words = [
        f"{ODD}Once",
        f"+task.mark={mark}",
        "+task.step=30",
        "training.checkpoint_every=20",
        "training.log_every=1",
    ]
    assert launch(*RUN, *words, env=TRUST).returncode == 1
    assert "the third digit" in failed(tmp_path)
    resumed = launch("resume=run", env=TRUST)
    assert resumed.returncode == 0, resumed.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["status"], result["steps"]) == ("completed", 44)
    lines = [
        json.loads(line)["step"]
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        if "train/loss" in line
    ]
    assert lines == list(range(1, 45))
