"""The page of a sweep: what it says and draws, made of studies with and without rungs, objectives and ends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from launcher.artifacts.sweep import ENSEMBLE
from launcher.report import timeline
from launcher.report.sweep_page import write
from launcher.report.trial_reports import REPORTS

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

FACTS = {"space": {"x": {"name": "FloatDistribution", "attributes": {"low": 0.0, "high": 1.0, "log": False}}}}


def page(folder: Path, study: optuna.Study, rungs: tuple[int, ...] = ()) -> tuple[str, dict[str, dict[str, Any]]]:
    """The page's text without its drawings, and the drawings by their titles."""
    names = study.metric_names or ["value"]
    lines = [",".join(["number", "state", *(names if len(names) > 1 else ["value"]), "x", "steps", "wall_s"])]
    words = {"COMPLETE": "completed", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
    for trial in study.trials:
        values = [str(value) for value in trial.values or [""] * len(names)]
        lines.append(
            ",".join([str(trial.number), words[trial.state.name], *values, str(trial.params["x"]), "44", "1.5"])
        )
    (folder / "trials.csv").write_text("\n".join(lines) + "\n")
    text = write(study, folder, FACTS, rungs).read_text()
    found = re.findall(
        r'<h3>([^<]*)</h3>(?:(?!<h3>).)*?<script type="application/json">(.*?)</script>', text, re.DOTALL
    )
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL), {
        title: json.loads(figure) for title, figure in found
    }


NONE = {"name": "val/accuracy", "value": None, "direction": "maximize"}
FAILED = {"status": "failed", "objective": NONE, "metrics": {}, "steps": 0, "epochs": 0.0, "wall_s": 1.0}


def study_of(num: int, directions: tuple[str, ...] = ("maximize",), reports: int = 0) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=list(directions), sampler=optuna.samplers.RandomSampler(seed=0))
    study.set_metric_names(["val/accuracy", "parameters"][: len(directions)])
    for number in range(num):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        for step in range(1, reports + 1):
            trial.report(x * step, step)
        trial.set_user_attr(timeline.STINTS, [["here", number % 2, 10.0 * number, 10.0 * number + 10]])
        study.tell(trial, [x, -x][: len(directions)] if not (reports and number % 3) else None, _state(reports, number))
    return study


def _state(reports: int, number: int) -> TrialState:
    return TrialState.PRUNED if reports and number % 3 else TrialState.COMPLETE


def test_one_objective(tmp_path: Path) -> None:
    study = study_of(9, reports=4)
    text, drawn = page(tmp_path, study, rungs=(1, 3))
    assert set(drawn) == {
        "History of val/accuracy",
        "Importance of the parameters",
        "Parameters, a line a trial",
        "Rungs: val/accuracy on the way",
        "Slots over time",
    }
    best = study.best_trial
    assert f"val/accuracy, best: trial {best.number}" in text
    assert f"<b>{best.value:.4f}</b>" in text
    history = drawn["History of val/accuracy"]["data"]
    assert _numbers(history[0]["y"]) == [trial.value for trial in study.get_trials(states=(TrialState.COMPLETE,))]
    rungs = drawn["Rungs: val/accuracy on the way"]
    assert len(rungs["data"]) == 9
    assert [shape["x0"] for shape in rungs["layout"]["shapes"]] == [1, 3]
    rows = re.findall(r"<tr><td>(?:<a[^>]*>)?(\d+)[ *]*(?:</a>)?</td><td>(\w+)</td>", text)
    assert len(rows) == 9
    assert rows[0] == (str(best.number), "completed")
    assert "<b>50%</b><span>of it busy</span>" in text, "two slots that took turns"


def test_of_many_parameters_with_long_names_the_first_are_shown_and_named_in_short(tmp_path: Path) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.set_metric_names(["val/accuracy"])
    names = ["x", *(f"model.a_parameter_of_many_words_{number}" for number in range(14))]
    for _ in range(20):
        trial = study.ask()
        study.tell(trial, sum((0.1 + index) * trial.suggest_float(name, 0, 1) for index, name in enumerate(names)))
    _, drawn = page(tmp_path, study)
    axis = drawn["Importance of the parameters"]["layout"]["yaxis"]
    assert sorted(axis["tickvals"]) == sorted(names)
    assert max(map(len, axis["ticktext"])) == 30
    assert all(
        said in (whole, f"{whole[:29]}…") for whole, said in zip(axis["tickvals"], axis["ticktext"], strict=True)
    )
    assert axis["range"] == [2.5, 14.5], "twelve of fifteen"


def test_two_objectives_have_a_front(tmp_path: Path) -> None:
    study = study_of(6, ("maximize", "maximize"))
    text, drawn = page(tmp_path, study)
    front = drawn["Pareto front of val/accuracy and parameters"]["data"]
    assert sum(len(trace["x"]) for trace in front) == 6
    assert {"History of val/accuracy", "History of parameters"} <= set(drawn)
    assert "<b>6 trials</b><span>on the front" in text, "what one gains the other loses"
    assert text.count(" *</td>") == 6


def test_the_best_of_the_front_is_the_one_that_the_command_names(tmp_path: Path) -> None:
    """Of the lowest number is another one; by the first objective trial 2 is the best."""
    study = study_of(0, ("maximize", "minimize"))
    for values in ([0.5, 10.0], [0.4, 5.0], [0.9, 90.0], [0.7, 50.0]):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        study.tell(trial, values)
    text, _ = page(tmp_path, study)
    assert re.search(r"the best again.*?--config-dir \S*/2\b", text, re.DOTALL), text


