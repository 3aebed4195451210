"""The loop's mathematics, its intervals and its end, in whole fits."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from launcher.artifacts.checkpoint.weights import load_weights
from launcher.artifacts.metrics_file import read
from launcher.data.batches import Batches
from launcher.errors import ConfigError, TrainingError
from launcher.process.seeds import derive
from launcher.process.signals import Interrupt
from launcher.train.build import build_task
from tests.support.fits import TRUST, config_of, curve, fit, values

ODD = "task._target_=tests.support.odd."


@pytest.fixture(autouse=True)
def _trust(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TRUST.items():
        monkeypatch.setenv(name, value)


def by_hand(steps: int, lr: float, clip_norm: float, decay: float, warmup: int) -> list[float]:
    """The losses of the default perceptron's first steps, each formula written out in float64.

    AdamW: Loshchilov and Hutter (2019), algorithm 2, decay on matrices alone. Clipping: Pascanu et al. (2013).
    Rates: linear warm-up to step `warmup`, then half a cosine to zero at `steps`.
    """
    config = config_of("model=mlp")
    task = build_task(config)
    data = task.datasets()
    torch.manual_seed(derive(0, "init"))
    model = task.model().double()
    parameters = list(model.parameters())
    first = [torch.zeros_like(parameter) for parameter in parameters]
    second = [torch.zeros_like(parameter) for parameter in parameters]
    batches = Batches(data.train, batch_size=32, seed=0)
    losses = []
    for step in range(steps):
        rows = data.train.fetch(batches.indices(step))
        logits = model(rows["images"].double())
        picked = logits.gather(1, rows["labels"][:, None])[:, 0]
        loss = (logits.logsumexp(dim=1) - picked).mean()
        gradients = torch.autograd.grad(loss, parameters)
        losses.append(loss.item())
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        scale = min(1.0, clip_norm / (norm + 1e-6))
        if step < warmup:
            rate = lr * (step + 1) / (warmup + 1)
        else:
            rate = lr * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
        with torch.no_grad():
            for parameter, gradient, m, v in zip(parameters, gradients, first, second, strict=True):
                m.mul_(0.9).add_(0.1 * scale * gradient)
                v.mul_(0.999).add_(0.001 * (scale * gradient) ** 2)
                if parameter.ndim > 1:
                    parameter.mul_(1 - rate * decay)
                corrected = v / (1 - 0.999 ** (step + 1))
                parameter.sub_(rate * m / (1 - 0.9 ** (step + 1)) / (corrected.sqrt() + 1e-8))
    return losses


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_whole_curve_is_the_one_by_hand(tmp_path: Path, accumulate: int) -> None:
    words = ["optimizer.lr=0.01", "optimizer.weight_decay=0.5", "training.clip_norm=0.8", "scheduler.warmup=0.1"]
    fit(tmp_path, "training.max_steps=70", f"training.accumulate={accumulate}", "training.eval_every=null", *words)
    expected = by_hand(70, lr=0.01, clip_norm=0.8, decay=0.5, warmup=7)
    assert values(tmp_path) == pytest.approx(expected, rel=2e-5)
    assert expected[-1] < 0.3 * expected[0]


def test_portions_and_workers_leave_the_curve_alone(tmp_path: Path) -> None:
    for name, word in (("whole", "training.accumulate=1"), ("cut", "training.accumulate=8")):
        fit(tmp_path / name, "training.max_steps=60", "training.clip_norm=1", word)
    assert values(tmp_path / "cut") == pytest.approx(values(tmp_path / "whole"), rel=1e-5)
    assert values(tmp_path / "cut", "val/loss") == pytest.approx(values(tmp_path / "whole", "val/loss"), rel=1e-5)


def test_a_weight_of_the_data_divides_once(tmp_path: Path) -> None:
    """Portions of a step with different weights; a mean of the portions' means would be another loss."""
    for name, word in (("whole", "training.accumulate=1"), ("cut", "training.accumulate=4")):
        fit(tmp_path / name, "training.max_steps=60", word, f"{ODD}Weighted")
    assert values(tmp_path / "cut") == pytest.approx(values(tmp_path / "whole"), rel=1e-5)
    fit(tmp_path / "plain", "training.max_steps=60")
    assert abs(values(tmp_path / "plain")[-1] - values(tmp_path / "whole")[-1]) > 1e-3


