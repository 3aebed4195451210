"""What a page is on paper, and what it is to those who hear it: a real browser, offline, over pieces of pages."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from launcher.artifacts.evidence import darkness
from launcher.functional.images import data_uri, shaded
from launcher.report.html import card, page
from launcher.report.line_chart import Series, chart
from launcher.report.optuna_plots import drawings, section
from launcher.report.sections import attended, classified, foretold
from launcher.report.stylesheet import STYLE
from tests.report.browser import Browser

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pieces() -> list[str]:
    """A drawing of each kind that pages have."""
    lines = [Series(f"run {index}", [(step, 0.1 * step + index) for step in range(5)]) for index in range(6)]
    legend = [(line.name, "1.0") for line in lines]
    evidence = {
        "classes": ["a", "b"],
        "confusion": [[3, 1], [0, 4]],
        "calibration": [[0.6, 0.5, 4], [0.9, 1.0, 4]],
        "worst": [],
        "samples": 8,
        "attention": [data_uri(shaded(np.eye(4), 16))],
    }
    quantities = {"samples": 4, "quantities": {"label": [1.0, 2.0, 3.0], "prediction": [1.5, 2.0, 2.0]}}
    study = optuna.create_study()
    for number in range(3):
        study.add_trial(
            optuna.create_trial(
                value=float(number),
                params={"lr": 0.1 + number},
                distributions={"lr": optuna.distributions.FloatDistribution(0, 9)},
            )
        )
    return [
        card("Loss", legend, chart(lines, title="Loss"), dashed="baseline"),
        *classified(evidence),
        *attended(evidence),
        *foretold(quantities),
        *section(list(drawings(study, (), ()))),
    ]


def test_legends_keep_their_colours_on_paper_without_backgrounds(pieces: list[str], tmp_path: Path) -> None:
    """As a person prints who has not asked for background graphics: what is filled in the PDF's own streams."""
    path = tmp_path / "page.html"
    path.write_text(page("Loss", pieces[:1]))
    with Browser() as browser, browser.page(path, media="print") as opened:
        written = opened.printed(tmp_path / "page.pdf").read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)endstream", written, re.DOTALL)
    drawn = b"\n".join(zlib.decompress(each) for each in streams if each[:1] == b"x")
    filled = {
        tuple(round(255 * float(share)) for share in shares)
        for shares in re.findall(rb"([\d.]+) ([\d.]+) ([\d.]+) rg", drawn)
    }
    print_sheet = STYLE[STYLE.index("@media print") :]
    colours = {tuple(bytes.fromhex(code)) for code in re.findall(r"--s[0-4]:#([0-9a-f]{6})", print_sheet)}
    assert len(colours) == 5
    assert colours <= filled, "the strokes of the legend; the curves are stroked and not filled"


def test_every_drawing_has_a_name_of_its_own(pieces: list[str], tmp_path: Path) -> None:
    """In the tree that a browser hands to a screen reader."""
    path = tmp_path / "page.html"
    path.write_text(page("Drawings", pieces))
    with Browser() as browser, browser.page(path) as opened:
        names = opened.drawings()
        titles = opened.tell(
            "[...document.querySelectorAll('.chart')].filter(each => each.querySelector('svg,img,.plot')).map(each => each.querySelector('h3').firstChild.textContent)"
        )
    assert len(names) == len(set(names)) == len(titles) >= 6
    for title in titles:
        assert any(title.casefold() in name.casefold() for name in names), (title, names)


@pytest.mark.parametrize("first", [None, 9.0], ids=["spread", "sink"])
@pytest.mark.parametrize("spread", [0.2, 2.0])
def test_attention_can_be_seen(first: float | None, spread: float) -> None:
    """Of 64 tokens that look at those before them, nearly alike or not, and all mostly at the first or not."""
    scores = spread * torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    if first is not None:
        scores[:, 0] = first
    allowed = torch.ones(64, 64, dtype=torch.bool).tril()
    shares = darkness(scores.masked_fill(~allowed, -torch.inf).softmax(-1))
    assert shares.max(axis=1) == pytest.approx(np.ones(64))
    pixels = shaded(shares, 1).astype(int)
    seen = (765 - pixels.sum(axis=2)) > 30  # a twentieth of the way from white to the darkest: what an eye tells apart
    assert (seen == allowed.numpy()).all(), "what is looked at is not white, what is not is"
    if first is None or spread > 1:
        assert shares[32:, 1:32].std() > 0.1, "and one weight is not as dark as the next"
    order = scores[40, :41].argsort()
    assert (np.diff(shares[40, :41][order.numpy()]) >= 0).all(), "darker is more"


def test_attention_that_is_even_is_evenly_dark() -> None:
    assert darkness(torch.full((3, 4), 0.25)) == pytest.approx(np.ones((3, 4)))
