"""The hooks: when each is called, what it is shown, and that only those that were overridden are called."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from launcher.artifacts.checkpoint.weights import load_weights
from launcher.core.algorithm import Algorithm, Monitor, overriding
from launcher.data.batches import Batches
from launcher.errors import ConfigError
from launcher.process.seeds import derive
from launcher.train.build import build_algorithms, build_task
from tests.support.fits import TRUST, config_of, curve, fit, values
from tests.support.odd import Tells

TELLS = "+monitor.tells._target_=tests.support.odd.Tells"


@pytest.fixture(autouse=True)
def _trust(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TRUST.items():
        monkeypatch.setenv(name, value)


def test_the_order_is_the_one_in_the_docstring(tmp_path: Path) -> None:
    Tells.told.clear()
    words = ["training.batch_size=718", "training.accumulate=2", "training.log_every=2", "training.eval_every=2"]
    result = fit(tmp_path, "training.max_steps=3", TELLS, *words)
    step = ["batch", "batch", "loss", "loss", "gradients", "step", "after_step"]
    judged = ["log", "eval_model", "eval_end"]
    assert Tells.told == [
        *("model", "frozen", "param_groups", "fit_start"),
        *("epoch_start", *step),
        *(*step, *judged),
        *("epoch_start", *step, *judged),
        *("eval_model", "fit_end"),
    ]
    assert "told" in result["metrics"]
    assert list(curve(tmp_path, "told")) == [2, 3]


def test_only_what_was_overridden_is_called_and_monitors_come_last() -> None:
    class Quiet(Algorithm):
        pass

    class One(Algorithm):
        def after_step(self, run: object) -> None:
            pass

    class Watches(Monitor):
        def after_step(self, run: object) -> None:
            pass

    watches, quiet, one, other = Watches(), Quiet(), One(), One()
    found = overriding([watches, quiet, one, other], "after_step")
    assert [hook.__self__ for hook in found] == [one, other, watches]
    assert overriding([watches, quiet, one], "gradients") == []


def test_two_that_take_the_step_are_refused() -> None:
    config = config_of(TELLS, "+monitor.sharp._target_=tests.support.odd.Sharpness")
    with pytest.raises(ConfigError, match="Tells and Sharpness would each take the optimizer's step"):
        build_algorithms(config)


def sharpness_by_hand(steps: int, lr: float, rho: float, clip_norm: float) -> list[float]:
    """Losses at w of w <- w - lr clip(g(w + rho g(w) / |g(w)|)), in float64."""
    task = build_task(config_of("model=mlp"))
    data = task.datasets()
    torch.manual_seed(derive(0, "init"))
    model = task.model().double()
    parameters = list(model.parameters())
    batches = Batches(data.train, batch_size=32, seed=0)
    losses = []

    def norm(gradients: tuple[torch.Tensor, ...]) -> float:
        return math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))

    def gradients_of(rows: dict[str, torch.Tensor]) -> tuple[float, tuple[torch.Tensor, ...]]:
        loss = F.cross_entropy(model(rows["images"].double()), rows["labels"])
        found = torch.autograd.grad(loss, parameters)
        scale = min(1.0, clip_norm / (norm(found) + 1e-6))
        return loss.item(), tuple(gradient * scale for gradient in found)

    for step in range(steps):
        rows = data.train.fetch(batches.indices(step))
        loss, gradients = gradients_of(rows)
        losses.append(loss)
        moves = [rho * gradient / norm(gradients) for gradient in gradients]
        with torch.no_grad():
            for parameter, move in zip(parameters, moves, strict=True):
                parameter += move
        _, gradients = gradients_of(rows)
        with torch.no_grad():
            for parameter, move, gradient in zip(parameters, moves, gradients, strict=True):
                parameter -= move + lr * gradient
    return losses


SHARP = (
    "+regularization.sharp._target_=tests.support.odd.Sharpness",
    "+regularization.sharp.rho=0.1",
    "optimizer=sgd",
    "optimizer.momentum=0",
)
SHARP += (
    "optimizer.nesterov=false",
    "optimizer.lr=0.3",  # at 0.5 rounding switches a unit on in one of two computations, and their ways part
    "scheduler=constant",
    "training.clip_norm=0.5",
    "training.max_steps=40",
)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_step_may_look_twice(tmp_path: Path, accumulate: int) -> None:
    fit(tmp_path, *SHARP, f"training.accumulate={accumulate}")
    expected = sharpness_by_hand(40, lr=0.3, rho=0.1, clip_norm=0.5)
    assert values(tmp_path) == pytest.approx(expected, rel=1e-4)
    assert expected[-1] < 0.7 * expected[0]


def test_a_step_may_look_twice_in_half_precision(tmp_path: Path) -> None:
    fit(tmp_path, *SHARP, "precision=fp16")
    assert values(tmp_path) == pytest.approx(sharpness_by_hand(40, lr=0.3, rho=0.1, clip_norm=0.5), rel=0.02)


def test_what_was_judged_is_what_is_exported(tmp_path: Path) -> None:
    """The evaluated model follows from the weights and the algorithm's state at the best step."""
    words = [
        "+regularization.halves._target_=tests.support.odd.Halves",
        "objective.metric=val/loss",
        "objective.direction=maximize",
    ]
    result = fit(tmp_path, "training.max_steps=40", "training.eval_every=10", *words)
    losses = curve(tmp_path, "val/loss")
    step = result["best_step"]
    assert step == max(losses, key=losses.__getitem__) < 40
    kept = load_weights(tmp_path / "checkpoints" / f"step-{step}")
    exported = load_file(tmp_path / "model" / "model.safetensors")
    factor = 0.5 + 0.01 * (step - 1)
    assert all(torch.allclose(exported[name], kept[name] * factor) for name in kept)


def test_label_smoothing_is_torchs_and_judges_by_the_plain_loss(tmp_path: Path) -> None:
    words = ["training.max_steps=30", "regularization=[label_smoothing]"]
    fit(tmp_path / "none", *words, "regularization.label_smoothing.smoothing=0")
    fit(tmp_path / "plain", "training.max_steps=30")
    assert values(tmp_path / "none") == values(tmp_path / "plain")
    fit(tmp_path / "some", *words, "regularization.label_smoothing.smoothing=0.3")
    task = build_task(config_of("model=mlp"))
    data = task.datasets()
    torch.manual_seed(derive(0, "init"))
    rows = data.train.fetch(Batches(data.train, batch_size=32, seed=0).indices(0))
    logits = task.model()(rows["images"]).log_softmax(dim=1)
    picked = logits.gather(1, rows["labels"][:, None]).mean()
    expected = -(0.7 * picked + 0.3 * logits.mean(dim=1).mean()).item()
    assert values(tmp_path / "some")[0] == pytest.approx(expected, rel=1e-5)
    first = values(tmp_path / "some")[0], values(tmp_path / "plain")[0]
    assert first[0] != pytest.approx(first[1], rel=1e-4)


def test_a_loss_hook_is_as_precise_as_the_loss(tmp_path: Path) -> None:
    """Under autocast too: a cross-entropy of bfloat16 logits is taken in float32."""
    words = ["training.max_steps=10", "precision=bf16"]
    fit(tmp_path / "hook", *words, "regularization=[label_smoothing]", "regularization.label_smoothing.smoothing=0")
    fit(tmp_path / "plain", *words)
    assert values(tmp_path / "hook") == values(tmp_path / "plain")