def test_a_step_in_which_nothing_counts_moves_nothing(tmp_path: Path) -> None:
    fit(tmp_path, "training.max_steps=4", f"{ODD}Weightless", "optimizer.weight_decay=0")
    task = build_task(config_of("model=mlp"))
    task.datasets()
    torch.manual_seed(derive(0, "init"))
    fresh = task.model().state_dict()
    after = load_weights(tmp_path / "checkpoints" / "last")
    assert all(torch.equal(after[name], fresh[name]) for name in fresh)


def test_a_log_line_is_the_mean_since_the_last(tmp_path: Path) -> None:
    fit(tmp_path / "each", "training.max_steps=50")
    fit(tmp_path / "some", "training.max_steps=50", "training.log_every=20")
    each = values(tmp_path / "each")
    windows = {20: each[:20], 40: each[20:40], 50: each[40:]}
    assert curve(tmp_path / "some") == pytest.approx({step: sum(own) / len(own) for step, own in windows.items()})


def test_intervals_in_steps_and_epochs(tmp_path: Path) -> None:
    words = ["training.log_every=11steps", "training.eval_every=0.5epoch", "training.checkpoint_every=1epoch"]
    result = fit(
        tmp_path,
        "training.max_epochs=1.5",
        "training.keep_checkpoints=9",
        "objective.metric=val/loss",
        "objective.direction=maximize",
        *words,
    )
    assert list(curve(tmp_path)) == [11, 22, 33, 44, 55, 66]
    assert list(curve(tmp_path, "val/accuracy")) == [22, 44, 66]
    checkpoints = sorted(int(path.name.removeprefix("step-")) for path in (tmp_path / "checkpoints").glob("step-*"))
    assert checkpoints == [22, 44, 66], "the best (the worst loss, here the first), the epoch's, the last"
    assert (result["steps"], result["epochs"], result["reason"]) == (66, 1.5, "max_epochs")


