from __future__ import annotations

import itertools
import json
import math
import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import ConfigError
from launcher.report.line_chart import HEIGHT, LEFT, LIMIT, TOP, WIDTH, Series, chart, decimate, means
from launcher.report.run_page import write
from launcher.trackers.recorder import Recorder

ROOT = Path(__file__).resolve().parents[2]
CONFIG: dict[str, Any] = {
    "name": None,
    "tags": ["baseline"],
    "seed": 7,
    "resume": None,
    "objective": {"metric": "val/accuracy", "direction": "maximize"},
    "training": {"max_epochs": 3.0, "batch_size": 32, "max_time": None},
    "task": {"_target_": "launcher.tasks.image_classification.ImageClassification"},
    "model": {"_target_": "launcher.tasks.models.cnn.CNN", "_partial_": True, "width": 16},
    "data": {"_target_": "launcher.tasks.data.digits.Digits"},
    "optimizer": {"betas": [0.9, 0.999], "lr": 1e-3},
    "monitor": {},
}
RESULT: dict[str, Any] = {
    "status": "completed",
    "reason": "max_epochs",
    "objective": {"name": "val/accuracy", "value": 0.90625, "direction": "maximize"},
    "metrics": {"val/accuracy": 0.90625, "val/loss": 0.3},
    "best_step": 80,
    "steps": 120,
    "epochs": 3.0,
    "wall_s": 65.0,
    "steps_per_s": 1.846,
    "samples_per_s": 59.07,
    "world_size": 2,
    "parameters": 16794,
    "trainable_parameters": 1200,
    "peak_memory_bytes": 3 * 2**30,
    "seed": 7,
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "git": {"commit": "abc123", "dirty": True},
}
VOID = {"meta", "br", "img", "link"}


class Page(HTMLParser):
    """A page read back: its tags with their attributes, its text, its tables; unbalanced tags are an error."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self._open == []

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def named(self, tag: str, part: str = "") -> list[dict[str, str]]:
        return [
            found for name, found in self.tags if name == tag and (not part or part in found.get("class", "").split())
        ]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("style", "title"):
            return
        self.words.append(data)
        if "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data


def run_folder(folder: Path, config: dict[str, Any] | None = None, result: dict[str, Any] | None = None) -> Path:
    """A run's folder; YAML reads JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(json.dumps(CONFIG if config is None else config))
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def log(folder: Path) -> None:
    recorder = Recorder(folder, [])
    for step in range(20, 121, 20):
        recorder.log(
            step,
            {"train/loss": 2.0 * math.exp(-step / 30), "lr": 1e-3 * (1 - step / 120), "gradient_norm": 1.5},
            step / 40,
            0.0,
        )
        if step % 40 == 0:
            accuracy = 0.90625 if step == 80 else 0.5
            recorder.log(step, {"val/loss": 0.1 + math.exp(-step / 40), "val/accuracy": accuracy}, step / 40, 0.0)
    recorder.close({})


def test_the_page_says_what_was_run_what_came_out_and_how_to_run_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = run_folder(tmp_path / "outputs" / "a", result=RESULT)
    log(folder)
    path = write(folder)
    assert path == folder / "report.html"
    page = Page(path)
    assert "Image classification: CNN on Digits" in page.text
    for said in ("completed", "all its epochs are done", "baseline", "outputs/a"):
        assert said in page.text
    text = " ".join(page.text.split())
    tiles = (
        "0.9062 val/accuracy, best at step 80",
        "120 steps",
        "3 epochs",
        "1m05s of training",
        "1.8 steps/s",
        "59 samples/s",
        "16,794 parameters, 1,200 trainable",
        "3 GiB of peak memory",
        "2 ranks",
    )
    for tile in tiles:
        assert tile in text
    assert "the same again, from this folder python -m launcher --config-dir outputs/a" in text
    assert "train on python -m launcher resume=outputs/a training.max_epochs=6" in text
    about = {row[0]: row[1] for row in page.tables[0]}
    assert about["task"] == "Image classification"
    assert about["model"] == "CNN, width 16, 16,794 weights, 1,200 trained"
    assert (about["batch"], about["length"], about["seed"]) == ("32 samples a step", "3 epochs", "7")


