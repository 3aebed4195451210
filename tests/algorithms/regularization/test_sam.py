"""Sharpness-aware minimisation: the paper's formula, and a flatter minimum."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from launcher.core.run import Run
from launcher.functional.batch_norm import statistics_kept
from tests.support.runs import build, judged, train

PLAIN_SGD = (
    "optimizer=sgd",
    "optimizer.lr=0.1",
    "optimizer.momentum=0",
    "optimizer.nesterov=false",
    "scheduler=constant",
)


def by_hand(run: Run, steps: int, rho: float, adaptive: bool) -> dict[str, Tensor]:
    """w - lr * gradient(w + e), with e as in the papers, in float64."""
    weights = {name: each.detach().clone() for name, each in run.main.model.named_parameters()}

    def loss(weights: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        output = functional_call(run.main.model, weights, (batch["images"],))
        return nn.functional.cross_entropy(output, batch["labels"])

    for step in range(steps):
        batch = run.loaders.train.samples.fetch(run.loaders.train.indices(step))
        slope = grad(loss)(weights, batch)
        size = {name: each.abs() if adaptive else torch.ones_like(each) for name, each in weights.items()}
        norm = torch.cat([(size[name] * slope[name]).flatten() for name in weights]).norm()
        moved = {name: each + rho * size[name] ** 2 * slope[name] / norm for name, each in weights.items()}
        slope = grad(loss)(moved, batch)
        weights = {name: each - 0.1 * slope[name] for name, each in weights.items()}
    return weights


@pytest.mark.parametrize(("rho", "adaptive"), [(0.05, False), (2.0, True)])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_steps_are_the_papers(tmp_path: Path, rho: float, adaptive: bool, accumulate: int) -> None:
    chosen = ["regularization=[sam]", f"regularization.sam.rho={rho}", f"regularization.sam.adaptive={adaptive}"]
    words = [*PLAIN_SGD, *chosen, "training.max_steps=3", f"training.accumulate={accumulate}"]
    run = build(tmp_path, *words, double=True)
    expected = by_hand(run, 3, rho, adaptive)
    plain = by_hand(run, 3, 1e-9, False)
    train(run)
    found = dict(run.main.model.named_parameters())
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-10, atol=1e-12)
    assert max(float((expected[name] - plain[name]).abs().max()) for name in plain) > 1e-3


def test_the_second_pass_leaves_batch_norms_statistics(tmp_path: Path) -> None:
    """One step with and without: the same batch, once in the statistics."""
    words = ["model=cnn", "model.dropout=0", "training.max_steps=1", *PLAIN_SGD]
    plain = train(build(tmp_path / "plain", *words))
    sharp = train(build(tmp_path / "sharp", *words, "regularization=[sam]"))
    ours, theirs = dict(sharp.main.model.named_buffers()), dict(plain.main.model.named_buffers())
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert any(name.endswith("running_mean") for name in theirs)
    norm = nn.BatchNorm1d(2)
    with statistics_kept(norm):
        norm(torch.ones(4, 2) * 3)
    assert float(norm.running_mean.abs().max()) == 0  # type: ignore[union-attr]  # it is tracked
    norm(torch.ones(4, 2) * 3)
    assert float(norm.running_mean.abs().max()) > 0  # type: ignore[union-attr]


def sharpness(run: Run, rho: float) -> float:
    """The training loss at distance `rho` uphill."""
    samples = run.loaders.train.samples
    batch = samples.fetch(torch.arange(len(samples)))
    model = run.main.model.eval()
    parameters = list(model.parameters())
    slope = torch.autograd.grad(run.task.loss(run.task.forward(model, batch), batch).sum, parameters)
    norm = torch.stack([each.norm() for each in slope]).norm()
    with torch.no_grad():
        for parameter, each in zip(parameters, slope, strict=True):
            parameter.add_(rho * each / norm)
        found = judged(run, train=True)["loss"]
        for parameter, each in zip(parameters, slope, strict=True):
            parameter.sub_(rho * each / norm)
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_the_minimum_is_flatter(tmp_path: Path, seed: int) -> None:
    words = [
        f"seed={seed}",
        "validation.fraction=0.9",
        "training.max_steps=300",
        "scheduler=constant",
        "training.eval_every=0",
    ]
    words += ["training.max_epochs=null"]
    plain = train(build(tmp_path / "plain", *words))
    flat = train(build(tmp_path / "flat", *words, "regularization=[sam]", "regularization.sam.rho=0.2"))
    assert judged(plain, train=True)["loss"] < 0.02
    assert sharpness(flat, 0.2) < 0.6 * sharpness(plain, 0.2)
    assert judged(flat)["loss"] < judged(plain)["loss"]
