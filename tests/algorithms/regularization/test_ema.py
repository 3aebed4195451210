"""The average of the weights: its closed form, and that it is what is judged, saved and exported."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from launcher.artifacts.checkpoint.weights import load_weights
from launcher.core.algorithm import Algorithm
from launcher.core.run import Run
from tests.conftest import Launch
from tests.support.fits import fit
from tests.support.runs import build, judged, train


class Remembers(Algorithm):
    """Keeps weights and buffers after every step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def fit_start(self, run: Run) -> None:
        self.after_step(run)

    def after_step(self, run: Run) -> None:
        self.seen.append({name: each.detach().clone() for name, each in run.main.model.state_dict().items()})


@pytest.mark.parametrize("decay", [0.5, 0.9999])
def test_the_closed_form(tmp_path: Path, decay: float) -> None:
    """average_T = prod_t d_t w_0 + sum_t (1 - d_t) prod_{s > t} d_s w_{t + 1}, batch norm's statistics alike."""
    remembers, steps = Remembers(), 25
    words = [
        "model=cnn",
        "model.width=4",
        f"training.max_steps={steps}",
        "regularization=[ema]",
        f"regularization.ema.decay={decay}",
    ]
    run = train(build(tmp_path, *words, double=True, extra=[remembers]))
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(steps)]
    assert (decays[-1] == decay) == (decay == 0.5)
    shares = [math.prod(decays), *((1 - d) * math.prod(decays[t + 1 :]) for t, d in enumerate(decays))]
    assert sum(shares) == pytest.approx(1)
    average = run.judged_model().state_dict()
    for name, last in remembers.seen[-1].items():
        if last.is_floating_point():
            expected = sum(share * seen[name] for share, seen in zip(shares, remembers.seen, strict=True))
            assert torch.allclose(average[name], torch.as_tensor(expected), rtol=1e-10, atol=1e-14), name
        else:
            assert torch.equal(average[name], last)
    assert not any(torch.equal(average[name], last) for name, last in remembers.seen[-1].items() if "weight" in name)


def test_training_goes_on_with_the_weights_themselves(tmp_path: Path) -> None:
    words = ["training.max_steps=20", "training.eval_every=5"]
    plain, averaged = (
        train(build(tmp_path / name, *words, *more)) for name, more in (("a", ()), ("b", ("regularization=[ema]",)))
    )
    theirs, ours = plain.main.model.state_dict(), averaged.main.model.state_dict()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_the_average_is_judged_saved_and_exported(tmp_path: Path, launch: Launch) -> None:
    folder = tmp_path / "run"
    words = [
        "training.max_steps=40",
        "training.eval_every=10",
        "training.keep_checkpoints=1",
        "regularization.ema.decay=0.8",
    ]
    words += ["optimizer.lr=0.03", "scheduler=constant"]
    result = fit(folder, "regularization=[ema]", *words)
    best = folder / "checkpoints" / "best"
    exported = load_file(folder / "model" / "model.safetensors")
    raw = load_weights(best)
    assert exported.keys() == raw.keys()
    assert not any(torch.equal(exported[name], raw[name]) for name in raw), "the weights that training goes on from"
    run = build(tmp_path / "again", "training.max_steps=1")
    run.main.model.load_state_dict(exported)
    assert judged(run)["loss"] == pytest.approx(result["metrics"]["val/loss"], rel=1e-6)
    assert judged(run)["accuracy"] == pytest.approx(result["objective"]["value"], abs=1e-7)
    run.main.model.load_state_dict(raw)
    assert abs(judged(run)["loss"] - result["metrics"]["val/loss"]) > 1e-4
    for action in ("evaluate", "export"):
        assert launch(f"action={action}", f"run={folder}").returncode == 0
    again = json.loads((folder / "evaluation.json").read_text())["metrics"]
    assert again["val/loss"] == pytest.approx(result["metrics"]["val/loss"], rel=1e-6)
    fresh = load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(exported[name], fresh[name]) for name in fresh)


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_better_than_the_last_of_noisy_steps(tmp_path: Path, seed: int) -> None:
    words = [
        f"seed={seed}",
        "validation.fraction=0.9",
        "optimizer.lr=0.02",
        "training.batch_size=8",
        "training.max_steps=200",
    ]
    words += ["scheduler=constant", "training.eval_every=0"]
    plain = judged(train(build(tmp_path / "plain", *words)))
    average = judged(train(build(tmp_path / "ema", *words, "regularization=[ema]", "regularization.ema.decay=0.95")))
    assert average["loss"] < 0.85 * plain["loss"]
    assert average["ece"] < 0.85 * plain["ece"]
    assert average["accuracy"] > plain["accuracy"]
