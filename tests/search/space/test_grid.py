"""A grid that goes on: a point is known by its values, whatever the order of the words, the drivers and the kills."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import TrialState

from launcher.errors import ConfigError
from launcher.search.space import dimensions as space
from launcher.search.space.grid import GridSampler
from launcher.search.study.storage import open_storage
from launcher.search.study.study import Study
from tests.conftest import Launch
from tests.e2e.test_sweep import table

RATES, SIZES = "optimizer.lr=0.1,0.2,0.3", "training.batch_size=range(32,128,32)"
PRODUCT = sorted(itertools.product((0.1, 0.2, 0.3), (32, 64, 96)))


def opened(folder: Path, *words: str, asked: int | None = None) -> Study:
    """A driver's view of the study, with the words in that order."""
    dimensions = [space.dimension(each) for each in OverridesParser.create().parse_overrides(list(words))]
    sampler = GridSampler(dimensions)
    study = Study(open_storage(None, folder), "s", ["minimize"], folder, dimensions, lambda _: sampler)
    study.n_trials = sampler.total(study.trials(), asked)
    return study


def run(study: Study, num: int = 10**6) -> list[tuple[float, int]]:
    """Take so many trials to their end; returns their points."""
    points = []
    while len(points) < num and (claim := study.ask()) is not None:
        study.tell(claim, TrialState.COMPLETE, [0.0])
        points.append((claim.params["optimizer.lr"], claim.params["training.batch_size"]))
    return points


@pytest.mark.parametrize("before", range(10))
def test_in_another_order_what_is_missing_follows(tmp_path: Path, before: int) -> None:
    first = run(opened(tmp_path, RATES, SIZES), before)
    assert first == PRODUCT[:before], "the last word varies fastest"
    rest = run(opened(tmp_path, SIZES, RATES))
    assert rest == sorted(set(PRODUCT) - set(first), key=lambda point: point[::-1])


def test_a_range_that_grew_and_one_that_moved(tmp_path: Path) -> None:
    """What was run of points that are no longer in the product stands beside it."""
    assert run(opened(tmp_path, "optimizer.lr=0.1,0.2", "training.batch_size=range(64,96,32)")) == [
        (0.1, 64),
        (0.2, 64),
    ]
    grown = run(opened(tmp_path, "optimizer.lr=0.1,0.2", "training.batch_size=range(32,128,32)"))
    assert sorted(grown) == [(0.1, 32), (0.1, 96), (0.2, 32), (0.2, 96)]
    moved = opened(tmp_path, "training.batch_size=range(64,192,32)", "optimizer.lr=0.1,0.2")
    assert moved.n_trials == 2 + 8
    assert run(moved) == [(0.1, 128), (0.2, 128), (0.1, 160), (0.2, 160)]
    assert opened(tmp_path, RATES.replace(",0.3", ""), SIZES, asked=7).n_trials == 7


@pytest.mark.parametrize("stands", [0, 1])
def test_draws_that_a_kill_broke_off_are_of_no_other_trial_s_point(tmp_path: Path, stands: int) -> None:
    """Whichever trial is asked for before it is taken up, in whatever order of the words."""
    study = opened(tmp_path, RATES, SIZES)
    run(study, 3)
    broken = study.storage.create_new_trial(study.optuna._study_id)
    for each in study.dimensions[:stands]:
        study.storage.set_trial_param(broken, each.name, each.distribution.to_internal_repr(0.2), each.distribution)
    other = opened(tmp_path, SIZES, RATES)
    points = run(other)
    (claim,) = study.claim_dead(set())
    taken: Any = (claim.params["optimizer.lr"], claim.params["training.batch_size"])
    assert claim.number == 3
    assert not stands or taken[0] == 0.2
    assert sorted([*PRODUCT[:3], *points, taken]) == PRODUCT


def test_a_point_that_was_put_there_by_hand_is_not_run_again(tmp_path: Path) -> None:
    study = opened(tmp_path, RATES, SIZES)
    study.optuna.enqueue_trial({"optimizer.lr": 0.1, "training.batch_size": 32})
    points = run(study)
    (claim,) = study.claim_dead(set())
    assert claim.params == {"optimizer.lr": 0.1, "training.batch_size": 32}
    assert sorted([*points, (0.1, 32)]) == PRODUCT


def test_a_value_that_stands_twice_is_refused() -> None:
    parsed = [
        space.dimension(each) for each in OverridesParser.create().parse_overrides(["optimizer.lr=1e-3,1e-2,0.001"])
    ]
    with pytest.raises(ConfigError, match=r"^optimizer\.lr=1e-3,1e-2,0\.001: 0\.001 stands twice, and a grid has each"):
        space.grid_size(parsed)


def test_two_commands_with_their_words_swapped_make_one_product(launch: Launch, tmp_path: Path) -> None:
    """By the real command: continued, joined by another driver, and with a range that grew."""
    shared = ("-m", "model=mlp", "tracker=[]", "training.max_steps=2", "hydra.sweeper.study_name=g")
    rates, sizes = "optimizer.lr=0.1,0.2,0.3", "training.batch_size=32,64"
    seeds = "seed=range(1)"
    assert launch(*shared, rates, sizes, seeds, "hydra.sweeper.n_trials=2").returncode == 0
    joined = launch(*shared, sizes, seeds, rates, "hydra.sweeper.n_trials=4", "worker=true")
    assert joined.returncode == 0, joined.stderr
    assert launch(*shared, seeds, sizes, rates).returncode == 0

    def points() -> Counter[tuple[float, int, int]]:
        rows = table(tmp_path / "multirun" / "g")
        return Counter((float(row["optimizer.lr"]), int(row["training.batch_size"]), int(row["seed"])) for row in rows)

    assert points() == Counter(itertools.product((0.1, 0.2, 0.3), (32, 64), (0,)))
    grown = launch(*shared, sizes, "seed=range(2)", rates, "hydra.sweeper.accept_changes=true")
    assert "12 trials in multirun/g, 1 at a time, 6 of them done already" in grown.stdout
    assert points() == Counter(itertools.product((0.1, 0.2, 0.3), (32, 64), (0, 1)))
