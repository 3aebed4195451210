"""Several at once, killed and resumed; what a run's other parts have to offer; clipping."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from launcher.core.run import Run
from launcher.errors import ConfigError
from tests.support.fits import config_of, curve
from tests.support.odd import Interrupts
from tests.support.runs import build, judged, train

ALL = (
    (
        "model=cnn",
        "model.dropout=0.2",
        "augment=[mixup,cutmix]",
        "regularization=[ema,sam,label_smoothing]",
        "training.clip_norm=0.5",
    ),
    (
        "model=vit",
        "augment=[mixup]",
        "regularization=[stochastic_depth,ema,label_smoothing]",
        "training.clip_value=0.01",
    ),
)


@pytest.mark.parametrize("words", ALL, ids=["cnn", "vit"])
def test_a_resume_is_bit_for_bit(tmp_path: Path, words: tuple[str, ...]) -> None:
    words = (
        *words,
        "monitor=[gradient_health]",
        "stopping=[val_loss,val_metric,combined]",
        "training.max_steps=14",
        "training.eval_every=4",
    )
    words = (*words, "training.batch_size=16", "training.accumulate=2")
    whole = train(build(tmp_path / "whole", *words, extra=[Interrupts(10**9)]))
    half = train(build(tmp_path / "half", *words, extra=[Interrupts(6)]))
    assert half.stop == "preempted"
    assert half.progress.step == 6
    rest = build(tmp_path / "half", *words, extra=[Interrupts(10**9)])
    state = rest.checkpoints.load_last()
    assert state is not None
    rest.restore(state)
    train(rest)
    assert rest.progress.step == whole.progress.step == 14
    for ours, theirs in ((rest.main.model, whole.main.model), (rest.judged_model(), whole.judged_model())):
        mine, others = ours.state_dict(), theirs.state_dict()
        assert all(torch.equal(mine[name], others[name]) for name in others)
    assert curve(tmp_path / "half") == curve(tmp_path / "whole")
    assert curve(tmp_path / "half", "val/ece") == curve(tmp_path / "whole", "val/ece")
    kept = [algorithm.state_dict() for algorithm in whole.algorithms]
    for mine, other in zip([algorithm.state_dict() for algorithm in rest.algorithms], kept, strict=True):
        assert {k: v for k, v in mine.items() if k != "average"} == {k: v for k, v in other.items() if k != "average"}


def test_all_at_once_learns(tmp_path: Path) -> None:
    words = [
        "augment=[mixup]",
        "regularization=[label_smoothing,ema]",
        "regularization.ema.decay=0.9",
        "training.clip_norm=1",
    ]
    run = train(build(tmp_path, *words, "training.max_steps=150", "training.eval_every=0"))
    assert judged(run)["accuracy"] > 0.8


def clipped(folder: Path, *words: str) -> tuple[Run, torch.Tensor]:
    """A run after one step of plain gradient descent at rate 1, and the step it took."""
    sgd = ["optimizer=sgd", "optimizer.lr=1", "optimizer.momentum=0", "optimizer.nesterov=false", "scheduler=constant"]
    run = build(folder, *sgd, "training.max_steps=1", *words, double=True)
    before = torch.cat([each.detach().clone().flatten() for each in run.main.model.parameters()])
    train(run)
    return run, before - torch.cat([each.detach().flatten() for each in run.main.model.parameters()])


def test_clipping_by_value_and_by_norm(tmp_path: Path) -> None:
    _, plain = clipped(tmp_path / "plain")
    assert float(plain.abs().max()) > 0.02
    _, by_value = clipped(tmp_path / "value", "training.clip_value=0.01")
    assert torch.allclose(by_value, plain.clamp(-0.01, 0.01), rtol=1e-9, atol=1e-15)
    _, by_norm = clipped(tmp_path / "norm", "training.clip_norm=0.05")
    assert torch.allclose(by_norm, plain * (0.05 / (plain.norm() + 1e-6)), rtol=1e-9, atol=1e-15)
    _, both = clipped(tmp_path / "both", "training.clip_value=0.01", "training.clip_norm=0.05")
    limited = plain.clamp(-0.01, 0.01)
    assert torch.allclose(both, limited * min(1.0, 0.05 / float(limited.norm() + 1e-6)), rtol=1e-9, atol=1e-15)


REFUSED = [
    (("task=text_classification", "augment=[cutmix]"), "augment=[cutmix]: cutmix needs images, and TextClassification has none. Of conf/task these have: image_classification"),
    (("task=pretrain_clm", "augment=[mixup]"), "augment=[mixup]: mixup needs mixing, and PretrainCLM has none"),
    (("task=pretrain_clm", "augment=[mixup]"), "augment=[mixup]: mixup needs classes, and PretrainCLM has none"),
    (("task=tabular", "data=diabetes", "model=mlp", "regularization=[label_smoothing]"), "label_smoothing needs logits, and TabularRegression has none"),
    (("regularization=[stochastic_depth]",), "regularization=[stochastic_depth]: stochastic_depth needs residual blocks, and CNN has none. Of conf/model these have: transformer, vit"),
    (("task=tabular", "regularization=[ema]"), "regularization=[ema]: RandomForestClassifier is fitted in one call; there are no steps that ema could change"),
    (("task=tabular", "stopping=[val_loss]"), "stopping=[val_loss]: RandomForestClassifier is fitted in one call"),
    (("parallel._target_=tests.support.noisy.Lacking", "regularization=[ema]"), "regularization=[ema]: ema needs full params, and Lacking has none"),
    (("parallel._target_=tests.support.noisy.Lacking", "regularization=[sam]"), "regularization=[sam]: sam needs closure, and Lacking has none"),
    (("parallel._target_=tests.support.noisy.Lacking", "monitor=[gradient_health]"), "monitor=[gradient_health]: gradient_health needs grad norm, and Lacking has none"),
    (("augment=[mixup]", "augment.mixup.alpha=0"), "augment.mixup.alpha=0: expected a number above 0"),
    (("regularization=[ema]", "regularization.ema.decay=1"), "regularization.ema.decay=1: expected a number above 0 and below 1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_what_has_not_what_it_takes_is_refused_by_name(
    words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHER_TRUST", "tests.support.noisy.*")
    with pytest.raises(ConfigError) as refusal:
        config_of(*words)
    assert message in str(refusal.value)


@pytest.mark.parametrize("task", ["image_classification", "text_classification", "tabular"])
def test_classifiers_take_what_makes_sense_for_them(task: str) -> None:
    words = [
        "augment=[mixup]",
        "regularization=[label_smoothing,ema,sam]",
        "stopping=[val_loss,val_metric,combined,time_budget]",
    ]
    config = config_of(
        f"task={task}", *(["model=mlp"] if task == "tabular" else []), *words, "monitor=[gradient_health]"
    )
    assert config.stopping.val_metric.metric == "val/accuracy"
    assert config.stopping.val_metric.direction == "maximize"
