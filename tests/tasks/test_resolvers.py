"""Entries that follow the data's problem."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from launcher.config import resolvers
from launcher.errors import ConfigError


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "a.B"),
        ({"problem": "classification"}, "a.B"),
        ({"problem": "regression"}, "c.D"),
        ({"problem": None}, "a.B"),
    ],
)
def test_by_problem(data: dict[str, str | None], expected: str) -> None:
    resolvers.register()
    config = OmegaConf.create({"data": data, "model": {"_target_": "${by_problem:${oc.select:data.problem},a.B,c.D}"}})
    assert config.model._target_ == expected


def test_the_other_problem_is_refused_with_what_fits() -> None:
    with pytest.raises(
        ConfigError,
        match=r"model=logistic_regression is for classification, .*\(data\.problem\)\. For it there are: .*ridge",
    ) as caught:
        resolvers.by_problem("regression", "sklearn.linear_model.LogisticRegression", None)
    assert "naive_bayes" not in str(caught.value)
    with pytest.raises(ConfigError, match="model=lasso is for regression"):
        resolvers.by_problem("classification", None, "sklearn.linear_model.Lasso")
    with pytest.raises(ConfigError, match=r"data\.problem=regresion: .* Did you mean 'regression'"):
        resolvers.by_problem("regresion", "a", "b")


def test_the_message_survives_omegaconf() -> None:
    resolvers.register()
    config = OmegaConf.create({"x": "${by_problem:regression,a.B,null}"})
    with pytest.raises(InterpolationResolutionError) as caught:
        _ = config.x
    assert str(resolvers.refusal(caught.value)).startswith("model=a.B is for classification")
    assert resolvers.refusal(ValueError("other")) is None
