"""Population-based training: who takes over from whom, and what a killed search comes to, by the real command."""

from __future__ import annotations

import contextlib
import csv
import json
import signal
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from safetensors.torch import load_file

from launcher.search.early.population import Population
from tests.conftest import Launch
from tests.support.fits import curve
from tests.support.harness import TIMEOUT, Warm, wait_for

EPOCH = 44  # steps: 1437 rows, 32 a step
WORDS = (
    "-m", "search=pbt", "model=mlp", "model.width=16", "tracker=[]", "training.max_epochs=4", "training.log_every=10",
    "optimizer.lr=tag(log,interval(1e-5,1e-1))", "model.dropout=interval(0,0.6)", "hydra.sweeper.sampler.population=4",
    "hydra.sweeper.n_jobs=2",
)  # fmt: skip
SPAN = FloatDistribution(1e-5, 1.0, log=True)


def generation(values: Sequence[float | None], before: int = 0) -> list[FrozenTrial]:
    """Trials with these values, None for one that failed; each with a rate of its own."""
    made = []
    for index, value in enumerate(values):
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        params, spans = {"lr": 10.0 ** -(1 + index % 4)}, {"lr": SPAN}
        trial = create_trial(state=state, value=value, params=params, distributions=spans)  # type: ignore[arg-type]  # spans are what it takes
        trial.number = before + index
        made.append(trial)
    return made


def test_the_worst_take_over_from_the_best_and_the_others_go_on() -> None:
    own = Population(0, population=8, quantile=0.25)
    trials = generation([0.5, 0.1, 0.9, 0.4, 0.2, None, 0.7, 0.6])
    found = {number: own.parent(number, trials) for number in range(8, 16)}
    assert {number - 8: parent for number, parent in found.items() if parent is not None and not parent[1]} == {
        member: (member, False) for member in (0, 1, 3, 4, 7, 6)
    }
    for loser in (2, 5):
        parent = found[8 + loser]
        assert parent is not None
        assert parent[1]
        assert parent[0] in (1, 4), "one of the best quarter"
    highest = Population(0, population=8, quantile=0.25, maximize=True)
    assert {highest.parent(8 + loser, trials)[0] for loser in (1, 5)} <= {2, 6}  # type: ignore[index]  # there is one
    assert all(own.parent(number, trials) is None for number in range(8))
    assert own.parent(9, generation([None] * 8)) is None


def test_a_generation_waits_for_the_one_before() -> None:
    own = Population(0, population=4)
    trials = generation([0.1, 0.2, 0.3])
    assert own.ready([])
    assert own.ready(trials)
    running = create_trial(state=TrialState.RUNNING, params={}, distributions={})
    running.number = 3
    assert not own.ready([*trials, running])
    assert own.ready(generation([0.1, 0.2, 0.3, None]))


def test_a_parameter_is_explored_around_its_parent_s() -> None:
    """Times one of the factors, or drawn anew so often; inside of its span, on its lattice; a choice's neighbour."""
    own = Population(3, resample=0.25, factors=(0.8, 1.25))
    found = np.array([own.perturbed(number, "lr", SPAN, 1e-2) for number in range(2000)])
    near = np.isclose(found, 0.8e-2) | np.isclose(found, 1.25e-2)
    assert abs(near.mean() - 0.75) < 4 * (0.75 * 0.25 / 2000) ** 0.5
    assert abs(np.isclose(found, 0.8e-2).sum() / near.sum() - 0.5) < 4 * (0.25 / near.sum()) ** 0.5
    assert abs(np.log10(found[~near]).mean() + 2.5) < 4 * (5 / 12**0.5) / (~near).sum() ** 0.5, "drawn by the logarithm"
    kept = Population(3, resample=0.0)
    assert {kept.perturbed(number, "lr", SPAN, 0.9) for number in range(50)} == {1.0, 0.9 * 0.8}
    whole = IntDistribution(2, 20, step=3)
    assert {kept.perturbed(number, "n", whole, 11) for number in range(50)} == {8, 14}
    choices = CategoricalDistribution((0.1, 0.2, 0.4))
    assert {kept.perturbed(number, "c", choices, 0.2) for number in range(50)} == {0.1, 0.4}
    assert {kept.perturbed(number, "c", choices, 0.4) for number in range(50)} == {0.2, 0.4}


