"""Hyperband's races, and the sampler that goes with them, beside the papers' numbers."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from launcher.search.early.brackets import Brackets, brackets
from launcher.search.space.bohb import Bohb
from tests.conftest import Launch

NODE = {"_target_": "optuna.pruners.HyperbandPruner", "min_resource": 1, "max_resource": 9, "reduction_factor": 3}


def test_a_round_has_the_sizes_of_the_paper() -> None:
    """Table 1 of Li et al.: R = 81 and η = 3 begin with 81, 34, 15, 8 and 5 trials at 1, 3, 9, 27 and 81 (the paper's own
    table has rounded two of them down)."""
    found = brackets(NODE | {"max_resource": 81}, 81)
    assert found.sizes == tuple(math.ceil(5 / (s + 1) * 3**s) for s in (4, 3, 2, 1, 0)) == (81, 34, 15, 8, 5)
    assert found.rungs == ((1, 3, 9, 27), (3, 9, 27), (9, 27), (27,), ())
    assert brackets(NODE | {"max_resource": 243}, 243).rungs[0] == (1, 3, 9, 27, 81), "no rung is lost to a logarithm"


def test_trials_are_dealt_to_races_by_their_number() -> None:
    found = brackets(NODE, 9)
    assert (found.sizes, found.rungs) == ((9, 5, 3), ((1, 3), (3,), ()))
    assert [found.rungs_for(number) for number in (0, 8, 9, 13, 14, 16, 17, 26)] == [
        (1, 3), (1, 3), (3,), (3,), (), (), (1, 3), (3,)
    ]  # fmt: skip
    assert [list(race.numbers) for race in found.races(19)] == [
        [*range(9)], [*range(9, 14)], [*range(14, 17)], [17, 18]
    ]  # fmt: skip


def trial(number: int, told: dict[int, float], state: TrialState = TrialState.RUNNING) -> FrozenTrial:
    value = list(told.values())[-1] if state == TrialState.COMPLETE else None
    made = create_trial(state=state, value=value, params={}, distributions={}, intermediate_values=told)
    made.number = number
    return made


def raced(found: Brackets, n_trials: int, value: list[float]) -> dict[int, float]:
    """How far each trial comes, whatever the order in which those that may go on are taken."""
    far = {number: float(next(iter(found.rungs_for(number)), 9)) for number in range(n_trials)}
    while True:
        trials = [
            trial(number, dict.fromkeys(range(1, int(end) + 1), value[number]), TrialState.RUNNING)
            for number, end in far.items()
        ]
        paused = {number for number, end in far.items() if end < 9}
        chosen = found.next(trials, paused, n_trials, [True])
        if chosen is None:
            return far
        far[chosen] = next((rung for rung in found.rungs_for(chosen) if rung > far[chosen]), 9)


@pytest.mark.parametrize("n_trials", [17, 34, 20, 9, 40])
def test_what_is_spent_is_what_is_named(n_trials: int) -> None:
    """n trials to the first rung, of them floor(n / 3) to the next, of all the best: in every race, of a round that is cut
    short too."""
    found = brackets(NODE, 9)
    value = [math.sin(7.3 * number) for number in range(n_trials)]
    far = raced(found, n_trials, value)
    for race in found.races(n_trials):
        num, order = len(race.numbers), sorted(race.numbers, key=lambda number: -value[number])
        for rung, end in zip(race.rungs, [*race.rungs[1:], 9][: len(race.rungs)], strict=True):
            num //= 3
            assert {number for number in race.numbers if far[number] > rung} == set(order[:num]), (race, rung)
            assert all(far[number] >= end for number in order[:num])


def test_a_race_waits_for_its_last_and_not_for_one_that_failed() -> None:
    found = brackets(NODE, 9)
    come = [trial(number, {1: float(number)}) for number in range(8)]
    assert found.next([*come, trial(8, {})], set(range(8)), 17, [True]) is None
    failed = trial(8, {}, TrialState.FAIL)
    assert found.next([*come, failed], set(range(8)), 17, [True]) == 7
    assert found.next(come, set(range(8)), 17, [True]) is None, "the ninth has not been asked for"
    assert found.next(come, set(range(8)), 8, [True]) == 7


def test_the_command_spends_what_its_plan_names(launch: Launch, tmp_path: Path) -> None:
    words = (
        "-m", "search=hyperband", "model=mlp", "model.width=8", "tracker=[]", "training.max_epochs=9",
        "optimizer.lr=tag(log,interval(1e-5,1e-1))", "hydra.sweeper.n_trials=17", "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.study_name=h",
    )  # fmt: skip
    planned = launch(*words, "action=plan").stdout
    assert "9 to 1, 3 to 3, 1 to 9; 5 to 3, 1 to 9; 3 to 9 epochs" in planned
    assert "about 69 of 153 epochs (45%)" in planned
    outcome = launch(*words)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    rows = [line.split(",") for line in (tmp_path / "multirun" / "h" / "trials.csv").read_text().splitlines()]
    steps = [int(row[rows[0].index("steps")]) for row in rows[1:]]
    assert sum(steps) == 69 * 44


def bowl(x: float, y: float) -> float:
    """A long bent valley; its floor is 0."""
    return (y - 0.129 * x**2 + 1.592 * x - 6) ** 2 + 0.1 * (x - 2) ** 2


def searched(model: bool, seed: int, num: int = 40) -> float:
    """The best of trials that tell after three epochs and after nine, where what is good is seen."""
    study = optuna.create_study()
    for number in range(num):
        study.sampler = (
            Bohb(seed=1000 * seed + number) if model else optuna.samplers.RandomSampler(seed=1000 * seed + number)
        )
        asked = study.ask()
        point = {"x": asked.suggest_float("x", -5, 10), "y": asked.suggest_float("y", 0, 15)}
        asked.report(-bowl(**point), 3)
        asked.report(bowl(**point), 9)
        study.tell(asked, state=TrialState.PRUNED)
    return min(bowl(**each.params) for each in study.trials)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_its_model_beats_random_draws() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found, random = ([searched(model, seed) for seed in range(5)] for model in (True, False))
    assert statistics.median(found) < 0.5 * statistics.median(random)


def test_the_model_is_of_the_largest_budget_that_enough_have_reached() -> None:
    """Of one parameter four trials are enough: at 9 epochs, where low is good, and not at 1, where high was."""
    span = FloatDistribution(0, 1)
    drawn = []
    for seed in range(20):
        study = optuna.create_study(sampler=Bohb(seed=seed, random_fraction=0))
        for index in range(30):
            x = index / 29
            told = {1: 1 - x} | ({9: x} if index % 3 == 0 else {})
            study.add_trial(
                create_trial(
                    state=TrialState.PRUNED, params={"x": x}, distributions={"x": span}, intermediate_values=told
                )
            )
        drawn.append(study.ask({"x": span}).params["x"])
    assert statistics.median(drawn) < 0.2


def test_a_share_of_the_draws_is_random() -> None:
    found = [Bohb(seed=seed)._is_random for seed in range(600)]
    assert abs(statistics.fmean(found) - 1 / 3) < 4 * (2 / 9 / 600) ** 0.5
    with pytest.raises(ValueError, match="random_fraction=2: expected a share"):
        Bohb(random_fraction=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("training.max_epochs=null", "training.max_steps=300"), "how long is a whole trial of Hyperband"),
        (("hydra.sweeper.pruner.min_resource=auto",), "Hyperband goes with a min_resource of its own"),
        (("hydra.sweeper.pruner.reduction_factor=1",), "reduction_factor"),
        (("hydra/sweeper/proxy=naswot",), "a race of Hyperband waits for every one of its trials"),
    ],
)
def test_races_that_can_not_be_laid_out_are_refused(
    launch: Launch, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    outcome = launch("-m", "search=bohb", "model=mlp", "optimizer.lr=interval(1e-4,1e-2)", *words)
    assert outcome.returncode == 2, outcome.stdout
    assert message in outcome.stderr
    assert not (tmp_path / "multirun").exists()