def test_never_is_at_the_end_only(tmp_path: Path) -> None:
    words = [
        f"training.{name}_every={never}" for name, never in (("log", "null"), ("eval", "0"), ("checkpoint", "null"))
    ]
    fit(tmp_path, "training.max_steps=50", *words)
    lines = read(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [50, 50]
    assert [path.name for path in (tmp_path / "checkpoints").glob("step-*")] == ["step-50"]


@pytest.mark.parametrize(
    ("words", "steps", "reason"),
    [
        (["training.max_steps=7"], 7, "max_steps"),
        (["training.max_steps=7", "training.max_epochs=2"], 7, "max_steps"),
        (["training.max_steps=700", "training.max_epochs=0.25"], 11, "max_epochs"),
    ],
)
def test_the_shorter_length_counts(tmp_path: Path, words: list[str], steps: int, reason: str) -> None:
    result = fit(tmp_path, *words)
    assert (result["steps"], result["reason"], result["status"]) == (steps, reason, "completed")


def test_max_time_ends_whole(tmp_path: Path) -> None:
    words = ["training.max_epochs=null", "training.max_time=0.3s", "scheduler=constant", "training.eval_every=null"]
    result = fit(tmp_path, *words)
    assert (result["status"], result["reason"]) == ("completed", "max_time")
    assert result["steps"] == max(curve(tmp_path)) > 0
    assert result["wall_s"] >= 0.3
    assert list(curve(tmp_path, "val/loss")) == [result["steps"]], "evaluated, and saved, where it ended"
    assert (tmp_path / "checkpoints" / "last").resolve().name == f"step-{result['steps']}"


@pytest.mark.parametrize(("direction", "best"), [("minimize", min), ("maximize", max)])
def test_the_best_step_is_kept_and_exported(tmp_path: Path, direction: str, best: Any) -> None:
    """At a high rate the loss falls and rises again, so that best and last are not the same step."""
    words = ["objective.metric=val/loss", f"objective.direction={direction}", "optimizer.lr=0.02", "scheduler=constant"]
    result = fit(tmp_path, "training.max_steps=60", "training.eval_every=5", *words)
    losses = curve(tmp_path, "val/loss")
    step = best(losses, key=losses.__getitem__)
    assert result["best_step"] == step != 60
    assert result["objective"] == {"name": "val/loss", "value": losses[step], "direction": direction}
    assert result["metrics"]["val/loss"] == losses[step]
    assert (tmp_path / "checkpoints" / "best").resolve().name == f"step-{step}"
    exported = load_file(tmp_path / "model" / "model.safetensors")
    kept = load_weights(tmp_path / "checkpoints" / f"step-{step}")
    last = load_weights(tmp_path / "checkpoints" / "step-60")
    assert exported.keys() == kept.keys()
    assert all(torch.equal(exported[name], kept[name]) for name in kept)
    assert any(not torch.equal(exported[name], last[name]) for name in kept)


def test_nan_is_never_the_best(tmp_path: Path) -> None:
    words = [
        "objective.metric=val/loss",
        "objective.direction=minimize",
        "stopping=[val_loss]",
        "stopping.val_loss.patience=2",
    ]
    result = fit(
        tmp_path, "training.max_steps=40", "training.eval_every=10", f"{ODD}Undecided", "+task.bad=[1,3]", *words
    )
    losses = curve(tmp_path, "val/loss")
    assert [math.isnan(loss) for loss in losses.values()] == [True, False, True, False]
    assert result["best_step"] == 40
    assert result["status"] == "completed", "patience counts from the best number, not from a NaN"


def test_only_nan_is_no_best(tmp_path: Path) -> None:
    words = ["objective.metric=val/loss", "objective.direction=minimize"]
    result = fit(
        tmp_path, "training.max_steps=20", "training.eval_every=10", f"{ODD}Undecided", "+task.bad=[1,2]", *words
    )
    assert result["best_step"] is None
    assert math.isnan(result["objective"]["value"])
    text = (tmp_path / "result.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["objective"]["value"] == "NaN"
    exported = load_file(tmp_path / "model" / "model.safetensors")
    last = load_weights(tmp_path / "checkpoints" / "last")
    assert all(torch.equal(exported[name], last[name]) for name in last)


def test_an_algorithm_can_stop_the_fit(tmp_path: Path) -> None:
    words = ["stopping=[val_loss]", "stopping.val_loss.patience=2", "stopping.val_loss.direction=maximize"]
    result = fit(tmp_path, "training.max_steps=200", "training.eval_every=6", "training.log_every=7", *words)
    assert (result["status"], result["reason"]) == ("stopped", "val/loss has not improved for 2 evaluations")
    assert result["steps"] == 18
    assert list(curve(tmp_path, "val/loss")) == [6, 12, 18]
    assert list(curve(tmp_path)) == [7, 14, 18], "the losses since the last line are not lost"
    assert (tmp_path / "checkpoints" / "last").resolve().name == "step-18"
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_a_signal_at_an_evaluation_does_not_cost_the_stopping_a_count(tmp_path: Path) -> None:
    words = ["stopping=[val_loss]", "stopping.val_loss.patience=2", "stopping.val_loss.direction=maximize"]
    words += ["training.max_steps=200", "training.eval_every=6"]
    whole = fit(tmp_path / "whole", *words)
    asked = fit(
        tmp_path / "cut", *words, "+monitor.rise._target_=tests.support.odd.Interrupts", "+monitor.rise.step=12"
    )
    assert (asked["status"], asked["steps"]) == ("preempted", 12)
    assert not (tmp_path / "cut" / "model").exists()
    resumed = fit(
        tmp_path / "cut",
        *words,
        "+monitor.rise._target_=tests.support.odd.Interrupts",
        "+monitor.rise.step=0",
        resume=True,
    )
    assert (resumed["status"], resumed["steps"]) == (whole["status"], whole["steps"]) == ("stopped", 18)
    assert values(tmp_path / "cut") == values(tmp_path / "whole")


def test_without_held_out_data_the_last_weights_count(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the task holds nothing out"):
        fit(tmp_path / "refused", f"{ODD}Unheld", "training.max_steps=20")
    words = ["objective.metric=train/loss", "objective.direction=minimize"]
    result = fit(tmp_path / "run", f"{ODD}Unheld", "training.max_steps=20", *words)
    assert result["best_step"] is None
    assert result["objective"]["value"] == values(tmp_path / "run")[-1]
    exported = load_file(tmp_path / "run" / "model" / "model.safetensors")
    last = load_weights(tmp_path / "run" / "checkpoints" / "last")
    assert all(torch.equal(exported[name], last[name]) for name in last)


def test_the_training_loss_can_be_the_objective(tmp_path: Path) -> None:
    """Also where an evaluation comes before the first log line."""
    words = ["objective.metric=train/loss", "objective.direction=minimize", "training.log_every=null"]
    result = fit(tmp_path, "training.max_steps=30", "training.eval_every=10", *words)
    losses = curve(tmp_path)
    assert list(losses) == [10, 20, 30]
    assert result["objective"]["value"] == min(losses.values()) == losses[result["best_step"]]


def test_the_learning_rate_of_a_line_is_the_next_steps(tmp_path: Path) -> None:
    fit(tmp_path, "training.max_steps=10", "scheduler.warmup=4", "optimizer.lr=1")
    rates = curve(tmp_path, "lr")
    assert [rates[step] for step in (1, 2, 3, 4)] == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert rates[10] == pytest.approx(0, abs=1e-12)


def test_debug_one_batch(tmp_path: Path) -> None:
    result = fit(tmp_path, "debug=one_batch", "training.eval_batch_size=300")
    assert (result["steps"], result["status"], result["reason"]) == (1, "completed", "one_batch")
    task = build_task(config_of("model=mlp"))
    assert result["metrics"]["val/accuracy"] * 300 == pytest.approx(round(result["metrics"]["val/accuracy"] * 300))
    assert len(task.datasets().val) == 359, "of which 300 were judged"


def test_debug_overfit_learns_its_batch(tmp_path: Path) -> None:
    result = fit(tmp_path, "debug=overfit", "training.max_epochs=5")
    assert result["steps"] == 5 * 44, "as long as with all data"
    assert result["metrics"]["val/accuracy"] == 1
    assert values(tmp_path, "val/loss")[-1] < 0.01


def test_debug_profiler_writes_a_trace(tmp_path: Path) -> None:
    fit(tmp_path / "whole", "debug=profiler", "training.max_steps=20")
    fit(tmp_path / "short", "debug=profiler", "training.max_steps=8")
    for name, steps in (("whole", 10), ("short", 3)):
        events = json.loads((tmp_path / name / "profile.json").read_text())["traceEvents"]
        assert sum(str(event["name"]).startswith("Optimizer.step") for event in events) == steps
        assert "aten::addmm" in (tmp_path / name / "profile.txt").read_text()


def test_debug_anomaly_names_the_operation(tmp_path: Path) -> None:
    try:
        with (
            pytest.warns(UserWarning, match=r"Anomaly Detection|Error detected in"),
            pytest.raises(RuntimeError, match="LogBackward0"),
        ):
            fit(tmp_path, "debug=anomaly", "training.max_steps=3", f"{ODD}LogOfZero")
    finally:
        torch.autograd.set_detect_anomaly(False)


def test_a_loss_that_is_no_number_is_told_with_its_place(tmp_path: Path) -> None:
    words = [
        "optimizer=sgd",
        "optimizer.lr=1e30",
        "scheduler=constant",
        "training.max_steps=40",
        "training.log_every=10",
    ]
    with pytest.raises(TrainingError) as caught:
        fit(tmp_path, *words)
    data = build_task(config_of("model=mlp")).datasets()
    samples = ", ".join(map(str, Batches(data.train, batch_size=32, seed=0).indices(1)[:8].tolist()))
    assert str(caught.value) == (
        f"the loss is nan at step 2 (epoch 1, training samples {samples}, …). Try a lower optimizer.lr, scheduler.warmup, "
        "training.clip_norm=1. There is no checkpoint yet."
    )
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["status"], result["reason"]) == ("failed", str(caught.value))


def test_the_last_good_checkpoint_is_named(tmp_path: Path) -> None:
    words = [
        f"{ODD}Diverges",
        "+task.step=25",
        "training.max_steps=40",
        "training.checkpoint_every=10",
        "training.eval_every=null",
    ]
    with pytest.raises(
        TrainingError, match=r"the loss is inf at step 25 \(epoch 1, .* The last good checkpoint is .*step-20\."
    ):
        fit(tmp_path, *words)


def test_ruined_weights_are_never_a_checkpoint(tmp_path: Path) -> None:
    """The loss of the step that ruins them is still a number."""
    words = [
        f"{ODD}Explodes",
        "+task.step=20",
        "training.max_steps=40",
        "training.checkpoint_every=10",
        "training.eval_every=null",
    ]
    with pytest.raises(TrainingError, match=r"the weights are not finite at step 20 .* checkpoint is .*step-10\."):
        fit(tmp_path, *words)
    assert [path.name for path in (tmp_path / "checkpoints").glob("step-*")] == ["step-10"]


def test_interrupts_leave_at_the_end_of_a_step(tmp_path: Path) -> None:
    result = fit(tmp_path, "training.max_steps=40", interrupt=Interrupt(15))
    assert (result["status"], result["reason"], result["steps"]) == ("preempted", "preempted", 1)
