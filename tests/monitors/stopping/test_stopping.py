"""Stopping: by a value, by several at once, by the clock, and all of them together."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from launcher import CONF
from launcher.artifacts.checkpoint.weights import load_weights
from launcher.errors import ConfigError
from launcher.monitors.stopping.combined_stopping import CombinedStopping
from launcher.monitors.stopping.early_stopping import EarlyStopping
from launcher.monitors.stopping.patience import Patience
from launcher.monitors.stopping.time_budget import TimeBudget
from tests.support.fits import config_of, curve, fit
from tests.support.noisy import TRUST, Slow

NAN = float("nan")


def stops_after(monitor: Patience, evaluations: list[dict[str, float]], steps: int = 10) -> tuple[int, str] | None:
    """The evaluation, counted from 1, at which it ends a run, and the reason; epochs are of 20 steps."""
    run: Any = SimpleNamespace(
        stop=None,
        metrics={},
        progress=SimpleNamespace(step=0),
        plan=SimpleNamespace(steps_per_epoch=20),
        objective=("val/accuracy", "maximize"),
    )
    for count, metrics in enumerate(evaluations, start=1):
        run.progress.step += steps
        again = json.loads(json.dumps(monitor.state_dict()))  # killed and resumed at each evaluation
        monitor.load_state_dict(again)
        monitor.eval_end(run, metrics)
        if run.stop:
            return count, run.stop
    return None


@pytest.mark.parametrize(
    ("warmup", "stop"), [(0, 3), (3, 6), ("0epoch", 3), ("2epochs", 7), ("10epochs", None)], ids=str
)
def test_what_falls_into_the_warmup_counts_neither_way(warmup: int | str, stop: int | None) -> None:
    """The first value is the best, and the patience of two begins anew with the first that counts."""
    values = [{"val/x": value} for value in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)]
    found = stops_after(EarlyStopping("val/x", "minimize", patience=2, warmup=warmup), values)
    assert found == (None if stop is None else (stop, "val/x has not improved for 2 evaluations"))


@pytest.mark.parametrize("warmup", ["3 weeks", -1, 1.5])
def test_a_warmup_that_is_none_is_refused(warmup: Any) -> None:
    with pytest.raises(ConfigError, match="expected a number of evaluations, or epochs as in '5epochs'"):
        EarlyStopping(warmup=warmup)


def evaluations(accuracy: list[float], loss: list[float]) -> list[dict[str, float]]:
    return [{"val/accuracy": a, "val/loss": b} for a, b in zip(accuracy, loss, strict=True)]


def test_the_combined_score_by_hand() -> None:
    monitor = CombinedStopping({"val/accuracy": 3.0, "val/loss": -1.0}, {"val/accuracy": [0.0, 1.0]})
    assert stops_after(monitor, evaluations([0.5, 0.7, 0.6], [2.0, 1.0, 4.0])) is None
    # val/accuracy by its range, val/loss by the run's own: (2 - 1) / 3, 0, 1
    assert monitor.scores() == pytest.approx([0.75 * 0.5 - 0.25 / 3, 0.75 * 0.7, 0.75 * 0.6 - 0.25])
    monitor.eval_end(SimpleNamespace(stop=None, metrics={}), {"val/accuracy": 0.6, "val/loss": 0.0})  # type: ignore[arg-type]  # all that it reads
    assert monitor.scores()[0] == pytest.approx(0.75 * 0.5 - 0.25 * 0.5), "as the range grows, earlier scores follow"


def test_combined_goes_on_while_one_gains_more_than_the_other_loses() -> None:
    accuracy, loss = [0.5, 0.6, 0.7, 0.8, 0.8, 0.8], [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    chosen = {"ranges": {"val/accuracy": [0.0, 1.0], "val/loss": [0.0, 2.0]}, "patience": 2}
    together = CombinedStopping({"val/accuracy": 2.0, "val/loss": -1.0}, **chosen)  # type: ignore[arg-type]
    assert stops_after(together, evaluations(accuracy, loss)) == (
        6,
        "the combined score has not improved for 2 evaluations",
    )
    alone = EarlyStopping("val/loss", "minimize", patience=2)
    assert stops_after(alone, evaluations(accuracy, loss)) == (3, "val/loss has not improved for 2 evaluations")
    other_way = CombinedStopping({"val/accuracy": 1.0, "val/loss": -4.0}, **chosen)  # type: ignore[arg-type]
    found = stops_after(other_way, evaluations(accuracy, loss))
    assert found is not None
    assert found[0] == 3


def test_combined_without_weights_is_the_objective_and_the_loss() -> None:
    monitor = CombinedStopping()
    stops_after(monitor, evaluations([0.1, 0.3], [3.0, 1.0]))
    assert monitor.weights == {"val/loss": -1.0, "val/accuracy": 1.0}
    assert monitor.scores() == pytest.approx([-0.5, 0.5])


def test_what_is_no_number_is_no_improvement() -> None:
    monitor = CombinedStopping({"val/loss": -1.0}, patience=3)
    found = stops_after(monitor, evaluations([0.0] * 4, [1.0, NAN, math.inf, NAN]))
    assert found is not None
    assert found[0] == 4
    assert (
        stops_after(
            CombinedStopping({"val/loss": -1.0}, min_delta=0.3, patience=2),
            evaluations([0.0] * 4, [4.0, 3.9, 2.0, 1.0]),
        )
        is None
    )


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_one_metric_combined_stops_where_it_does_alone(direction: Any) -> None:
    """Every sequence of five numbers, NaN and infinity among them, at the first evaluation too."""
    for length in range(1, 6):
        for values in itertools.product((1.0, 2.0, 3.0, NAN, math.inf, -math.inf), repeat=length):
            told = [{"val/accuracy": 0.0, "val/loss": value} for value in values]
            alone = stops_after(EarlyStopping("val/loss", direction, patience=2), told)
            sign = -1.0 if direction == "minimize" else 1.0
            both = stops_after(CombinedStopping({"val/loss": sign}, patience=2), told)
            assert (alone and alone[0]) == (both and both[0]), values


def test_wrong_weights_ranges_and_limits_are_refused() -> None:
    with pytest.raises(ConfigError, match="every weight is zero"):
        CombinedStopping({"val/loss": 0.0})
    with pytest.raises(ConfigError, match=r"val/loss is \[1, 1\]; expected \[low, high\]"):
        CombinedStopping(ranges={"val/loss": [1, 1]})
    with pytest.raises(ConfigError, match=r"limit=soon: expected seconds, or a duration"):
        TimeBudget("soon")
    with pytest.raises(ConfigError, match=r"stopping.time_budget.limit=3parsecs: expected seconds, or a duration"):
        config_of("stopping=[time_budget]", "stopping.time_budget.limit=3parsecs")
    with pytest.raises(ConfigError, match=r"ImageClassification has no metric 'val/lost'. Did you mean 'val/loss'"):
        config_of("stopping=[combined]", "stopping.combined.weights={val/lost:-1}")


def test_the_first_reason_stands_and_the_best_weights_are_exported(tmp_path: Path) -> None:
    """A rate so high that the first evaluation stays the best."""
    words = ["stopping=[val_metric,val_loss,combined]", "stopping.val_loss.patience=3", "stopping.combined.patience=4"]
    words += [
        "stopping.val_metric.patience=9",
        "optimizer=sgd",
        "optimizer.lr=0.05",
        "scheduler=wsd",
        "training.eval_every=10",
    ]
    result = fit(
        tmp_path, *words[:4], "optimizer.lr=0.1", "optimizer=adamw", "scheduler=constant", "training.eval_every=10"
    )
    assert result["status"] == "stopped"
    assert result["reason"] == "val/loss has not improved for 3 evaluations"
    losses = curve(tmp_path, "val/loss")
    lowest = min(losses, key=losses.__getitem__)
    assert result["steps"] == max(losses) == lowest + 30
    assert json.loads((tmp_path / "result.json").read_text())["reason"] == result["reason"]
    exported, best = (
        load_file(tmp_path / "model" / "model.safetensors"),
        load_weights(tmp_path / "checkpoints" / "best"),
    )
    assert all(torch.equal(exported[name], best[name]) for name in best)
    assert result["best_step"] < result["steps"]


EAGER = ("patience=1", "min_delta=100")
"""No evaluation is better by so much: the second one is the end."""
ENDS = {
    "val_loss": (EAGER, "val/loss has not improved for 1 evaluation"),
    "val_metric": (EAGER, "val/accuracy has not improved for 1 evaluation"),
    "combined": (EAGER, "the combined score has not improved for 1 evaluation"),
    "time_budget": (("limit=0.8s",), "the time budget of 0.8s is spent"),
    "energy_budget": (("limit=1e-9",), "the energy budget of 1e-09 kWh is spent"),
}


def test_every_way_of_stopping_is_tried() -> None:
    assert set(ENDS) == {path.stem for path in (CONF / "stopping").glob("*.yaml")}


@pytest.mark.parametrize("entry", ENDS)
def test_of_all_at_once_each_can_be_the_one_that_ends_the_run(entry: str, tmp_path: Path) -> None:
    settings, reason = ENDS[entry]
    words = [f"stopping=[{','.join(ENDS)}]", *(f"stopping.{entry}.{setting}" for setting in settings)]
    words += [f"stopping.{name}.patience=10000" for name in ("val_loss", "val_metric", "combined") if name != entry]
    result = fit(tmp_path, *words, "training.eval_every=10", "training.log_every=10", "training.max_epochs=400")
    assert (result["status"], result["reason"]) == ("stopped", reason)
    exported, best = (
        load_file(tmp_path / "model" / "model.safetensors"),
        load_weights(tmp_path / "checkpoints" / "best"),
    )
    assert all(torch.equal(exported[name], best[name]) for name in best)


def test_a_limit_alone_says_how_long(tmp_path: Path) -> None:
    config = config_of("stopping=[time_budget]", "training.max_epochs=null", "scheduler=constant")
    assert config.training.max_steps is None
    with pytest.raises(ConfigError, match="nothing says how long"):
        config_of("stopping=[val_loss]", "training.max_epochs=null", "scheduler=constant")
    words = ["training.max_epochs=null", "scheduler=constant", "training.eval_every=0"]
    stopped = fit(
        tmp_path / "stopped", *words, "stopping=[time_budget]", "stopping.time_budget.limit=1s", "training.max_time=1h"
    )
    assert (stopped["status"], stopped["reason"]) == ("stopped", "the time budget of 1s is spent")
    completed = fit(tmp_path / "completed", *words, "stopping=[time_budget]", "training.max_time=1s")
    assert (completed["status"], completed["reason"]) == ("completed", "max_time")
    for folder in (tmp_path / "stopped", tmp_path / "completed"):
        assert len(curve(folder, "val/loss")) == 1, "judged once, at its end"
        assert (folder / "model" / "model.safetensors").is_file()


def test_the_budget_holds_the_evaluation_the_checkpoint_and_the_closer_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation takes 1.8 s, and so does the look at what the best weights do with the same samples: an end that did
    not know of either would come that much too late. It comes within two per cent."""
    monkeypatch.setenv(*TRUST)
    monkeypatch.setattr("time.monotonic", lambda: Slow.now)
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)  # by which writing is timed
    words = [
        "task._target_=tests.support.noisy.Slow",
        "training.max_epochs=null",
        "scheduler=constant",
        "training.eval_every=150",
    ]
    words += [
        "training.eval_batch_size=60",
        "stopping=[time_budget]",
        "stopping.time_budget.limit=14s",
        "training.log_every=100",
    ]
    result = fit(tmp_path, *words)
    assert result["reason"] == "the time budget of 14s is spent"
    assert result["wall_s"] == pytest.approx(14, rel=0.02)
    judged = list(curve(tmp_path, "val/loss"))
    assert len(judged) >= 2, "one on the way, and the last"
    assert judged[-1] == result["steps"]
