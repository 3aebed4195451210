"""Loops that a task names: one of a package beside ours trains, saves, resumes and is evaluated as ours do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from launcher.actions import evaluate
from launcher.artifacts.metrics_file import read
from launcher.console.console import Console
from launcher.core.loop import Loop
from launcher.core.task import Task
from launcher.errors import ConfigError, TrainingError
from launcher.preflight.lr_find import find
from launcher.preflight.memory_estimate import Estimator as MemoryEstimator
from launcher.preflight.step_time import measure
from launcher.tasks.image_classification import ImageClassification
from launcher.train.build import build_task
from launcher.train.loops.estimator import Estimator
from launcher.train.loops.named import loop_class
from launcher.train.loops.supervised import Supervised
from tests.support.fits import config_of, fit

PACKAGE = '''
"""Digits by rollouts: each step takes samples that the loop itself draws, and two steps of the optimizer on them."""

import torch

from launcher.core.loop import StepResult
from launcher.tasks.image_classification import ImageClassification
from launcher.train.loops.base import Stepped


class Rolled(ImageClassification):
    def loop(self):
        return "rolling_pkg.rollouts.Rollouts"


class Rollouts(Stepped):
    def __init__(self, console):
        super().__init__(console)
        self.generator = torch.Generator().manual_seed(7)

    def start(self, run):
        run.main.model.train()

    def step(self, run):
        samples, optimizer = run.loaders.train.samples, run.main.optimizer
        rows = torch.randint(len(samples), (run.settings.batch_size,), generator=self.generator)
        batch = run.parallel.place(samples.fetch(rows))
        for _ in range(2):
            loss, weight = run.parallel.forward_backward(run, [batch], [])
            run.parallel.step(run)
            optimizer.zero_grad()
        run.main.scheduler.step()
        return StepResult(loss, weight)

    def state_dict(self):
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"])


class Exploding(Rolled):
    def loop(self):
        return "rolling_pkg.rollouts.Explodes"


class Explodes(Rollouts):
    def step(self, run):
        loss, weight, _ = super().step(run)
        return StepResult(loss * float("nan"), weight)
'''
TASK = "task._target_=rolling_pkg.rollouts."
WORDS = (
    TASK + "Rolled",
    "training.batch_size=16",
    "training.log_every=1",
    "training.eval_every=3",
    "scheduler=constant",
)


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rolling_pkg`, installed, with an entry point that says it is for the launcher."""
    root = tmp_path / "installed" / "rolling_pkg"
    root.mkdir(parents=True)
    (root / "__init__.py").touch()
    (root / "rollouts.py").write_text(PACKAGE)
    info = root.parent / "rolling_pkg-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rolling-pkg\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[launcher.targets]\nany = rolling_pkg\n")
    monkeypatch.syspath_prepend(str(root.parent))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / "last" / "model.safetensors")


def test_a_loop_of_an_installed_package_resumes_bit_for_bit(tmp_path: Path) -> None:
    """What it keeps itself, the generator of its samples, goes through the checkpoint with all else."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    result = fit(whole, *WORDS, "training.max_steps=9")
    assert (result["status"], result["steps"]) == ("completed", 9)
    assert result["metrics"]["val/accuracy"] > 0.3
    fit(halves, *WORDS, "training.max_steps=4")
    fit(halves, *WORDS, "training.max_steps=9", resume=True)
    assert all(torch.equal(each, weights(whole)[name]) for name, each in weights(halves).items())
    losses = [
        {line["step"]: line["train/loss"] for line in read(each / "metrics.jsonl") if "train/loss" in line}
        for each in (whole, halves)
    ]
    assert losses[0] == losses[1]
    assert list(losses[0]) == list(range(1, 10))


def test_what_is_due_after_a_step_is_the_same_for_every_loop(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1 \(epoch 1\)\. Try a lower optimizer\.lr"):
        fit(tmp_path / "run", TASK + "Exploding", *WORDS[1:], "training.max_steps=9")


def test_its_best_checkpoint_is_evaluated_once_more(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = fit(folder, *WORDS, "training.max_steps=6")
    config = config_of("action=evaluate", f"run={folder}")
    assert evaluate.act(config, tmp_path, False) == 0
    again = json.loads((folder / "evaluation.json").read_text())
    assert again["step"] == result["best_step"]
    assert again["metrics"]["val/loss"] == pytest.approx(result["metrics"]["val/loss"], rel=1e-6)


def test_steps_of_its_own_are_not_rehearsed(tmp_path: Path) -> None:
    config = config_of(*WORDS, "model=mlp", "tracker=[]", "training.max_steps=9")
    for rehearses, why in (
        (lambda: find(config, tmp_path, Console(quiet=True)), "no learning rate that a range test could find"),
        (lambda: measure(config, 1), "there are no steps to time"),
        (lambda: MemoryEstimator(config), "there are no steps to estimate"),
    ):
        with pytest.raises(ConfigError, match=f"MLP has steps of its own: .*{why}"):
            rehearses()


def test_the_model_decides_between_the_two_loops_of_a_table() -> None:
    assert loop_class(build_task(config_of("task=tabular"))) is Estimator
    assert loop_class(build_task(config_of("task=tabular", "model=mlp"))) is Supervised


def named(name: str) -> Task:
    task = build_task(config_of("model=mlp"))
    assert isinstance(task, ImageClassification)
    task.loop = lambda: name  # type: ignore[method-assign]  # a task that names this one
    return task


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "supervized",
            r"ImageClassification\.loop='supervized': launcher\.train\.loops has no 'supervized'\. Did you mean 'supervised'",
        ),
        ("rolling_pkg.rollouts.Rolled", r"rolling_pkg\.rollouts\.Rolled is no class below launcher\.core\.loop\.Loop"),
        ("tests.support.fits.fit", r"tests\.support\.fits\.fit, which a config may not run"),
        ("os.system", r"os\.system, which a config may not run"),
    ],
)
def test_what_is_no_loop_or_is_not_trusted_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loop_class(named(name))


def test_a_loop_that_keeps_no_state_refuses_that_of_another() -> None:
    loop: Loop = Supervised(Console(quiet=True))
    loop.load_state_dict(loop.state_dict())
    with pytest.raises(ValueError, match="Supervised keeps no state of its own"):
        loop.load_state_dict({"generator": torch.zeros(1)})
