"""Gradients that explode or are no numbers: found, and warned of, skipped or the end."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from launcher.errors import TrainingError
from launcher.monitors.gradient_health import GradientHealth
from tests.support.fits import curve
from tests.support.noisy import TRUST
from tests.support.runs import build, judged, train

CHOSEN = (
    "monitor=[gradient_health]",
    "monitor.gradient_health.warmup=8",
    "training.max_steps=20",
    "training.eval_every=0",
)
SHOUTS = ("task._target_=tests.support.noisy.Shouts", "+task.step=12")
INFINITE = ("task._target_=tests.support.noisy.Infinite", "+task.step=12")
PLAIN = ("optimizer=sgd", "optimizer.lr=0.05", "optimizer.momentum=0.9", "scheduler=constant")


@pytest.fixture(autouse=True)
def _trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*TRUST)


def test_the_score_is_the_robust_one_of_the_logarithms() -> None:
    norms = np.exp(np.random.default_rng(0).normal(size=60))
    health = GradientHealth(threshold=5.0, window=40, warmup=10)
    for norm in norms:
        health.judge(float(norm))
    logs = np.log(norms[-40:])
    deviation = np.median(np.abs(logs - np.median(logs))) / 0.6745
    assert health.score(3.0) == pytest.approx((3.0 - np.median(logs)) / deviation)
    limit = math.exp(np.median(logs) + 5 * deviation)
    again = GradientHealth(threshold=5.0, window=40, warmup=10)
    again.load_state_dict(health.state_dict())
    assert health.judge(limit * 0.999) is None
    found = again.judge(limit * 1.001)
    assert found is not None
    assert "deviations above the median" in found
    assert health.judge(1e-30) is None, "small gradients do not explode"


def test_it_judges_from_its_warmup_on_and_what_is_no_number_at_once() -> None:
    health = GradientHealth(warmup=5)
    assert health.judge(math.nan) == "its norm is nan"
    assert health.judge(math.inf) == "its norm is inf"
    assert health.judge(math.inf, scaled=True) is None, "a loss scale leaves such steps out by itself"
    assert [health.judge(norm) for norm in (1.0, 2.0, 1e9, 1.5, 1.2)] == [None] * 5
    assert health.judge(1e9) is not None


def test_gradients_that_have_grown_for_good_are_taken_for_normal() -> None:
    health = GradientHealth(window=20, warmup=10)
    rng = np.random.default_rng(0)
    before = [health.judge(math.exp(x)) for x in rng.normal(size=20)]
    after = [health.judge(1e6 * math.exp(x)) for x in rng.normal(size=30)]
    assert before == [None] * 20
    assert all(found is not None for found in after[:3])
    assert after[12:] == [None] * 18


def test_a_step_that_is_skipped_does_not_wreck_the_run(tmp_path: Path) -> None:
    words = [*CHOSEN, *PLAIN, *SHOUTS, "monitor.gradient_health.action=skip"]
    run = train(build(tmp_path / "run", *words))
    assert run.metrics["unhealthy_gradients"] == 1
    assert run.progress.step == 20
    assert judged(run)["loss"] < 2.2
    losses = curve(tmp_path / "run")
    assert 12 not in losses, "the loss of a step that was left out is not counted"
    assert max(losses.values()) < 4
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1[3-9]"):
        train(build(tmp_path / "wrecked", *[word for word in words if "action" not in word]))


def test_skip_is_no_step(tmp_path: Path) -> None:
    """Weights and moments after steps 11 and 12 are the same, bit for bit."""
    sides = []
    for steps in (11, 12):
        words = [word for word in CHOSEN if "max_steps" not in word]
        run = build(
            tmp_path / str(steps),
            *words,
            *PLAIN,
            *SHOUTS,
            "monitor.gradient_health.action=skip",
            f"training.max_steps={steps}",
        )
        train(run)
        moments = [state["momentum_buffer"] for state in run.main.optimizer.state.values()]
        sides.append([*run.main.model.parameters(), *moments])
    assert all(torch.equal(one, other) for one, other in zip(*sides, strict=True))


def test_a_loss_that_is_no_number_is_survived_by_skipping(tmp_path: Path) -> None:
    words = [*CHOSEN, *PLAIN, *INFINITE]
    run = train(build(tmp_path / "skip", *words, "monitor.gradient_health.action=skip"))
    assert run.metrics["unhealthy_gradients"] == 1
    assert judged(run)["loss"] < 2.2
    with pytest.raises(TrainingError, match="the loss is inf at step 12"):
        train(build(tmp_path / "warn", *words))


@pytest.mark.parametrize("planted", [SHOUTS, INFINITE], ids=["shouts", "infinite"])
def test_stop_ends_the_run_with_the_weights_before(tmp_path: Path, planted: tuple[str, ...]) -> None:
    run = train(build(tmp_path, *CHOSEN, *PLAIN, *planted, "monitor.gradient_health.action=stop"))
    assert run.progress.step == 12
    assert run.stop is not None
    assert run.stop.startswith("the gradient at step 12: its norm")
    assert run.checkpoints.steps() == [12]
    assert judged(run)["loss"] < 2.3
    assert run.best.step == 12, "the last weights are judged before the run ends"


def test_warn_says_the_step_and_reads_at_log_lines(tmp_path: Path) -> None:
    said: list[str] = []
    words = [*CHOSEN, *PLAIN, *SHOUTS, "training.log_every=5", "training.clip_norm=1"]
    run = build(tmp_path, *words)
    run.recorder.warn = said.append
    train(run)
    assert len(said) == 1
    assert said[0].startswith("the gradient at step 12: its norm of ")
    assert "deviations above the median of the last 11" in said[0]
    assert curve(tmp_path, "unhealthy_gradients") == {5: 0, 10: 0, 15: 1, 20: 1}


def test_a_run_without_it_costs_nothing_and_is_the_same(tmp_path: Path) -> None:
    runs = [
        train(build(tmp_path / name, "training.max_steps=10", *more))
        for name, more in (("a", ()), ("b", ("monitor=[gradient_health]",)))
    ]
    one, other = (run.main.model.state_dict() for run in runs)
    assert all(torch.equal(one[name], other[name]) for name in one)
