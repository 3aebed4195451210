"""The committed pictures of the pages are what the code draws today, and every entry that has a curve or folds has one."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable

import pytest

from launcher import CONF
from tests.support.harness import ROOT

IMAGES = ROOT / "docs" / "images"
PICTURES: dict[str, Callable[[], str]] = {
    name: draw
    for script in ("draw", "folds", "learned")
    for name, draw in runpy.run_path(str(IMAGES / f"{script}.py"), run_name=script)["PICTURES"].items()
}
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


@pytest.mark.parametrize(("group", "prefix"), [("scheduler", "schedule"), ("validation", "validation")])
def test_every_entry_has_a_picture(group: str, prefix: str) -> None:
    entries = {f"{prefix}_{path.stem}" for path in (CONF / group).glob("*.yaml")}
    assert entries - set(PICTURES) == set()


def test_no_picture_is_left_over_and_each_is_shown() -> None:
    assert {path.stem for path in IMAGES.glob("*.svg")} == set(PICTURES)
    pages = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    assert set(re.findall(r"\(images/(\w+)\.svg\)", pages)) == set(PICTURES)


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_a_picture_is_the_one_that_is_drawn(name: str) -> None:
    """Word for word, and its numbers to a rounding of the last digit that is written."""
    kept, drawn = (IMAGES / f"{name}.svg").read_text(), PICTURES[name]()
    assert NUMBER.split(kept) == NUMBER.split(drawn)
    numbers = [[float(each) for each in NUMBER.findall(text)] for text in (kept, drawn)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.11, rel=0.02)
