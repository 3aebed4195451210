"""A search begins with the points that it is given, and the rest is drawn as it would have been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from launcher.errors import ConfigError
from launcher.search.space import starting_points
from launcher.search.space.dimensions import Dimension
from launcher.search.space.samplers import RandomSampler
from launcher.search.study.storage import open_storage
from launcher.search.study.study import Study
from tests.search.test_conditions import KERNELS, dimensions


def config(**choices: str) -> DictConfig:
    return OmegaConf.create({"hydra": {"runtime": {"choices": choices}}, "seed": 0})


def claims(folder: Path, own: list[Dimension], given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    folder.mkdir()
    study = Study(
        open_storage(None, folder), "s", ["minimize"], folder, own, lambda _: RandomSampler(1), n_trials=8, points=given
    )
    found = []
    while (claim := study.ask()) is not None:
        found.append(claim.params)
    return found


def test_what_is_given_comes_first_and_what_is_left_open_is_drawn(tmp_path: Path) -> None:
    own = dimensions(KERNELS)
    wanted = [{"model": "svm", "model.C": 1.0, "model.kernel": "rbf", "model.gamma": 0.01}, {"model": "knn"}]
    plain, found = (
        claims(tmp_path / "plain", own, []),
        claims(tmp_path / "given", own, starting_points.read(wanted, [], own, config())),
    )
    assert found[0] == wanted[0]
    assert found[1]["model"] == "knn"
    assert found[1]["model.size"] in (1, 2, 3)
    assert found[2:] == plain[2:], "the draws of the others follow from their numbers"


def test_a_point_of_a_choice_that_was_left_out_is_left_out() -> None:
    own = dimensions(KERNELS | {"model": "knn,tree"})
    own = [each for each in own if "svm" not in each.name]
    assert starting_points.read([{"model": "svm", "model.C": 1.0}, {"model": "tree"}], [], own, config()) == [
        {"model": "tree"}
    ]
    alone = dimensions({"model.C": "interval(0.5,2)"})
    given = [{"model": "svm", "model.C": 1.0}, {"model": "knn", "model.size": 2}]
    assert starting_points.read(given, ["model=svm"], alone, config()) == [{"model.C": 1.0}]
    assert starting_points.read(given, [], alone, config(model="svm")) == [{"model.C": 1.0}]


def test_the_config_s_own_point_comes_first_where_it_lies_in_the_space() -> None:
    """Its numbers, its choices by their words, and what is asked for under a condition of them; with a part outside, nothing."""
    given = {"model": "mlp", "optimizer": {"lr": 0.01, "clip": None}, "n": 4}
    own = OmegaConf.merge(config(), given)
    assert isinstance(own, DictConfig)
    rate = {"optimizer.lr": "tag(log,interval(1e-4,1e-1))"}
    assert starting_points.default(dimensions(rate | {"n": "1,4"}), own) == {"optimizer.lr": 0.01, "n": 4}
    assert starting_points.default(dimensions(rate | {"n": "range(0,9,2)"}), own) == {"optimizer.lr": 0.01, "n": 4}
    assert starting_points.default(dimensions(rate | {"n": "range(1,9,2)"}), own) == {}, "not on the lattice"
    assert starting_points.default(dimensions(rate | {"optimizer.clip": "interval(0.1,1)"}), own) == {}
    assert starting_points.default(dimensions({"optimizer.lr": "interval(0.1,1)"}), own) == {}
    chosen = OmegaConf.merge(config(model="svm"), {"model": {"C": 1.0, "kernel": "rbf", "gamma": 0.01, "size": 9}})
    assert isinstance(chosen, DictConfig)
    found = starting_points.default(dimensions(KERNELS), chosen)
    assert {name.partition(" when ")[0]: value for name, value in found.items()} == {
        "model": "svm", "model.C": 1.0, "model.kernel": "rbf", "model.gamma": 0.01,
    }  # fmt: skip
    both = starting_points.read(
        [{"optimizer.lr": 0.05}, {"optimizer.lr": 0.01}], [], dimensions(rate), own, default_first=True
    )
    assert both == [{"optimizer.lr": 0.01}, {"optimizer.lr": 0.05}]


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"optimizer.lrr": 0.1}, r"optimizer\.lrr is not searched\. Did you mean 'optimizer\.lr'"),
        ({"optimizer.lr": 5}, r"optimizer\.lr=5 is not in optimizer\.lr=interval\(0\.1,1\)"),
        ("optimizer.lr=1", r"expected a list of points such as \{optimizer\.lr: 0\.001\}"),
    ],
)
def test_a_wrong_point_is_refused(point: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"hydra\.sweeper\.points: {message}"):
        starting_points.read([point], [], dimensions({"optimizer.lr": "interval(0.1,1)"}), config())