def test_the_result_stands_beside_what_is_reached_without_learning(tmp_path: Path) -> None:
    baseline = {"value": 0.225, "what": "always the commonest class"}
    folder = run_folder(tmp_path, result=RESULT | {"baseline": baseline})
    log(folder)
    page = Page(write(folder))
    text = " ".join(page.text.split())
    assert "this run 0.9062 baseline 0.2250" in text
    assert "baseline: always the commonest class; more is better" in text
    widths = [float(bar["style"].split(":")[1].rstrip("%")) for bar in page.named("i") if "style" in bar]
    assert widths == [100.0, pytest.approx(100 * 0.225 / 0.90625, abs=0.05)]
    assert len(page.named("polyline", "dashed")) == 1, "a line in the objective's drawing"


def test_every_value_stands_in_a_table_with_its_extremes(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, result=RESULT)
    log(folder)
    page = Page(write(folder))
    _, values, config, versions = page.tables
    rows = {row[1]: row[2:] for row in values}
    assert values[1][:2] == ["Gradient norm, before clipping", "gradient_norm"]
    assert rows["val/accuracy"] == ["0.5000", "0.5000", "40", "0.9062", "80"]
    assert rows["val/loss"] == ["0.1498", "0.1498", "120", "0.4679", "40"]
    assert rows["train/loss"] == ["0.0366", "0.0366", "120", "1.027", "20"]
    assert rows["lr"] == ["0", "0", "120", "8.33e-04", "20"]
    assert dict(map(tuple, config))["optimizer.lr"] == "0.001"
    assert dict(map(tuple, config))["optimizer.betas"] == "[0.9, 0.999]"
    assert dict(map(tuple, config))["training.max_time"] == "null"
    assert dict(map(tuple, config))["monitor"] == "{}"
    assert versions == [["python", "3.11.7"], ["torch", "2.13.0"], ["git", "abc123 with changes"]]


def test_curves_of_one_quantity_share_a_drawing_and_the_best_is_marked(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, result=RESULT)
    log(folder)
    page = Page(write(folder))
    source = page.source
    titles = [part.partition("</h3>")[0].partition("<")[0] for part in source.split("<h3>")[1:]]
    assert titles == ["Loss", "Accuracy", "Learning rate"], "a gradient norm that never moves is no drawing"
    drawings = [part.partition("</svg>")[0] for part in source.split("<svg")[1:]]
    assert [drawing.count("<polyline") for drawing in drawings] == [2, 1, 1]
    assert [drawing.count('class="mark"') for drawing in drawings] == [0, 1, 0]
    assert all('class="axis"' in drawing and ">step</text>" in drawing for drawing in drawings)
    assert "best: 0.9062 at step 80" in drawings[1]
    assert "train/loss: from 1.027 to 0.0366" in drawings[0]


