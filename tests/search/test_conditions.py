"""Parameters that depend on others: what is asked for when, under which name, and what is refused before anything starts."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.samplers import TPESampler

from launcher.errors import ConfigError
from launcher.search.space import dimensions as space
from launcher.search.space.dimensions import Dimension
from launcher.search.space.samplers import RandomSampler
from launcher.search.study.storage import open_storage
from launcher.search.study.study import Study
from tests.conftest import Launch

KERNELS = {
    "model": "choice(svm,knn,tree)",
    "model=svm": {
        "model.C": "tag(log,interval(0.01,100))",
        "model.kernel": "rbf,linear",
        "model.kernel=rbf": {"model.gamma": "tag(log,interval(1e-4,1))"},
    },
    "model=knn,tree": {"model.size": "range(1,4)"},
}


def dimensions(params: dict[str, Any]) -> list[Dimension]:
    parser = OverridesParser.create()
    return [
        space.dimension(
            parser.parse_override(word), tuple(space.condition(parser.parse_override(each)) for each in when)
        )
        for when, word in space.words_of(params)
    ]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_a_trial_has_what_its_own_choices_ask_for(tmp_path: Path, kind: str) -> None:
    sampler: Any = RandomSampler(3) if kind == "random" else TPESampler(seed=1, multivariate=True, group=True)
    own = dimensions(KERNELS)
    study = Study(open_storage(None, tmp_path), "s", ["minimize"], tmp_path, own, lambda _: sampler, n_trials=30)
    seen = set()
    while (claim := study.ask()) is not None:
        point = claim.params
        expected = {"model"}
        if point["model"] == "svm":
            expected |= {"model.C", "model.kernel"} | ({"model.gamma"} if point["model.kernel"] == "rbf" else set())
        else:
            expected |= {"model.size"}
        assert set(point) == expected
        seen.add((point["model"], point.get("model.kernel")))
        study.optuna.tell(claim.number, [float(claim.number)])
    assert seen == {("svm", "rbf"), ("svm", "linear"), ("knn", None), ("tree", None)}


def test_a_key_in_two_blocks_is_two_parameters(tmp_path: Path) -> None:
    own = dimensions({"model": "a,b", "model=a": {"depth": "range(1,9)"}, "model=b": {"depth": "1,2"}})
    assert [each.name for each in own] == ["model", "depth when model=a", "depth when model=b"]
    study = Study(
        open_storage(None, tmp_path), "s", ["minimize"], tmp_path, own, lambda _: RandomSampler(0), n_trials=20
    )
    while (claim := study.ask()) is not None:
        assert set(claim.params) == {"model", "depth"}
        assert claim.params["depth"] in ((1, 2) if claim.params["model"] == "b" else range(1, 9))


def test_every_choice_and_end_is_seen_before_the_first_trial() -> None:
    points = list(space.corners(dimensions(KERNELS)))
    assert {(point["model"], point.get("model.kernel")) for point in points} == {
        ("svm", "rbf"), ("svm", "linear"), ("knn", None), ("tree", None)
    }  # fmt: skip
    for kernel in ("rbf", "linear"):
        own = [point for point in points if point.get("model.kernel") == kernel]
        assert {point["model.C"] for point in own} == {0.01, 100}
        assert {point.get("model.gamma") for point in own} == ({1e-4, 1} if kernel == "rbf" else {None})
    for model in ("knn", "tree"):
        assert {point["model.size"] for point in points if point["model"] == model} == {1, 3}


def test_the_size_counts_each_branch_for_itself() -> None:
    assert space.size(dimensions(KERNELS)) is None
    whole = {"a": "1,2,3", "a=1": {"b": "range(5)", "c": "x,y"}, "a=2": {"c": "x,y,z"}, "d": "0,1"}
    assert space.size(dimensions(whole)) == (5 * 2 + 3 + 1) * 2


def test_conditions_have_no_grid() -> None:
    with pytest.raises(ConfigError, match=r"b=1,2: what is asked for under a condition \(a=1\) has no place in a grid"):
        space.grid_size(dimensions({"a": "1,2", "a=1": {"b": "1,2"}}))


PRESET = """# @package _global_
defaults:
  - override /task: tabular
  - override /data: wine
  - override /hydra/sweeper/sampler: random
tracker: {}
hydra:
  sweeper:
    n_trials: 6
    study_name: families
    params:
      model: choice(knn,naive_bayes)
      model=knn: {model.n_neighbors: "range(1,12)"}
      model=naive_bayes: {model.var_smoothing: "tag(log,interval(1e-9,1e-3))"}
"""


def preset(folder: Path, text: str = PRESET) -> tuple[str, ...]:
    (folder / "mine" / "experiment").mkdir(parents=True)
    (folder / "mine" / "experiment" / "families.yaml").write_text(text)
    return "--config-dir", "mine", "-m", "experiment=families"


def test_a_sweep_over_families(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(*preset(tmp_path))
    assert outcome.returncode == 0, outcome.stderr
    study = tmp_path / "multirun" / "families"
    with (study / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == {"knn", "naive_bayes"}
    for row in rows:
        own = yaml.safe_load((study / row["number"] / "config.yaml").read_text())["model"]
        if row["model"] == "knn":
            assert (own["n_neighbors"], row["model.var_smoothing"]) == (int(row["model.n_neighbors"]), "")
        else:
            assert (own["var_smoothing"], row["model.n_neighbors"]) == (float(row["model.var_smoothing"]), "")
    best = yaml.safe_load((study / "optimization_results.yaml").read_text())["best_params"]
    assert set(best) in ({"model", "model.n_neighbors"}, {"model", "model.var_smoothing"})
    again = launch("--config-dir", "mine", "-m", "experiment=families")
    assert "6 of them done already" in again.stdout


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (("model=knn:", "model=knm:"), (), "no such option of the group 'model'. Did you mean 'knn'"),
        (("model.n_neighbors: \"range(1,12)\"", "model.neighbours: \"range(1,12)\""), (), "'model' has no key 'neighbours'. Did you mean 'n_neighbors'"),
        (("model=knn:", "model.depth=1:"), (), "there is no 'model.depth' that could be so"),
        (("\"range(1,12)\"", "3"), (), "model.n_neighbors=3: under a condition stands what is searched"),
        (("", ""), ("hydra/sweeper/sampler=grid",), "has no place in a grid; search=random draws it"),
    ],
)  # fmt: skip
def test_a_wrong_block_starts_nothing(
    launch: Launch, tmp_path: Path, change: tuple[str, str], words: tuple[str, ...], message: str
) -> None:
    outcome = launch(*preset(tmp_path, PRESET.replace(*change)), *words)
    assert outcome.returncode == 2, outcome.stdout
    assert message in outcome.stderr
    assert not (tmp_path / "multirun").exists()


def test_the_command_narrows_a_file(launch: Launch, tmp_path: Path) -> None:
    plan = launch(*preset(tmp_path), "action=plan", "model=knn").stdout
    assert "space" in plan
    assert "model.n_neighbors: 1" in plan
    assert "var_smoothing" not in plan
    fixed = launch(
        "--config-dir", "mine", "-m", "experiment=families", "action=plan", "model=knn", "model.n_neighbors=3"
    )
    assert fixed.returncode == 2
    assert "there is nothing to search" in fixed.stderr
