"""What the page shows of predictions and of a step's time, beside other libraries' numbers; and the comparison of runs."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launcher.errors import ConfigError
from launcher.evidence import classified, png
from launcher.functional.calibration import calibration_error
from launcher.report import compare, sections
from launcher.report.run import write
from tests.fits import fit
from tests.harness import Warm
from tests.report.test_run_page import Page

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
    shown = [row[1:] for row in next(table for table in page.tables if table[0] == ["", *evidence["classes"]])[1:]]
    assert shown == [[str(count) if count else "" for count in row] for row in evidence["confusion"]]
    pictures = page.named("img")
    assert len(pictures) == len(evidence["worst"]) == 12
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in pictures)
    result = json.loads((folder / "result.json").read_text())
    right = sum(evidence["confusion"][each][each] for each in range(10))
    assert right / evidence["samples"] == pytest.approx(result["metrics"]["val/accuracy"])
    times = next(table for table in page.tables if table[0] == ["", "mean", "share"])
    assert [row[0] for row in times[1:]] == [*sections.PARTS, "step"]
    assert sum(float(row[2].rstrip("%")) for row in times[1:-1]) == pytest.approx(100, abs=0.3)


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
    page = Page(tmp_path / "comparison.html")
    assert "train/loss" in page.text
    assert any(row[0] == "optimizer.lr" for table in page.tables for row in table)
    assert len(page.named("polyline", "s1")) > 0


def test_a_sweeps_folder_stands_for_its_trials(tmp_path: Path) -> None:
    for name in ("0", "1", "10"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(json.dumps({"seed": int(name), "nested": {"a": [1]}}))
    runs = compare.look(compare.folders_of([str(tmp_path)]))
    assert [run.name for run in runs] == ["0", "1", "10"]
    assert compare.differing([run.config for run in runs]) == [["seed", "0", "1", "10"]]


@pytest.mark.parametrize("inside", [(), ("0",)])
def test_less_than_two_runs_are_refused(tmp_path: Path, inside: tuple[str, ...]) -> None:
    for name in inside:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(ConfigError, match=r"at least two|no run is here"):
        compare.folders_of([str(tmp_path)])


def test_curves_that_are_not_finite_do_not_break_a_comparison(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("seed: 0\n")
        lines = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": "NaN"}, {"step": 3, "loss": "Infinity"}]
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    runs = compare.look([tmp_path / "a", tmp_path / "b"])
    assert math.isnan(runs[0].curves["loss"][1][1])
    assert "loss" in Page(compare.write(runs, tmp_path / "c.html")).text