def test_the_page_needs_nothing_outside_itself(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, result=RESULT)
    log(folder)
    page = Page(write(folder))
    assert not {"script", "link", "img", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    assert [attributes for _, attributes in page.tags if {"src", "href", "srcset", "action"} & set(attributes)] == []
    assert "url(" not in page.source
    assert "@import" not in page.source
    assert "http" not in page.source
    assert any(attributes.get("name") == "viewport" for attributes in page.named("meta"))
    assert "prefers-color-scheme:dark" in page.source
    assert "@media print" in page.source


def test_whatever_was_typed_or_logged_is_escaped(tmp_path: Path) -> None:
    evil = "</pre><script>alert('\"1\"')</script>&amp;"
    config = CONFIG | {"name": evil, "tags": [evil], "model": {evil: evil}}
    result = RESULT | {
        "status": evil,
        "reason": evil,
        "metrics": {},
        "versions": {evil: evil},
        "objective": {"name": evil, "value": 1.0},
    }
    result |= {"fits": [{"name": 'a"><script>x', "status": evil, "objective": 1.0, "seed": evil}]}
    folder = run_folder(tmp_path / "a b'<i>", config, result)
    (folder / 'a"><script>x').mkdir()
    (folder / 'a"><script>x' / "report.html").touch()
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": step, f"val/{evil}": step}) + "\n" for step in (1, 2))
    )
    page = Page(write(folder))
    assert not {"script", "pre>"} & {tag for tag, _ in page.tags}
    assert page.source.count("<script") == 0
    assert page.text.count(evil) >= 9
    (target,) = [attributes["href"] for attributes in page.named("a")]
    assert target == "a%22%3E%3Cscript%3Ex/report.html"


