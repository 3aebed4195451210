"""What the other pruners and a space of one's own do to a sweep, by the real command."""

from __future__ import annotations

import csv
from pathlib import Path

import yaml

from tests.conftest import Launch

EPOCH = 44  # steps: 1437 rows, 32 a step
WORDS = ("-m", "model=mlp", "tracker=[]", "hydra.sweeper.study_name=s")


def table(cwd: Path) -> list[dict[str, str]]:
    with (cwd / "multirun" / "s" / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_hyperband_races_from_different_rungs(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(
        *WORDS, "search=hyperband", "training.max_epochs=9", "optimizer.lr=tag(log,interval(1e-5,3e-2))",
        "hydra.sweeper.n_trials=12", "model.width=16",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    rows = table(tmp_path)
    epochs = [int(row["steps"]) // EPOCH for row in rows]
    assert {row["state"] for row in rows} == {"completed", "pruned"}
    assert {own for own, row in zip(epochs, rows, strict=True) if row["state"] == "pruned"} == {1, 3}, (
        "two races at least"
    )
    assert sum(epochs) < 0.75 * 9 * len(rows)
    best = max(rows, key=lambda row: float(row["value"]))
    assert best["state"] == "completed"


def test_the_median_stops_what_is_worse_and_not_before_its_warm_up(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(
        *WORDS, "hydra/sweeper/pruner=median", "training.max_epochs=4", "optimizer.lr=3e-3,1e-2,1e-6,1.5e-2",
        "hydra.sweeper.pruner.n_startup_trials=2", "hydra.sweeper.pruner.n_warmup_steps=2epochs",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    rows = table(tmp_path)
    assert [row["state"] for row in rows] == ["completed", "completed", "pruned", "completed"]
    assert int(rows[2]["steps"]) == 2 * EPOCH


def test_parameters_may_depend_on_others(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(
        "-m", "search=random", "tracker=[]", "training.max_epochs=1", "model=mlp,cnn", "hydra.sweeper.n_trials=6",
        "hydra.sweeper.custom_search_space=tests.search.spaces.sizes", "hydra.sweeper.study_name=s",
        env={"LAUNCHER_TRUST": "tests.search.spaces.*"},
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    rows = table(tmp_path)
    assert {row["model"] for row in rows} == {"mlp", "cnn"}
    for row in rows:
        model = yaml.safe_load((tmp_path / "multirun" / "s" / row["number"] / "config.yaml").read_text())["model"]
        if row["model"] == "mlp":
            assert 8 <= int(row["model.width"]) == model["width"] <= 32
            assert row["model.depth"] == ""
        else:
            assert 1 <= int(row["model.depth"]) == model["depth"] <= 2
            assert row["model.width"] == ""
