"""Mixed precision: what is computed in which type, how near the curve stays, and half precision's loss scale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from launcher.artifacts.checkpoint.checkpoints import Checkpoints
from launcher.memory.precision import Precision
from tests.support.fits import TRUST, fit, values

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "dtype"), [("bfloat16", torch.bfloat16), ("float16", torch.float16), ("float32", torch.float32)]
)
def test_products_have_the_type_and_weights_and_loss_stay(name: str, dtype: torch.dtype) -> None:
    precision = Precision(name)  # type: ignore[arg-type]
    model = nn.Linear(4, 3)
    with precision.autocast(CPU):
        output = model(torch.randn(5, 4))
        loss = nn.functional.cross_entropy(output, torch.tensor([0, 1, 2, 0, 1]))
    assert output.dtype is dtype
    assert loss.dtype is torch.float32
    loss.backward()
    assert model.weight.dtype is model.weight.grad.dtype is torch.float32  # type: ignore[union-attr]
    assert precision.mixed == (name != "float32")
    assert (precision.scaler(CPU) is not None) == (name == "float16")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize(
    "words",
    [("optimizer=adamw",), ("optimizer=sgd", "scheduler.warmup=0", "training.clip_norm=1")],
    ids=["adamw", "sgd"],
)
def test_the_curve_stays_near_single_precisions(tmp_path: Path, precision: str, words: tuple[str, ...]) -> None:
    result = fit(tmp_path / precision, "training.max_steps=60", f"precision={precision}", *words)
    fit(tmp_path / "fp32", "training.max_steps=60", *words)
    mixed, single = values(tmp_path / precision), values(tmp_path / "fp32")
    assert mixed == pytest.approx(single, rel=0.03)
    assert mixed != single
    assert result["metrics"]["val/accuracy"] > 0.7


def test_portions_are_scaled_once(tmp_path: Path) -> None:
    fit(tmp_path / "whole", "training.max_steps=40", "precision=fp16")
    fit(tmp_path / "cut", "training.max_steps=40", "precision=fp16", "training.accumulate=4")
    assert values(tmp_path / "cut") == pytest.approx(values(tmp_path / "whole"), rel=0.01)


def scale(folder: Path, step: int) -> float:
    state = Checkpoints(folder / "checkpoints", keep=1).load(step)
    found: float = state["parallel"]["scaler"]["scale"]
    return found


def test_an_overflow_leaves_the_step_out_and_lowers_the_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*next(iter(TRUST.items())))
    loud = [
        "task._target_=tests.support.odd.Loud",
        "+task.times=1e4",
        "optimizer=sgd",
        "optimizer.lr=1e-6",
        "scheduler=constant",
    ]
    words = [
        "precision=fp16",
        "training.max_steps=30",
        "training.checkpoint_every=1",
        "training.keep_checkpoints=30",
        *loud,
    ]
    fit(tmp_path, *words)
    losses = values(tmp_path)
    scales = [scale(tmp_path, step) for step in range(1, 31)]
    skipped = sum(before > after for before, after in zip([65536.0, *scales], scales, strict=False))
    assert 1 <= skipped < 30
    assert scales[-1] == 65536 * 0.5**skipped
    first, second = (
        Checkpoints(tmp_path / "checkpoints", keep=30).load(step)["parts"]["main"]["model"] for step in (1, skipped)
    )
    assert all(torch.equal(first[name], second[name]) for name in first), "weights wait while gradients overflow"
    assert losses[-1] < losses[0]


def test_the_scale_survives_a_kill(tmp_path: Path) -> None:
    words = ["precision=fp16", "training.checkpoint_every=10", "training.eval_every=null"]
    fit(tmp_path / "whole", "training.max_steps=30", *words)
    fit(tmp_path / "cut", "training.max_steps=30", *words)
    for path in (tmp_path / "cut" / "checkpoints").glob("step-30/*"):
        path.unlink()  # what a torn disk leaves: the run goes on from step 20
    fit(tmp_path / "cut", "training.max_steps=30", *words, resume=True)
    assert values(tmp_path / "cut") == values(tmp_path / "whole")
    assert scale(tmp_path / "cut", 30) == scale(tmp_path / "whole", 30)
    assert json.loads((tmp_path / "cut" / "result.json").read_text())["steps"] == 30
