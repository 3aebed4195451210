"""The pages in a real browser, offline: `.ci/run` installs Chromium and runs these with `-m browser`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launcher.report import comparison_page
from launcher.report.run_page import write
from tests.report.browser import Browser
from tests.support.fits import fit
from tests.support.harness import Warm

pytestmark = pytest.mark.browser

PAGES = (
    "a/report.html", "words/report.html", "series/report.html", "folds/report.html", "comparison.html",
    "multirun/sweep/report.html",
)  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Path:
    place = tmp_path_factory.mktemp("browser")
    for name, rate in (("a", "1e-3"), ("b", "3e-3")):
        words = ("training.max_epochs=2", "training.log_every=10", "monitor=[step_time,flops]", f"optimizer.lr={rate}")
        fit(place / name, *words)
    few = ("training.max_steps=4", "training.max_epochs=null", "training.batch_size=8")
    fit(place / "words", "task=text_classification", "model=transformer", "model.depth=1", *few)
    fit(place / "series", "task=forecasting", "model=ridge")
    for name in ("a", "b", "words", "series"):
        write(place / name)
    comparison_page.write(comparison_page.look([place / "a", place / "b"]), place / "comparison.html")
    sweep = warm(
        "-m", "search=halving", "model=mlp", "tracker=[]", "training.max_epochs=4", "hydra.sweeper.n_trials=6",
        "optimizer.lr=tag(log,interval(1e-3,3e-2))", "model.width=16,32", "hydra.sweeper.pruner.reduction_factor=2",
        "hydra.sweeper.study_name=sweep", cwd=place,
    )  # fmt: skip
    assert sweep.returncode == 0, sweep.stderr
    folds = warm("task=tabular", "model=naive_bayes", "validation=kfold", "hydra.run.dir=folds", cwd=place)
    assert folds.returncode == 0, folds.stderr
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.mark.parametrize("name", ["a/report.html", "comparison.html"])
def test_the_numbers_on_the_page_are_those_of_the_result(pages: Path, browser: Browser, name: str) -> None:
    results = [json.loads((pages / run / "result.json").read_text()) for run in ("a", "b")]
    with browser.page(pages / name) as page:
        for result in results if name == "comparison.html" else results[:1]:
            assert f"{result['objective']['value']:.4f}" in page.text
            assert f"{result['baseline']['value']:.4f}" in page.text
        assert page.tell("document.querySelectorAll('svg polyline').length") >= 4
        assert page.complaints == []


def test_every_picture_is_drawn(pages: Path, browser: Browser) -> None:
    for name in ("a", "words"):
        evidence = json.loads((pages / name / "evidence.json").read_text())
        wanted = len(evidence.get("attention", ())) + sum("picture" in each for each in evidence["worst"])
        with browser.page(pages / name / "report.html") as page:
            assert page.tell("[...document.images].filter(each => each.naturalWidth > 0).length") == wanted > 0
            assert page.tell("[...document.images].every(each => each.alt)")


def test_curves_have_a_height_and_named_axes(pages: Path, browser: Browser) -> None:
    with browser.page(pages / "a" / "report.html") as page:
        low = "Math.min(...[...document.querySelectorAll('svg polyline.line')].map(each => each.getBBox().height))"
        assert page.tell(low) > 5
        assert page.tell("[...document.querySelectorAll('svg')].every(each => each.querySelector('.axis').textContent)")


def test_a_sweeps_drawings_are_drawn_without_the_network(pages: Path, browser: Browser) -> None:
    with browser.page(pages / "multirun" / "sweep" / "report.html") as page:
        titles = "[...document.querySelectorAll('.plots h3')].map(each => each.textContent)"
        assert {"History of val/accuracy", "Rungs: val/accuracy on the way", "Slots over time"} <= set(
            page.tell(titles)
        )
        drawn = "[...document.querySelectorAll('.plot')].every(each => each.querySelector('svg.main-svg'))"
        assert page.tell(drawn)
        lane = (
            "[...document.querySelectorAll('.plots .chart')].find(each => each.textContent.includes('Slots over time'))"
        )
        assert page.tell(f"{lane}.querySelectorAll('.point').length") >= 6, "a bar for each trial"
        assert page.complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_the_page_fits_a_phone_in_the_dark(pages: Path, browser: Browser, tmp_path: Path, name: str) -> None:
    with browser.page(pages / name, width=390, height=800, scheme="dark") as page:
        assert page.complaints == []
        assert page.tell("document.documentElement.scrollWidth") == 390
        # What is wider than the screen has to lie in a part that scrolls by itself.
        over = """[...document.body.querySelectorAll('*')].filter(each => each.getBoundingClientRect().right > 391
            && !each.closest('.scroll') && !each.closest('details:not([open])')).map(each => each.outerHTML.slice(0, 80))"""
        assert page.tell(over) == []
        tall = """[...document.querySelectorAll('tr')].filter(row => row.clientHeight > 120 && !row.closest('.confusion, details:not([open])')
            && [...row.cells].every(each => each.textContent.length < 30)).length"""
        assert page.tell(tall) == 0, "no column so narrow that its words come to pieces"
        small = "[...document.body.querySelectorAll('p,td,span,b,dd')].filter(each => parseFloat(getComputedStyle(each).fontSize) < 11).length"
        assert page.tell(small) == 0
        with Image.open(page.picture(tmp_path / "page.png", whole=False)) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels[2, 2].mean() < 60


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_light_and_its_colours_are_there(pages: Path, browser: Browser, tmp_path: Path, name: str) -> None:
    with browser.page(pages / name) as page, Image.open(page.picture(tmp_path / "page.png")) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels[2, 2].mean() > 240
    blue = (pixels[..., 2] > pixels[..., 0] + 60) & (pixels[..., 2] > 150)
    assert blue.sum() > 500  # curves, bars and cells are drawn
    assert (pixels[:, -4:] == pixels[2, 2]).all()  # nothing runs over the page's margin


def test_the_page_can_be_printed(pages: Path, browser: Browser, tmp_path: Path) -> None:
    with browser.page(pages / "a" / "report.html", media="print") as page:
        assert page.tell("getComputedStyle(document.querySelector('details')).display") == "none", (
            "nothing to click on paper"
        )
        printed = page.printed(tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert 2 <= printed.count(b"/Type /Page\n") <= 8
