"""Every part of the toolbox with every task: it trains it, or it is refused by name."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from launcher import CONF
from launcher.artifacts.checkpoint.tensors import pack
from launcher.config.groups import algorithms
from launcher.core.task import Task
from launcher.data.samples import Datasets
from launcher.errors import ConfigError
from launcher.train.build import build_task
from tests.support.fits import config_of, values
from tests.support.odd import Interrupts
from tests.support.runs import build, train

TASKS: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "pictures": (
        ("task=image_classification", "model=vit", "model.width=16", "model.depth=2", "model.patch_size=4"),
        frozenset(),
    ),
    "texts": (
        (
            "task=text_classification",
            "model=transformer",
            "model.width=16",
            "model.depth=1",
            "model.num_heads=2",
            "data.max_per_class=30",
            "data.min_per_class=20",
        ),
        frozenset({"cutmix"}),
    ),
    "language": (
        (
            "task=pretrain_clm",
            "model=llama",
            "model.width=16",
            "model.depth=1",
            "model.num_heads=2",
            "data.max_bytes=60000",
        ),
        frozenset({"mixup", "cutmix", "stochastic_depth"}),
    ),
    "classes of a table": (
        ("task=tabular", "data=breast_cancer", "model=mlp"),
        frozenset({"cutmix", "stochastic_depth"}),
    ),
    "quantities of a table": (
        ("task=tabular", "data=diabetes", "model=mlp"),
        frozenset({"mixup", "cutmix", "stochastic_depth", "label_smoothing"}),
    ),
    "a series": (
        ("task=forecasting", "model=mlp"),
        frozenset({"mixup", "cutmix", "stochastic_depth", "label_smoothing"}),
    ),
}
"""The words of each, and what makes no sense for it."""
SHORT = ("training.max_steps=2", "training.max_epochs=null", "training.batch_size=8", "stopping.val_loss.warmup=1")


def entries(group: str, without: frozenset[str] = frozenset()) -> list[str]:
    return sorted({path.stem for path in (CONF / group).glob("*.yaml")} - without)


@pytest.mark.parametrize("name", TASKS)
def test_each_trains_each_task(name: str, tmp_path: Path) -> None:
    """As few runs as there are optimizers; in each the next entry of every other group. (Schedules see no task.)"""
    words, without = TASKS[name]
    task = build_task(config_of(*words))
    made = task, task.datasets()
    stoppings = entries("stopping")
    regularizations, augments = entries("regularization", without), entries("augment", without)
    for number, optimizer in enumerate(entries("optimizer")):
        chosen = [f"optimizer={optimizer}", f"regularization=[{regularizations[number % len(regularizations)]}]"]
        chosen += [f"augment=[{augments[number % len(augments)]}]"] if augments else []
        chosen += [f"stopping=[val_loss,{stoppings[number % len(stoppings)]}]", "monitor=[gradient_health]"]
        folder = tmp_path / str(number)
        run = build(folder, *words, *SHORT, *chosen, made=made)
        before = [weight.detach().clone() for weight in run.main.model.parameters()]
        train(run)
        said = f"{name}: {' '.join(chosen)}"
        assert run.progress.step == 2, said
        assert all(math.isfinite(loss) for loss in values(folder)), said
        moved = [not torch.equal(*pair) for pair in zip(before, run.main.model.parameters(), strict=True)]
        assert any(moved), said


@pytest.mark.parametrize("name", [name for name, (_, without) in TASKS.items() if without])
def test_what_makes_no_sense_is_refused_by_name(name: str) -> None:
    words, without = TASKS[name]
    wrong = {group: sorted(without & set(entries(group))) for group in algorithms("changes")}
    with pytest.raises(ConfigError) as refused:
        config_of(*words, *(f"{group}=[{','.join(chosen)}]" for group, chosen in wrong.items()))
    for group, chosen in wrong.items():
        for entry in chosen:
            assert f"{group}=[{entry}]: {entry} needs" in str(refused.value)


@pytest.fixture(scope="module")
def digits() -> tuple[Task, Datasets]:
    task = build_task(config_of("model=mlp"))
    return task, task.datasets()


@pytest.mark.parametrize("optimizer", entries("optimizer"))
def test_each_optimizer_goes_on_from_a_checkpoint_bit_for_bit(
    optimizer: str, tmp_path: Path, digits: tuple[Task, Datasets]
) -> None:
    """Its moments, its numbers of steps and the momentum that the schedule has moved; of the weights and of the export."""
    words = (
        "model=mlp",
        f"optimizer={optimizer}",
        "scheduler=onecycle",
        "training.max_steps=9",
        "training.eval_every=0",
    )
    whole = train(build(tmp_path / "whole", *words, made=digits, extra=[Interrupts(10**9)]))
    half = train(build(tmp_path / "half", *words, made=digits, extra=[Interrupts(4)]))
    assert half.progress.step == 4
    rest = build(tmp_path / "half", *words, made=digits, extra=[Interrupts(10**9)])
    state = rest.checkpoints.load_last()
    assert state is not None
    rest.restore(state)
    train(rest)
    for ours, theirs in (
        (rest.main.model.state_dict(), whole.main.model.state_dict()),
        (rest.judged_model().state_dict(), whole.judged_model().state_dict()),
        (pack(rest.main.optimizer.state_dict())[1], pack(whole.main.optimizer.state_dict())[1]),
    ):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert values(tmp_path / "half") == values(tmp_path / "whole")
