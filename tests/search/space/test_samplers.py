"""Model-based search beside random draws, as the presets choose it, and that it goes on as if it had never been killed."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from hydra.types import RunMode
from omegaconf import DictConfig
from optuna.trial import TrialState

from launcher.config import compose
from launcher.errors import ConfigError
from launcher.search.space.dimensions import Directions
from launcher.search.space.samplers import sampler_of
from launcher.search.study.storage import open_storage
from launcher.search.study.study import Study
from tests.search.space.test_dimensions import parsed

WORDS = ("x=interval(-5,10)", "y=interval(0,15)")


def sampler_node(search: str) -> DictConfig:
    """The sampler that a preset chooses."""
    with compose.session() as hydra:
        node = hydra.compose_config("config", [f"search={search}"], RunMode.MULTIRUN).hydra.sweeper.sampler
    assert isinstance(node, DictConfig)
    return node


THEIRS = ("grid", "random", "tpe", "cmaes", "nsgaii", "nsgaiii", "motpe", "gp", "qmc")
"""The samplers of hydra-optuna-sweeper, by its names."""


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", THEIRS)
def test_each_sampler_of_hydra_optuna_sweeper_proposes(tmp_path: Path, name: str) -> None:
    """By its name beside `hydra/sweeper=optuna`; again, the same points, which another seed changes."""
    space = parsed("x=range(5)", "y=range(4)") if name == "grid" else parsed(*WORDS)
    directions: Directions = ["minimize", "maximize"] if name in ("nsgaii", "nsgaiii", "motpe") else ["minimize"]
    with compose.session() as hydra:
        words = ["hydra/sweeper=optuna", f"hydra/sweeper/sampler={name}"]
        sweeper = hydra.compose_config("config", words, RunMode.MULTIRUN).hydra.sweeper
    assert (sweeper.n_trials, sweeper.n_jobs) == (20, 2)
    drawn = []
    for number, seed in enumerate((3, 3, 4)):
        own = tmp_path / str(number)
        own.mkdir()
        study = Study(open_storage(None, own), "s", directions, own, space, sampler_of(sweeper.sampler, seed, space))
        points = []
        for _ in range(11):
            claim = study.ask()
            assert claim is not None
            points.append(tuple(claim.params.values()))
            study.tell(claim, TrialState.COMPLETE, [bowl(*points[-1]), *points[-1][: len(directions) - 1]])
        drawn.append(points)
    assert drawn[0] == drawn[1]
    assert (drawn[0] == drawn[2]) == (name == "grid")
    assert len(set(drawn[0])) > 8


def bowl(x: float, y: float) -> float:
    """A long bent valley, from the Branin function's first term; its floor is 0."""
    return (y - 0.129 * x**2 + 1.592 * x - 6) ** 2 + 0.1 * (x - 2) ** 2


def open_study(folder: Path, node: DictConfig, seed: int, n_trials: int) -> Study:
    folder.mkdir(exist_ok=True)
    space = parsed(*WORDS)
    return Study(
        open_storage(None, folder), "s", ["minimize"], folder, space, sampler_of(node, seed, space), n_trials=n_trials
    )


def values(study: Study, stop: int | None = None) -> list[float]:
    """Ask and tell, one after the other, to the end or until `stop` trials are there."""
    while stop is None or len(study.trials()) < stop:
        claim = study.ask()
        if claim is None:
            break
        study.tell(claim, TrialState.COMPLETE, [bowl(**claim.params)])
    return [trial.values[0] for trial in study.trials()]


@pytest.mark.parametrize(("search", "seeds", "num"), [("bayes", 5, 40), ("gp", 3, 18), ("cmaes", 3, 80)])
def test_it_beats_random_draws(tmp_path: Path, search: str, seeds: int, num: int) -> None:
    best = {
        name: [
            min(values(open_study(tmp_path / f"{name}-{seed}", sampler_node(name), seed, num))) for seed in range(seeds)
        ]
        for name in (search, "random")
    }
    assert statistics.median(best[search]) < 0.5 * statistics.median(best["random"])


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_the_start_is_as_long_as_the_search_asks_for(name: str) -> None:
    """A quarter of the trials is drawn before there is a model, from 3 to 8; a number that is given stays."""
    searches = {"tpe": "bayes", "gp": "gp"}
    node = sampler_node(searches[name])
    for num, startup in ((4, 3), (12, 3), (24, 6), (48, 8), (1000, 8), (None, 8)):
        assert sampler_of(node, 0, parsed(*WORDS), num)(0)._n_startup_trials == startup  # type: ignore[attr-defined]  # both have it
    node.n_startup_trials = 17
    assert sampler_of(node, 0, parsed(*WORDS), 24)(0)._n_startup_trials == 17  # type: ignore[attr-defined]


def test_another_process_goes_on_with_the_same_proposals(tmp_path: Path) -> None:
    node = sampler_node("bayes")
    whole = values(open_study(tmp_path / "whole", node, 3, 20))
    for stop in (5, 13, None):
        found = values(open_study(tmp_path / "parts", node, 3, 20), stop)
    assert found == whole


def test_a_sampler_that_is_none_is_refused() -> None:
    for target in ("optuna.samplers.TPESamplr", "os.system"):
        with pytest.raises(ConfigError, match=r"hydra\.sweeper\.sampler: "):
            sampler_of(DictConfig({"_target_": target}), 0, parsed(*WORDS))