def table(study: Path) -> list[dict[str, str]]:
    with (study / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def lineage(study: Path, number: int) -> tuple[int, int] | None:
    """The trial that one goes on from, and the step."""
    path = study / str(number) / "inherited.json"
    known: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return None if known is None else (int(known["run"]), known["step"])


@pytest.fixture(scope="module")
def searched(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of four runs in four generations."""
    cwd = tmp_path_factory.mktemp("searched")
    outcome = warm(*WORDS, "hydra.sweeper.study_name=p", "hydra.sweeper.keep_trials=null", cwd=cwd)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return cwd / "multirun" / "p"


def test_every_generation_trains_an_interval_and_the_best_are_copied(searched: Path) -> None:
    rows = table(searched)
    assert len(rows) == 16
    assert {row["state"] for row in rows} == {"completed"}
    assert [int(row["steps"]) for row in rows] == [(1 + number // 4) * EPOCH for number in range(16)]
    copied = 0
    for number in range(4, 16):
        parent = lineage(searched, number)
        assert parent is not None
        assert parent[1] == number // 4 * EPOCH
        first = (number // 4 - 1) * 4
        values = {each: float(rows[each]["value"]) for each in range(first, first + 4)}
        if parent[0] == number - 4:
            assert rows[number]["optimizer.lr"] == rows[parent[0]]["optimizer.lr"]
            assert rows[number]["model.dropout"] == rows[parent[0]]["model.dropout"]
            continue
        copied += 1
        assert values[parent[0]] == max(values.values()), "of four the best one"
        assert values[number - 4] == min(values.values()), "takes the place of the worst one"
        rates = float(rows[number]["optimizer.lr"]), float(rows[parent[0]]["optimizer.lr"])
        assert rates[0] != rates[1] or rows[number]["model.dropout"] != rows[parent[0]]["model.dropout"]
        own, other = curve(searched / str(number)), curve(searched / str(parent[0]))
        assert {step: own[step] for step in other if step <= parent[1]} == other, "its curve begins with its parent's"
    assert copied == 3
    assert statistics.fmean(float(row["value"]) for row in rows[12:]) > statistics.fmean(
        float(row["value"]) for row in rows[:4]
    )


def test_a_rate_that_was_changed_is_the_one_that_trains(searched: Path) -> None:
    """Each trial's rate over its parameter is the one schedule of all, at the step that it has come to."""
    rows = table(searched)
    shares: dict[int, list[float]] = {}
    for number in range(16):
        for step, value in curve(searched / str(number), "lr").items():
            if step > number // 4 * EPOCH:
                shares.setdefault(step, []).append(value / float(rows[number]["optimizer.lr"]))
    assert max(shares) == 4 * EPOCH
    assert all(len(each) == 4 for each in shares.values())
    for step, each in shares.items():
        assert each == pytest.approx([each[0]] * 4, rel=1e-9), step


def test_a_run_that_nobody_replaced_is_what_it_would_have_been_alone(
    searched: Path, launch: Launch, tmp_path: Path
) -> None:
    rows = table(searched)
    own = next(
        number for number in range(12, 16) if all(lineage(searched, each)[0] == each - 4 for each in range(number, 3, -4))  # type: ignore[index]  # there is one
    )  # fmt: skip
    alone = launch(
        "model=mlp", "model.width=16", "tracker=[]", "training.max_epochs=4", "training.log_every=10", "hydra.run.dir=alone",
        f"optimizer.lr={rows[own]['optimizer.lr']}", f"model.dropout={rows[own]['model.dropout']}",
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    last = "checkpoints/last/model.safetensors"
    mine, theirs = load_file(searched / str(own) / last), load_file(tmp_path / "alone" / last)
    assert all((mine[name] == theirs[name]).all() for name in theirs)


def test_a_killed_search_comes_to_the_same_bits(searched: Path, launch: Launch, tmp_path: Path) -> None:
    """SIGKILL in the second and in the fourth generation: parents, parameters, values and weights are those of the search
    that was never killed."""
    words = [*WORDS, "hydra.sweeper.study_name=p", "hydra.sweeper.keep_trials=null"]
    study = tmp_path / "multirun" / "p"
    kills = 0
    for number in (5, 13):
        running = launch.start(*words)
        end = time.monotonic() + TIMEOUT
        while not (study / str(number) / "config.yaml").exists() and not running.done():
            assert time.monotonic() < end, running.stdout.read_text()
            time.sleep(0.005)
        kills += not running.done()
        with contextlib.suppress(ProcessLookupError):
            running.kill()
        running.wait()
    assert kills
    outcome = launch(*words)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    for own, other in zip(table(study), table(searched), strict=True):
        assert {key: own[key] for key in own if key != "wall_s"} == {
            key: other[key] for key in other if key != "wall_s"
        }
        number = int(own["number"])
        assert lineage(study, number) == lineage(searched, number)
        last = "checkpoints/last/model.safetensors"
        mine, theirs = load_file(study / own["number"] / last), load_file(searched / own["number"] / last)
        assert all((mine[name] == theirs[name]).all() for name in theirs)


def test_a_search_that_was_left_finds_its_parents_though_few_trials_keep_anything(
    searched: Path, launch: Launch, tmp_path: Path
) -> None:
    words = [*WORDS, "hydra.sweeper.study_name=p", "hydra.sweeper.keep_trials=1"]
    study = tmp_path / "multirun" / "p"
    running = launch.start(*words)
    wait_for(running, study / "5" / "config.yaml")
    running.send(signal.SIGTERM)
    assert running.wait().returncode == 75
    outcome = launch(*words)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    rows = table(searched)
    assert [row["value"] for row in table(study)] == [row["value"] for row in rows]
    best = max(rows, key=lambda row: (float(row["value"]), -int(row["number"])))["number"]
    assert [path.parent.name for path in study.glob("*/checkpoints")] == [best]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model.width=8,16",), "search=pbt changes it in the middle of a training"),
        (("optimizer=adamw,sgd",), "search=pbt changes it in the middle of a training"),
        (("hydra.sweeper.n_trials=20",), "hydra.sweeper.n_trials=20: search=pbt has 16"),
        (("hydra/sweeper/pruner=halving",), "leave hydra/sweeper/pruner and hydra/sweeper/proxy out"),
        (("hydra.sweeper.retry_failed=true",), "leave hydra.sweeper.retry_failed out"),
        (("num_seeds=2",), "a trial that is made of several fits has no checkpoint"),
        (("scheduler=plateau",), "a schedule that follows evaluations can not be taken over"),
        (("hydra.sweeper.sampler.population=1",), "hydra.sweeper.sampler.population=1: expected two runs or more"),
        (("hydra.sweeper.sampler.interval=1hour",), "interval=1hour: expected epochs, as 1epoch"),
        (("+hydra.sweeper.sampler.quantil=0.3",), "hydra.sweeper.sampler"),
    ],
)
def test_what_can_not_be_is_refused(launch: Launch, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    given = {word.partition("=")[0] for word in words}
    outcome = launch(*(word for word in WORDS if word.partition("=")[0] not in given), *words)
    assert outcome.returncode == 2, outcome.stdout
    assert message in outcome.stderr
    assert not (tmp_path / "multirun").exists()
