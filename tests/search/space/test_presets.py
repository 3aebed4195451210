"""Options that are searched and have a space of their own, and trials that are for something else than their sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Launch

WIDE = """# @package _global_
model:
  width: 32
hydra:
  sweeper:
    params:
      optimizer.lr: interval(0.001,0.01)
"""
NARROW = """# @package _global_
model:
  width: 8
hydra:
  sweeper:
    n_trials: 3
    params:
      training.batch_size: choice(32,64)
"""
WORDS = ("--config-dir", "mine", "-m", "action=plan", "search=random", "model=mlp", "training.max_epochs=1")


@pytest.fixture
def mine(tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "wide.yaml").write_text(WIDE)
    (tmp_path / "mine" / "experiment" / "narrow.yaml").write_text(NARROW)


@pytest.mark.usefixtures("mine")
def test_searched_presets_bring_their_spaces(launch: Launch) -> None:
    """Each where it is drawn. What is the whole sweep's, such as a number of trials, one of them can not say alone."""
    both = launch(*WORDS, "experiment=wide,narrow", "hydra.sweeper.n_trials=6").stdout
    assert "when experiment=wide: optimizer.lr: 0.0010 to 0.0100\n" in both
    assert "when experiment=narrow: training.batch_size: 32, 64\n" in both
    typed = launch(*WORDS, "experiment=wide,narrow", "hydra.sweeper.n_trials=6", "optimizer.lr=0.1").stdout
    assert "experiment=wide:" not in typed, "a word of the command wins"
    refused = launch(*WORDS, "experiment=wide,narrow", "hydra.sweeper.timeout=1h")
    assert refused.returncode == 2
    assert (
        "experiment=narrow is searched, and sets hydra.sweeper.n_trials=3: that is the whole sweep's" in refused.stderr
    )
    grid = launch(
        *(word for word in WORDS if word != "search=random"), "experiment=wide,narrow", "hydra.sweeper.n_trials=6"
    )
    assert grid.returncode == 2
    assert "what is asked for under a condition (experiment=wide) has no place in a grid" in grid.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("task=tabular", "data=wine,diabetes"),
            "data=diabetes: the trial is for val/rmse to minimize, the sweep for val/accuracy to maximize; "
            "hydra.sweeper.metrics names what all of them have",
        ),
        (
            ("model=mlp", "objective.metric=val/accuracy,val/f1"),
            "objective.metric=val/f1: the trial is for val/f1 to maximize, the sweep for val/accuracy to maximize",
        ),
        (
            ("task=tabular", "data=wine,diabetes", "hydra.sweeper.metrics=val/accuracy"),
            "data=diabetes: hydra.sweeper.metrics: TabularRegression has no metric 'val/accuracy'",
        ),
    ],
)
def test_trials_for_something_else_are_refused(
    launch: Launch, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    """Or one's number would stand under the other's name, and be the best of both."""
    refused = launch("-m", *words)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert not (tmp_path / "multirun").exists()


def test_trials_of_several_tasks_are_for_what_all_have(launch: Launch, tmp_path: Path) -> None:
    words = ("-m", "action=plan", "task=tabular", "data=wine,diabetes", "model=mlp", "training.max_epochs=2")
    named = launch(*words, "hydra.sweeper.metrics=val/loss", "hydra.sweeper.direction=minimize")
    assert named.returncode == 0, named.stderr
    assert "4 epochs" in named.stdout
