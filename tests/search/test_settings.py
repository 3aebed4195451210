"""What the keys of hydra.sweeper may be, and what is said of one that it can not be."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from launcher.config import compose
from launcher.errors import ConfigError
from launcher.search.objectives import objectives_of
from launcher.search.settings import types
from launcher.search.space.definition import space_of


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("n_trials", "4", "a whole number at least 1 or null"),
        ("n_trials", 2.5, "a whole number at least 1 or null"),
        ("n_jobs", True, "a whole number at least 1 or null"),
        ("keep_trials", 0, "a whole number at least 1 or null"),
        ("ensemble", "many", "a whole number at least 1 or null"),
        ("trials_per_device", None, "a whole number at least 1"),
        ("devices_per_trial", -1, "a whole number at least 0 or null"),
        ("max_failure_rate", "some", "a number at least 0 and at most 1"),
        ("max_failure_rate", 1.5, "a number at least 0 and at most 1"),
        ("accept_changes", "no", "true or false"),
        ("accept_changes", "maybe", "true or false"),
        ("params", "optimizer.lr", "a mapping or null"),
        ("params", OmegaConf.create([1]), "a mapping or null"),
        ("points", OmegaConf.create({"optimizer.lr": 1}), "a list or null"),
    ],
)
def test_a_value_of_another_type_is_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^hydra\.sweeper\.{key}=.*: expected {message}$"):
        types(**{key: value})


def test_what_a_file_may_say() -> None:
    types(n_trials=None, n_jobs=3, max_failure_rate=1, params=OmegaConf.create({"a": "1,2"}), accept_changes=True)
    types(points=OmegaConf.create([{"a": 1}]), devices_per_trial=0, keep_trials=None, ensemble=5, trials_per_device=1)


@pytest.mark.parametrize(
    "word",
    ["hydra.sweeper.n_trials=1,2", "hydra/sweeper/sampler=grid,random", "action=plan,train", "worker=true,false", "search=random,tpe"],
)  # fmt: skip
def test_what_belongs_to_the_sweep_is_not_searched(word: str) -> None:
    key = word.partition("=")[0]
    message = f"^{word}: '{key}' belongs to the sweep as a whole"
    with compose.session() as hydra, pytest.raises(ConfigError, match=message):
        compose.parse(hydra, compose.CONFIG_NAME, ["optimizer.lr=1,2", word], sweep=True)
    with pytest.raises(ConfigError, match=message):
        space_of(dict([word.split("=")]), [], OverridesParser.create(), OmegaConf.create({"seed": 0}))


MODEL = "launcher.tasks.models.mlp.MLP"
TASK = "launcher.tasks.image_classification.ImageClassification"


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["val/loss", "val/loss"], "val/loss is named twice"),
        (
            ["val/acuracy", "parameters"],
            r"ImageClassification has no metric 'val/acuracy'\. Did you mean 'val/accuracy'",
        ),
        (["val/accuracy", "train/accuracy"], "has no metric 'train/accuracy'"),
        (["val/accuracy", "parametres"], r"has no metric 'parametres'\. Did you mean 'parameters'"),
    ],
)
def test_an_objective_that_no_trial_has_is_refused(metrics: list[str], message: str) -> None:
    config = OmegaConf.create(
        {
            "objective": {"metric": "val/loss", "direction": "minimize"},
            "task": {"_target_": TASK},
            "model": {"_target_": MODEL},
        }
    )
    with pytest.raises(ConfigError, match=rf"^hydra\.sweeper\.metrics: .*{message}"):
        objectives_of(config, metrics, ["minimize", "minimize"])
    assert objectives_of(config, "val/loss", ["minimize"]) == ["val/loss"], "a text is one metric"
    assert objectives_of(config, ["inference/mflop", "wall_s"], ["minimize", "minimize"]) == [
        "inference/mflop",
        "wall_s",
    ]
