"""Stochastic depth: the rates, the mean, and that evaluation has none of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from launcher.functional.drop_path import drop_path
from tests.support.runs import build

CHOSEN = ("regularization=[stochastic_depth]", "regularization.stochastic_depth.rate=0.4")


@pytest.mark.parametrize(
    "words", [("model=vit", "model.depth=4"), ("task=text_classification", "data=stdlib_snippets", "model.depth=4")]
)
def test_rates_rise_linearly_and_only_training_knows_them(tmp_path: Path, words: tuple[str, ...]) -> None:
    run = build(tmp_path, *words, *(() if "model=vit" in words else ("model=transformer",)), *CHOSEN)
    model: Any = run.main.model
    assert [block.drop_path for block in model.blocks] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    batch = run.loaders.train.samples.fetch(torch.arange(8))
    plain = {name: module.p for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)}
    for name in plain:
        model.get_submodule(name).p = 0.0
    for block in model.blocks:
        block.attention_dropout = 0.0
    judged = run.task.forward(model.eval(), batch)
    assert torch.equal(judged, run.task.forward(model, batch))
    assert not torch.allclose(judged, run.task.forward(model.train(), batch))
    for block in model.blocks:
        block.drop_path = 0.0
    assert torch.allclose(judged, run.task.forward(model, batch), atol=1e-5)


def test_a_branch_is_left_out_sample_by_sample_and_its_mean_stays() -> None:
    torch.manual_seed(0)
    branch = torch.rand(20_000, 3, 2) + 1
    found = drop_path(branch, 0.3)
    ratio = found / branch
    assert torch.allclose(ratio, ratio[:, :1, :1].expand_as(ratio)), "a sample's branch is whole or gone"
    assert sorted(set(ratio.flatten().round(decimals=4).tolist())) == pytest.approx([0, 1 / 0.7], abs=1e-4)
    assert float((ratio[:, 0, 0] == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert drop_path(branch, 0.0) is branch