def test_a_failed_trial_says_why_and_leads_to_its_log(tmp_path: Path) -> None:
    study = study_of(2)
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    study.tell(trial, state=TrialState.FAIL)
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "log.txt").write_text("error: too <wide>\n")
    failed = FAILED | {"reason": "too <wide>\nand more"}
    (tmp_path / "2" / "result.json").write_text(json.dumps(failed))
    text, _ = page(tmp_path, study)
    assert '<a href="2/log.txt">2</a>' in text
    assert "<td>too &lt;wide&gt;</td>" in text


def test_the_best_lines_of_two_objectives_are_the_darkest(tmp_path: Path) -> None:
    study = study_of(6, ("maximize", "minimize"))  # x and -x: the greatest x is the best of all
    _, drawn = page(tmp_path, study)
    figure = drawn["Parameters, a line a trial"]
    assert figure["layout"]["xaxis"]["ticktext"] == ["val/accuracy", "parameters", "x"]
    lines = [trace for trace in figure["data"] if trace.get("mode") == "lines"]
    light = {_numbers(trace["y"])[0]: sum(map(float, re.findall(r"[\d.]+", trace["line"]["color"]))) for trace in lines}
    assert len(light) == 6
    assert [light[height] for height in sorted(light, reverse=True)] == sorted(light.values())


def test_two_objectives_are_drawn_on_the_way_to_their_rungs(tmp_path: Path) -> None:
    """Each but the size, which is what it is from the beginning on."""
    study = study_of(1, ("maximize", "minimize"))
    for points in ({"1": [0.5, 10.0], "3": [0.7, 10.0]}, {"1": [0.4, 20.0]}):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        trial.set_user_attr(REPORTS, points)
        study.tell(trial, list(points.values())[-1])
    _, drawn = page(tmp_path, study, rungs=(1, 3))
    assert {title for title in drawn if title.startswith("Rungs")} == {"Rungs: val/accuracy on the way"}
    figure = drawn["Rungs: val/accuracy on the way"]
    assert [(each["name"], _numbers(each["x"]), _numbers(each["y"])) for each in figure["data"]] == [
        ("Trial1", [1, 3], [0.5, 0.7]), ("Trial2", [1], [0.4])
    ]  # fmt: skip
    assert [shape["x0"] for shape in figure["layout"]["shapes"]] == [1, 3]


def test_parameters_under_conditions_are_called_by_their_keys(tmp_path: Path) -> None:
    """What few trials have is left out of the lines."""
    study = study_of(0)
    for number in range(9):
        trial = study.ask()
        x, kind = trial.suggest_float("x", 0, 1), trial.suggest_categorical("model", ["svm", "knn"])
        trial.suggest_float(f"+model.C when model={kind},ridge", 0, 1)
        if number < 3:
            trial.suggest_int("model.degree when model=svm model.kernel=poly", 1, 9)
        study.tell(trial, x)
    _, drawn = page(tmp_path, study)
    (bars,) = drawn["Importance of the parameters"]["data"]
    assert set(bars["y"]) == {"x", "model", "model.C (svm)", "model.C (knn)", "model.degree"}
    lines = json.dumps(drawn["Parameters, a line a trial"])
    assert '"model"' in lines
    assert "model.degree" not in lines


def test_the_ensemble_stands_on_the_page(tmp_path: Path) -> None:
    told = {
        "members": [{"trial": 7, "weight": 0.75, "params": {"model": "svm"}}],
        "out_of_fold": {"loss": 0.25, "best_trial": 7, "best_loss": 0.5},
        "held_out": {"val/accuracy": 0.875},
        "best_held_out": {"val/accuracy": 0.8125},
    }
    (tmp_path / ENSEMBLE).write_text(json.dumps(told))
    text, _ = page(tmp_path, study_of(1))
    assert re.search(r">0\.75<.*model=svm", text)
    assert re.search(r"val/accuracy, rows put aside<.*0\.8750<.*0\.8125<", text)
    assert "trial 7 alone" in text


@pytest.mark.parametrize("num", [0, 1])
def test_a_study_that_has_hardly_begun(tmp_path: Path, num: int) -> None:
    study = study_of(num)
    study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    text, drawn = page(tmp_path, study)
    assert f"{num} of {num + 1} ended" in text
    assert ("Slots over time" if num else "Trials over time") in drawn


def test_stints_without_an_end_last_until_the_next(tmp_path: Path) -> None:
    study = optuna.create_study()
    for lives in ([["a", 0, 1.0, None], ["a", 0, 5.0, 7.0]], [["b", 0, 2.0, None]]):
        study.ask().set_user_attr(timeline.STINTS, lives)
    found = timeline.stints(tmp_path, study.trials, {0: "completed"})
    assert [(each.number, each.host, each.start, each.end, each.state) for each in found] == [
        (0, "a", 1.0, 5.0, "went on later"),
        (1, "b", 2.0, 7.0, "running"),
        (0, "a", 5.0, 7.0, "completed"),
    ]
    assert timeline.busy(found) == pytest.approx((4 + 5 + 2) / (6 * 2))


def test_nothing_that_was_typed_ends_a_script(tmp_path: Path) -> None:
    study = optuna.create_study()
    study.set_metric_names(["</script><b>"])
    for _ in range(2):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        study.tell(trial, trial.number)
    text, drawn = page(tmp_path, study)
    assert "</script><b>" not in text
    assert "History of &lt;/script&gt;&lt;b&gt;" in drawn


def _numbers(values: Any) -> list[float]:
    """plotly packs an array of numpy's."""
    if not isinstance(values, dict):
        return list(values)
    import base64

    import numpy as np

    return list(np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]))
