"""What regularisation is for: smaller weights, a smaller gap, honest confidence. Few digits, of which some are labelled wrongly."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
import torch

from tests.support.noisy import TRUST
from tests.support.runs import build, gap, judged, train

SETS = {
    "mlp": ("model=mlp", "training.max_steps=300"),
    "vit": ("model=vit", "model.width=32", "model.dropout=0", "model.patch_size=4", "training.max_steps=300"),
    "clean": (
        "model=mlp",
        "training.max_steps=300",
        "validation.fraction=0.97",
        "training.batch_size=50",
        "scheduler=constant",
    ),
    "text": (
        "task=text_classification",
        "model=transformer",
        "model.width=32",
        "model.num_heads=2",
        "model.depth=1",
        "model.dropout=0",
        "model.attention_dropout=0",
        "data.max_per_class=40",
        "data.min_per_class=20",
        "training.max_steps=100",
    ),
}
NOISY = ("task._target_=tests.support.noisy.Mislabelled", "validation.fraction=0.9")


class Found(NamedTuple):
    gap: float
    ece: float
    loss: float
    norm: float


@cache
def after(name: str, seed: int, *words: str) -> Found:
    """What training on 180 pictures, 54 where they are all labelled rightly, or on some 400 texts comes to."""
    shared = ("optimizer.lr=3e-3", "training.max_epochs=null", "training.log_every=0", "training.eval_every=0")
    chosen = [*SETS[name], *shared, *(() if name in ("clean", "text") else NOISY), f"seed={seed}", *words]
    with TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        run = train(build(Path(folder), *({word.partition("=")[0]: word for word in chosen}.values())))
        held_out = judged(run)
        squares = [each.detach().square().sum() for each in run.main.model.parameters()]
        return Found(gap(run), held_out["ece"], held_out["loss"], float(torch.stack(squares).sum().sqrt()))


@pytest.fixture(autouse=True)
def _trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*TRUST)


EFFECTS = [
    ("mlp", "gap", 0.5, ("model.dropout=0.5",)),
    ("mlp", "gap", 0.5, ("optimizer.weight_decay=3",)),
    ("mlp", "norm", 0.8, ("optimizer.weight_decay=3",)),
    ("mlp", "gap", 0.9, ("regularization=[label_smoothing]",)),
    ("mlp", "gap", 0.85, ("augment=[mixup]",)),
    ("mlp", "ece", 0.7, ("augment=[mixup]",)),
    ("mlp", "gap", 0.5, ("augment=[cutmix]",)),
    ("mlp", "ece", 0.5, ("regularization=[sam]", "regularization.sam.rho=0.2")),
    ("vit", "gap", 0.9, ("model.attention_dropout=0.3",)),
    ("vit", "gap", 0.9, ("regularization=[stochastic_depth]", "regularization.stochastic_depth.rate=0.5")),
    ("vit", "ece", 0.8, ("regularization=[stochastic_depth]", "regularization.stochastic_depth.rate=0.5")),
    ("text", "gap", 0.9, ("augment=[mixup]", "augment.mixup.alpha=1")),
    ("text", "ece", 0.8, ("augment=[mixup]", "augment.mixup.alpha=1")),
    ("text", "ece", 0.9, ("regularization=[label_smoothing]",)),
    ("clean", "ece", 0.7, ("regularization=[label_smoothing]", "regularization.label_smoothing.smoothing=0.02")),
]


CASES = [(*effect, seed) for effect in EFFECTS for seed in ((1,) if effect[0] in ("vit", "text") else (0, 1))]


@pytest.mark.parametrize(
    ("name", "what", "factor", "words", "seed"),
    CASES,
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_the_effect(name: str, what: str, factor: float, words: tuple[str, ...], seed: int) -> None:
    plain, regular = after(name, seed), after(name, seed, *words)
    assert getattr(regular, what) < factor * getattr(plain, what)


@pytest.mark.parametrize("seed", [0, 1])
def test_norms_train_what_would_not_train(seed: int) -> None:
    """Six convolutions and a high rate: without a norm the loss stays that of a guess among ten, with either it falls."""
    words = ("model=cnn", "model.depth=3", "model.width=8", "model.dropout=0", f"seed={seed}", "training.eval_every=0")
    words = (*words, "optimizer=sgd", "optimizer.lr=0.1", "scheduler=constant", "training.max_steps=60")
    found = {}
    for norm in ("none", "batch", "layer"):
        with TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
            found[norm] = judged(train(build(Path(folder), *words, f"model.norm={norm}")))["loss"]
    assert found["none"] > 2.25
    assert max(found["batch"], found["layer"]) < 0.75 * found["none"]
