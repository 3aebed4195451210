"""The search space: what each word spans, the whole product, and draws that follow from the seed and the trial's number."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
from optuna.distributions import FloatDistribution, IntDistribution

from launcher.errors import ConfigError
from launcher.search.space import dimensions as space
from launcher.search.space.dimensions import Dimension
from launcher.search.space.samplers import GridSampler, RandomSampler
from launcher.search.study.storage import open_storage
from launcher.search.study.study import Study


def parsed(*words: str) -> list[Dimension]:
    return [space.dimension(each) for each in OverridesParser.create().parse_overrides(list(words))]


def study(folder: Path, sampler: Any, *words: str, n_trials: int | None = None) -> Study:
    folder.mkdir(exist_ok=True)
    return Study(
        open_storage(None, folder), "s", ["minimize"], folder, parsed(*words), lambda number: sampler, n_trials=n_trials
    )


def points(found: Study) -> list[list[str]]:
    claims = []
    while (claim := found.ask()) is not None:
        claims.append(space.overrides(claim.params))
    return claims


def test_a_grid_is_the_exact_product_the_last_fastest(tmp_path: Path) -> None:
    words = ("optimizer.lr=1e-3,1e-2", "model=mlp,cnn", "seed=range(3)")
    size = space.grid_size(parsed(*words))
    assert points(study(tmp_path, GridSampler(parsed(*words)), *words, n_trials=size)) == [
        [f"optimizer.lr={rate}", f"model={model}", f"seed={seed}"]
        for rate in ("0.001", "0.01")
        for model in ("mlp", "cnn")
        for seed in (0, 1, 2)
    ]


def test_lists_and_quoted_words_stay_whole(tmp_path: Path) -> None:
    words = ("tracker=[],[tensorboard]", "name='a, b','c=d'", "flag=true,null")
    found = points(study(tmp_path, GridSampler(parsed(*words)), *words, n_trials=8))
    read = [[OverridesParser.create().parse_override(word).value() for word in point] for point in found]
    assert [(lists, str(quoted), flag) for lists, quoted, flag in read] == [
        (lists, quoted, flag) for lists in ([], ["tensorboard"]) for quoted in ("a, b", "c=d") for flag in (True, None)
    ]


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_choices_that_python_takes_for_equal_stay_apart(tmp_path: Path, sampler: str) -> None:
    """1 may be a number of steps, and 1.0 a share of them."""
    words = ("a=1,1.0,true", "b=choice(0,false)", "c=1.5,2")
    made = GridSampler(parsed(*words)) if sampler == "grid" else RandomSampler(0)
    found = study(tmp_path, made, *words, n_trials=12 if sampler == "grid" else 60)
    read = [[OverridesParser.create().parse_override(word).value() for word in point] for point in points(found)]
    known = [[(type(value), value) for value in point] for point in read]
    kinds = {tuple(point) for point in known}
    assert kinds == set(itertools.product(
        [(int, 1), (float, 1.0), (bool, True)], [(int, 0), (bool, False)], [(float, 1.5), (int, 2)]
    ))  # fmt: skip
    again = study(tmp_path, made, *words, n_trials=1).trials()
    assert [space.overrides(space.point(trial.params)) for trial in again] == points_of(found)


def points_of(found: Study) -> list[list[str]]:
    return [space.overrides(space.point(trial.params)) for trial in found.trials()]


def test_an_interval_has_no_grid() -> None:
    with pytest.raises(
        ConfigError, match=r"optimizer\.lr=interval\(0\.1,1\): an interval has no grid; search=random draws from it"
    ):
        space.grid_size(parsed("optimizer.lr=interval(0.1,1)"))


def test_the_grammar_is_that_of_hydra_optuna_sweeper() -> None:
    words = [
        "a=1,2", "b=interval(1,5)", "c=tag(log,interval(1e-5,1e-1))", "d=range(0,8,2)", "e=choice(x,y)",
        "f=int(interval(1,9))", "g=range(-5.5,5.5,step=0.5)", "h=range(0,1,0.1)",
    ]  # fmt: skip
    theirs = create_params_from_overrides(words)[0]
    assert {each.key: each.distribution for each in parsed(*words)} == theirs


def test_what_that_grammar_has_no_word_for() -> None:
    whole, log = parsed("x=tag(int,log,interval(16,256))", "y=tag(log,range(1,100))")
    assert whole.distribution == IntDistribution(16, 256, log=True)
    assert log.distribution == IntDistribution(1, 99, log=True)


def draws(folder: Path, word: str, num: int = 200, seed: int = 0) -> list[Any]:
    (dimension,) = parsed(word)
    sampler = RandomSampler(seed)
    trials = [optuna.trial.create_trial(value=0.0) for _ in range(num)]
    for number, trial in enumerate(trials):
        trial.number = number
    throwaway = optuna.create_study()
    return [sampler.sample_independent(throwaway, trial, dimension.key, dimension.distribution) for trial in trials]


def test_a_draw_is_a_function_of_seed_and_number(tmp_path: Path) -> None:
    both = ("optimizer.lr=interval(0,1)", "model=mlp,cnn,vit")
    found = points(study(tmp_path / "a", RandomSampler(3), *both, n_trials=10))
    assert points(study(tmp_path / "b", RandomSampler(3), *both, n_trials=12))[:10] == found
    assert points(study(tmp_path / "c", RandomSampler(3), both[0], n_trials=10)) == [point[:1] for point in found], (
        "another key changes nothing"
    )
    assert points(study(tmp_path / "d", RandomSampler(4), *both, n_trials=10)) != found
    assert len({tuple(point) for point in found}) == 10


@pytest.mark.parametrize(
    ("word", "low", "high", "change"),
    [
        ("x=interval(-2,6)", -2, 6, float),
        ("x=tag(log,interval(1e-5,1e-1))", -5, -1, math.log10),
        ("x=tag(log,range(1,100))", math.log(0.5), math.log(99.5), math.log),
        ("x=range(0,80,2)", -0.5, 78.5, float),
        ("x=int(interval(1,40))", 0.5, 40.5, float),
    ],
)
def test_numbers_are_drawn_evenly(tmp_path: Path, word: str, low: float, high: float, change: Any) -> None:
    values = draws(tmp_path, word, 2000)
    (dimension,) = parsed(word)
    distribution = dimension.distribution
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    assert all(distribution.low <= value <= distribution.high for value in values)
    if isinstance(distribution, IntDistribution):
        assert all(isinstance(value, int) and (value - distribution.low) % distribution.step == 0 for value in values)
    halves = np.histogram([change(value) for value in values], 2, (low, high))[0]
    assert halves == pytest.approx([1000, 1000], abs=130)


def test_choices_are_drawn_evenly(tmp_path: Path) -> None:
    for word in ("x=a,b,c,d", "x=choice(a,b,c,d)"):
        values = draws(tmp_path, word, 400)
        assert [values.count(option) for option in "abcd"] == pytest.approx([100] * 4, abs=30)


def test_a_logarithm_starts_above_zero() -> None:
    with pytest.raises(ConfigError, match="a logarithmic interval starts above zero"):
        parsed("x=tag(log,interval(0,1))")