def test_a_run_without_a_result_shows_what_there_is(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    log(folder)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('not a record\n[1]\n{"epoch": 3}\n{"step": 140, "val/accuracy": 0.99')
    page = Page(write(folder))
    assert "no result" in page.text
    text = " ".join(page.text.split())
    assert "0.9062 val/accuracy" in text  # the best that was logged
    assert "120 steps" in text
    assert f"go on python -m launcher resume={tmp_path}" in text
    assert len(page.named("svg")) == 3


def test_a_run_that_has_not_logged_yet_and_one_that_failed(tmp_path: Path) -> None:
    fresh = Page(write(run_folder(tmp_path / "fresh")))
    assert fresh.named("svg") == []
    assert "– val/accuracy" in " ".join(fresh.text.split())
    failed = Page(
        write(
            run_folder(tmp_path / "failed", result=RESULT | {"status": "failed", "reason": "the loss is nan at step 5"})
        )
    )
    assert "the loss is nan at step 5" in failed.text
    assert len(failed.named("span", "bad")) == 1


def test_an_estimator_has_values_and_no_curves(tmp_path: Path) -> None:
    result = RESULT | {
        "steps": 1,
        "epochs": 1.0,
        "best_step": 1,
        "reason": "fitted",
        "parameters": None,
        "metrics": {"train/accuracy": 1.0, "val/accuracy": 0.90625},
    }
    folder = run_folder(tmp_path, result=result)
    recorder = Recorder(folder, [])
    recorder.log(1, result["metrics"], epoch=1.0, time_s=0.3)
    recorder.close({})
    page = Page(write(folder))
    assert page.named("svg") == []
    assert page.tables[1] == [
        ["", "name", "value"],
        ["Accuracy, held out", "val/accuracy", "0.9062"],
        ["Accuracy, training", "train/accuracy", "1.000"],
    ]
    assert "best at step" not in page.text


def test_a_procedure_shows_its_fits_with_their_spread(tmp_path: Path) -> None:
    fits = [{"name": f"seed-{n}", "seed": n, "status": "completed", "objective": 0.9 + n / 100} for n in range(3)]
    spread = {"fits": fits, "mean": RESULT["metrics"], "std": {"val/accuracy": 0.01, "val/loss": 0.002}}
    folder = run_folder(tmp_path, result=RESULT | {"reason": "3 fits"} | spread)
    write(run_folder(folder / "seed-1", result=RESULT))
    page = Page(write(folder))
    text = " ".join(page.text.split())
    assert "0.9062 ± 0.0100 val/accuracy, mean of 3 fits" in text
    assert page.tables[1][1:] == [
        ["seed-0", "0.9000", "", "completed", "0"],
        ["seed-1", "0.9100", "", "completed", "1"],
        ["seed-2", "0.9200", "", "completed", "2"],
    ]
    assert [attributes["href"] for attributes in page.named("a")] == ["seed-1/report.html"]
    assert ["Loss, held out", "val/loss", "0.3000 ± 0.0020"] in page.tables[2]


def test_fits_of_an_estimator_have_neither_steps_nor_rates_and_data_have_their_own_name(tmp_path: Path) -> None:
    fits = [{"name": f"fold-{n}", "seed": n, "status": "completed", "objective": 0.9} for n in range(2)]
    data = {"data": {"_target_": "launcher.tasks.data.bundled.Bundled", "name": "wine"}}
    spread = {"reason": "2 folds", "steps": 2, "epochs": 2.0, "fits": fits, "std": {}}
    folder = run_folder(tmp_path, CONFIG | data, RESULT | spread)
    for fit in fits:
        run_folder(folder / str(fit["name"]), result=RESULT | {"reason": "fitted"})
    text = " ".join(Page(write(folder)).text.split())
    assert "Image classification: CNN on wine" in text
    assert all(word not in text for word in ("2 steps", "2 epochs", "optimizer lr", "a step"))
    run_folder(folder / "fold-1", result=RESULT)
    text = " ".join(Page(write(folder)).text.split())
    assert all(word in text for word in ("2 steps", "2 epochs", "32 samples a step"))


def test_curves_of_fits_are_drawn_over_each_other_and_their_baselines_are_one(tmp_path: Path) -> None:
    fits = [{"name": f"fold-{n}", "seed": n, "status": "completed", "objective": 0.9} for n in range(2)]
    folder = run_folder(tmp_path, result=RESULT | {"fits": fits})
    for number, value in enumerate((0.1, 0.2)):
        own = RESULT | {"baseline": {"value": value, "what": "always the commonest class"}}
        log(run_folder(folder / f"fold-{number}", result=own))
    page = Page(write(folder))
    assert "baseline 0.1500" in " ".join(page.text.split())
    assert [len(page.named("polyline", colour)) for colour in ("s0", "s1")] == [3, 3], "accuracy and both losses"


def test_what_is_told_of_the_machine_has_units_and_shares_drawings(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, result=RESULT)
    recorder = Recorder(folder, [])
    for step in (1, 2, 3):
        recorder.log(
            step,
            {
                "time/forward_ms": 5.0 + step, "time/backward_ms": 9.0 - step, "system/ram_mib": 512.0 * step,
                "flops/mfu": step / 10, "lr": 1e-3 / step, "lr/0": 1e-3 / step, "unhealthy_gradients": 0.0,
                "carbon/energy_wh": 0.5 * step, "carbon/co2_g": 0.2 * step, "carbon/measured": 0.0,
            },
            1.0,
            0.0,
        )  # fmt: skip
    recorder.close({})
    page = Page(write(folder))
    titles = [part.partition("</h3>")[0].partition("<")[0] for part in page.source.split("<h3>")[1:]]
    assert titles == [
        "Learning rate", "Share of the device&#x27;s peak", "Memory of the run", "Time of a step", "Energy so far", "CO₂ so far"
    ]  # fmt: skip
    text = " ".join(page.text.split())
    for said in ("with all that it started 1.500", "used 30.00", "forward 8.000 backward 6.000"):
        assert said in text
    units = [part.partition("<")[0] for part in page.source.split(f'<text x="{LEFT - 40}" y="{TOP + 2}">')[1:]]
    assert units == ["%", "GiB", "ms", "Wh", "g"]
    assert "how it is known estimated from the load" in text


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run is here"):
        write(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_the_page_is_made_without_heavy_imports(tmp_path: Path) -> None:
    run_folder(tmp_path, result=RESULT)
    script = (
        "import sys; from pathlib import Path; from launcher.report.run_page import write; write(Path(sys.argv[1]))\n"
        "print([name for name in ('torch', 'numpy', 'matplotlib', 'hydra', 'omegaconf', 'rich') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


# -- drawing


def test_few_points_are_all_kept_and_many_keep_their_extremes() -> None:
    draw = random.Random(0)
    points = [(float(step), draw.gauss(0, 1)) for step in range(50_000)]
    points[31_234] = (31_234.0, 80.0)
    points[7] = (7.0, -80.0)
    kept = decimate(points)
    assert len(kept) <= LIMIT
    assert kept == sorted(set(kept))
    assert {points[0], points[-1], points[31_234], points[7]} <= set(kept)
    assert set(kept) <= set(points)
    assert decimate(points[:LIMIT]) == points[:LIMIT]
    half = points[: len(points) // 2]
    averaged = means(points, 2)
    assert averaged[0] == pytest.approx((sum(x for x, _ in half) / len(half), sum(y for _, y in half) / len(half)))


def coordinates(drawing: str) -> list[list[tuple[float, float]]]:
    lines = [part.partition('"')[0] for part in drawing.split('points="')[1:]]
    return [[(float(x), float(y)) for x, y in (pair.split(",") for pair in line.split())] for line in lines]


def test_points_lie_where_their_values_are() -> None:
    (line,) = coordinates(chart([Series("a", [(0, 0.0), (50, 1.0), (100, 2.0)])]))
    (x0, y0), (x1, y1), (x2, y2) = line
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    assert 0 <= x0 < x2 <= WIDTH
    assert 0 <= y2 < y0 <= HEIGHT


def test_a_wide_positive_range_is_drawn_over_a_logarithm() -> None:
    (line,) = coordinates(chart([Series("a", [(1, 100.0), (2, 10.0), (3, 1.0), (4, 0.1)])]))
    drops = [after[1] - before[1] for before, after in itertools.pairwise(line)]
    assert drops == pytest.approx([drops[0]] * 3, abs=0.11)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_dot_that_has_no_place_is_left_out(bad: float) -> None:
    """A model whose probabilities are NaN has a confidence of NaN: its page is written all the same."""
    even = Series("even", [(0, 0), (100, 100)], "dashed")
    drawn = chart([Series("a", [(50, 20), (bad, 40), (60, bad)], "dots", [2.0, 3.0, 4.0]), even])
    assert drawn.count('class="dot') == 1
    assert not re.search(r"\b(nan|inf)\b", drawn)
    assert "no finite values" in chart([Series("a", [(bad, 40)], "dots", [2.0]), even])


@pytest.mark.parametrize("gap", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_a_gap(gap: float) -> None:
    drawing = chart([Series("a", [(1, 1.0), (2, 2.0), (3, gap), (4, 3.0), (5, 2.0), (6, gap), (7, 1.0)])])
    assert [len(line) for line in coordinates(drawing)] == [2, 2]
    assert drawing.count("<circle") == 1
    assert "nan" not in drawing
    assert "inf" not in drawing
    assert "no finite values" in chart([Series("a", [(1, gap)])])


def labels(drawing: str, anchor: str) -> list[str]:
    return [
        part.partition(">")[2].partition("<")[0]
        for part in drawing.split("<text")[1:]
        if f'text-anchor="{anchor}"' in part
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.0], ["0", "0.5", "1.0"]),
        ([0.25, 1.0], ["0.25", "0.50", "0.75", "1.00"]),
        ([0.0, 1e-3], ["0", "5e−4", "1e−3"]),
        ([-3.0, 3.0], ["−2", "0", "2"]),
        ([0.0, 80_000.0], ["0", "25k", "50k", "75k"]),
        ([0.01, 90.0], ["0.01", "0.1", "1", "10", "100"]),
        ([5.0, 5.0], ["4", "6"]),
    ],
)
def test_ticks_are_round_numbers(values: list[float], expected: list[str]) -> None:
    points = [(float(step), value) for step, value in enumerate(values, start=1)]
    assert labels(chart([Series("a", points)]), "end") == expected


def test_steps_are_whole_numbers() -> None:
    drawing = chart([Series("a", [(1, 1.0), (2, 2.0), (3, 0.5)])])
    assert labels(drawing, "middle") == ["1", "2", "3"]
