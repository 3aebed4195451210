"""What the page shows of predictions and of a step's time, beside other libraries' numbers; and the comparison of runs."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launcher.console.numbers import number
from launcher.errors import ConfigError
from launcher.functional.calibration import calibration_error
from launcher.functional.images import data_uri, pixels_of, png, sheet
from launcher.report import comparison_page, sections
from launcher.report.compare_lines import told
from launcher.report.run_page import write
from launcher.train.evidence import classified
from tests.report.test_run_page import Page
from tests.support.fits import fit
from tests.support.harness import Warm

WATCHED = ("training.max_epochs=2", "training.log_every=10", "monitor=[step_time]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("page") / "run"
    fit(place, *WATCHED)
    return place


def test_confusion_calibration_and_worst_samples_are_those_of_other_libraries() -> None:
    from sklearn.metrics import confusion_matrix

    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet([0.3] * 4, size=500)
    label = draw.integers(0, 4, size=500)
    columns = {"label": label, "prediction": probabilities.argmax(1), "probabilities": probabilities}
    found = classified(columns, ["a", "b", "c", "d"])
    assert found["confusion"] == confusion_matrix(label, probabilities.argmax(1)).tolist()
    error = sum(abs(confidence - accuracy) * num for confidence, accuracy, num in found["calibration"]) / 500
    assert error == pytest.approx(calibration_error(probabilities.max(1), probabilities.argmax(1) == label))
    losses = -np.log(probabilities[np.arange(500), label])
    assert [entry["sample"] for entry in found["worst"]] == np.argsort(-losses, kind="stable")[:12].tolist()


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_a_picture_comes_back_with_the_same_pixels(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)
    with Image.open(io.BytesIO(png(pixels))) as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_the_page_shows_predictions_with_pictures_and_a_steps_time(folder: Path) -> None:
    page = Page(write(folder))
    evidence = json.loads((folder / "evidence.json").read_text())
    shown = [
        row[1:] for row in next(table for table in page.tables if table[1:2] == [["label ↓", *evidence["classes"]]])[2:]
    ]
    assert shown == [[str(count) if count else "" for count in row] for row in evidence["confusion"]]
    pictures = page.named("img")
    assert len(pictures) == len(evidence["worst"]) == 12
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in pictures)
    result = json.loads((folder / "result.json").read_text())
    right = sum(evidence["confusion"][each][each] for each in range(10))
    assert right / evidence["samples"] == pytest.approx(result["metrics"]["val/accuracy"])
    times = next(table for table in page.tables if table[0] == ["", "", "mean", "share"])
    assert [row[0] for row in times[1:]] == [*sections.PARTS, "step"]
    assert sum(float(row[3].rstrip("%")) for row in times[1:-1]) == pytest.approx(100, abs=0.3)
    commonest = max(sum(row) for row in evidence["confusion"]) / evidence["samples"]
    assert result["baseline"] == {"value": pytest.approx(commonest), "what": "always the commonest class"}


def test_a_language_models_page_shows_how_it_goes_on(tmp_path: Path) -> None:
    fit(
        tmp_path,
        "experiment=stdlib",
        "model=llama",
        "model.depth=1",
        "training.max_steps=2",
        "training.max_epochs=null",
    )
    texts = json.loads((tmp_path / "evidence.json").read_text())["texts"]
    assert len(texts) == 3
    assert all(each["given"] for each in texts)
    page = Page(write(tmp_path))
    assert texts[0]["given"].split()[0] in page.text
    assert len(page.named("span", "made")) == 4, "three texts, and what is said of their colour"
    evidence = json.loads((tmp_path / "evidence.json").read_text())
    assert [pixels_of(each).shape for each in evidence["attention"]] == [(96, 96, 3)]
    lit = pixels_of(evidence["attention"][0])[..., 0] < 255
    assert not np.triu(lit, 1).any(), "no token looks at a later one"
    assert lit[:, 0].all()
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["baseline"]["what"] == "knowing only how common each token is"
    assert 2.5 < result["baseline"]["value"] < np.log(257), "of bytes of English, in nats"


def test_a_forecast_and_a_regression_show_what_came_beside_what_was_said(tmp_path: Path) -> None:
    fit(tmp_path / "series", "task=forecasting", "model=ridge")
    found = json.loads((tmp_path / "series" / "evidence.json").read_text())
    label, prediction = (np.array(found["quantities"][name]) for name in ("label", "prediction"))
    result = json.loads((tmp_path / "series" / "result.json").read_text())
    assert np.sqrt(((label - prediction) ** 2).mean()) == pytest.approx(result["objective"]["value"])
    assert result["baseline"]["value"] == pytest.approx(result["metrics"]["val/naive_rmse"])
    page = Page(write(tmp_path / "series"))
    assert [len(page.named("polyline", colour)) for colour in ("s0", "s1")] == [1, 1]
    fit(tmp_path / "table", "task=tabular", "data=diabetes", "model=ridge")
    table = Page(write(tmp_path / "table"))
    assert (
        len(table.named("circle", "dot")) == json.loads((tmp_path / "table" / "evidence.json").read_text())["samples"]
    )
    assert "always the mean; less is better" in table.text


def test_a_picture_of_several_has_each_where_it_belongs() -> None:
    draw = np.random.default_rng(0)
    grey, coloured = (draw.integers(0, 256, size=shape, dtype=np.uint8) for shape in ((8, 8), (50, 40, 3)))
    whole = sheet([grey, coloured])
    assert np.array_equal(whole[:48:6, :48:6, 0], grey)
    assert np.array_equal(whole[:50, 50:90], coloured)
    assert np.array_equal(pixels_of(data_uri(whole)), whole)


def test_the_weights_of_attention_are_those_that_the_pass_uses() -> None:
    import torch
    from torch.nn import functional as F

    from launcher.functional.attention import Attentions

    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 6, 8), torch.randn(2, 2, 6, 8)
    value = torch.eye(6).expand(2, 2, 6, 6)  # what is mixed are the weights themselves
    mask = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    for given in ({"is_causal": True}, {"attn_mask": mask}, {"attn_mask": mask.log(), "scale": 0.5}):
        with Attentions() as seen:
            mixed = F.scaled_dot_product_attention(query, key, value, enable_gqa=True, **given)
        assert torch.allclose(seen.layers[0], mixed[0].mean(0), atol=1e-6)


def test_baselines_are_what_such_guesses_reach() -> None:
    from sklearn.metrics import f1_score, log_loss, r2_score, root_mean_squared_error

    from launcher.functional.baselines import of_classes, of_quantity, of_tokens

    draw = np.random.default_rng(0)
    label = draw.choice(4, size=400, p=[0.1, 0.2, 0.3, 0.4])
    shares = np.bincount(label) / 400
    found = {name: value for name, (value, _) in of_classes(label, 4).items()}
    guess = np.full(400, shares.argmax())
    assert found["accuracy"] == (guess == label).mean()
    assert found["f1"] == pytest.approx(f1_score(label, guess, average="macro"))
    assert found["loss"] == pytest.approx(log_loss(label, np.tile(shares, (400, 1))))
    values = draw.normal(size=100)
    told = {name: value for name, (value, _) in of_quantity(values, values[::-1]).items()}
    assert told["rmse"] == pytest.approx(root_mean_squared_error(values, values[::-1]))
    assert told["r2"] == pytest.approx(r2_score(values, values[::-1]))
    assert of_tokens(np.array([0, 0, 1]), np.array([0, 2]), 3) == pytest.approx(-(np.log(3 / 6) + np.log(1 / 6)) / 2)


def test_what_differs_is_told_on_the_terminal_and_on_a_page(folder: Path, warm: Warm, tmp_path: Path) -> None:
    other = tmp_path / "other"
    fit(other, *WATCHED, "optimizer=sgd", "optimizer.lr=0.05")
    done = warm("action=compare", f"runs=[{folder},{other}]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = {line.split("  ")[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    assert lines["optimizer.lr"][1:] == ["0.001", "0.05"]
    assert lines["optimizer._target_"][1:] == ["torch.optim.AdamW", "torch.optim.SGD"]
    assert "training.batch_size" not in lines
    assert "seed" not in lines
    values = [json.loads((each / "result.json").read_text())["objective"]["value"] for each in (folder, other)]
    told = [float(word) for word in lines["val/accuracy"][1:] if word != "*"]
    assert told == pytest.approx(values, abs=1e-3)
    assert lines["val/accuracy"].index("*") == 2 + (values[1] > values[0])
    assert "baseline" in lines
    page = Page(tmp_path / "comparison.html")
    assert "train/loss" in page.text
    assert any(row[0] == "optimizer.lr" for table in page.tables for row in table)
    assert len(page.named("polyline", "s1")) > 0


def test_an_object_that_a_run_lacks_is_one_row() -> None:
    has = {"monitor.flops._target_": "launcher.monitors.flops.Flops", "monitor.flops.peak_tflops": "null", "seed": "0"}
    assert comparison_page.differing([has, {"monitor": "{}", "seed": "1"}]) == [
        ["monitor.flops", "Flops", "–"],
        ["seed", "0", "1"],
    ]


def test_a_sweeps_folder_stands_for_its_trials(tmp_path: Path) -> None:
    for name in ("0", "1", "10"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(json.dumps({"seed": int(name), "nested": {"a": [1]}}))
    runs = comparison_page.look(comparison_page.folders_of([str(tmp_path)]))
    assert [run.name for run in runs] == ["0", "1", "10"]
    assert comparison_page.differing([run.config for run in runs]) == [["seed", "0", "1", "10"]]


def many(place: Path, num: int, data: list[str]) -> list[comparison_page.Seen]:
    """Runs as their folders have them, each with its own rate and accuracy, on the data of that hash."""
    for index in range(num):
        folder = place / f"run-{index}"
        folder.mkdir()
        config = {"seed": 0, "optimizer": {"lr": 10**-index, "betas": [0.9, 0.99]}, "notes": "a long one " * index}
        (folder / "config.yaml").write_text(json.dumps(config))
        objective = {"name": "val/accuracy", "value": index / num, "direction": "maximize"}
        result = {
            "status": "completed",
            "objective": objective,
            "metrics": {"val/loss": 1 / num},
            "steps": 100,
            "reason": "max_steps",
            "epochs": 1.0,
            "wall_s": 1.0,
        }
        (folder / "result.json").write_text(json.dumps(result))
        origin = {"data": {"val": {"samples": 10, "hash": data[index % len(data)]}}, "host": f"node{index}"}
        (folder / "provenance.json").write_text(json.dumps(origin))
    return comparison_page.look([place / f"run-{index}" for index in range(num)])


@pytest.mark.parametrize("width", [40, 80, 120])
def test_many_runs_are_a_line_each_that_fits_the_terminal(tmp_path: Path, width: int) -> None:
    runs = many(tmp_path, 30, ["one"])
    lines = told(runs, width)
    assert max(map(len, lines)) <= width
    by_run = {line.split()[0]: line.split() for line in lines if line.startswith("run-")}
    assert len(by_run) == 30
    assert all(words[1:3] == ["completed", number(index / 30)] for index, words in enumerate(by_run.values()))
    assert [name for name, words in by_run.items() if "*" in words] == ["run-29"]
    text = " ".join(" ".join(lines).split())
    assert "optimizer.lr" in text
    assert "notes" in text, "what has no room is named"
    assert "origin: differs in host" in text


def test_two_runs_stand_side_by_side_also_where_their_words_are_long(tmp_path: Path) -> None:
    lines = told(many(tmp_path, 2, ["one"]), 80)
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["run-0", "run-1"]
    assert next(line.split() for line in lines if line.startswith("optimizer.lr")) == ["optimizer.lr", "1", "0.1"]


def test_no_run_is_the_best_of_others_that_were_judged_on_other_samples(tmp_path: Path) -> None:
    runs = many(tmp_path, 4, ["one", "other"])
    lines = told(runs, 120)
    assert lines[-1] == "none is marked as the best: they were not judged on the same held-out samples"
    assert "*" not in "".join(lines[:-1])
    page = Page(comparison_page.write(runs, tmp_path / "c.html"))
    assert lines[-1] in page.text
    assert "*" not in page.text
    for run in runs:  # without a hash, where the data come from says it
        del run.origin["val data"]
    assert comparison_page.judged_alike(runs)
    runs[0].config["data.path"] = "other.csv"
    assert not comparison_page.judged_alike(runs)


@pytest.mark.parametrize("inside", [(), ("0",)])
def test_less_than_two_runs_are_refused(tmp_path: Path, inside: tuple[str, ...]) -> None:
    for name in inside:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(ConfigError, match=r"at least two|no run is here"):
        comparison_page.folders_of([str(tmp_path)])


def test_curves_that_are_not_finite_do_not_break_a_comparison(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("seed: 0\n")
        lines = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": "NaN"}, {"step": 3, "loss": "Infinity"}]
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    runs = comparison_page.look([tmp_path / "a", tmp_path / "b"])
    assert math.isnan(runs[0].curves["loss"][1][1])
    assert "loss" in Page(comparison_page.write(runs, tmp_path / "c.html")).text
