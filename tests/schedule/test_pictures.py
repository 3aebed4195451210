"""The committed pictures of the schedules are what the code draws today."""

from __future__ import annotations

import re
import runpy
from typing import Any

import pytest

from launcher import CONF
from tests.harness import ROOT

IMAGES = ROOT / "docs" / "images"
DRAW: dict[str, Any] = runpy.run_path(str(IMAGES / "draw.py"), run_name="draw")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def test_every_schedule_has_a_picture_and_no_picture_is_left_over() -> None:
    entries = {path.stem for path in (CONF / "scheduler").glob("*.yaml")} | {"warmup"}
    assert set(DRAW["PICTURES"]) == entries
    assert {path.name for path in IMAGES.glob("*.svg")} == {f"schedule_{entry}.svg" for entry in entries}


@pytest.mark.parametrize("entry", sorted(DRAW["PICTURES"]))
def test_a_picture_is_the_one_that_is_drawn(entry: str) -> None:
    """Word for word, and its numbers to a rounding of the last digit that is written."""
    kept, drawn = (IMAGES / f"schedule_{entry}.svg").read_text(), DRAW["PICTURES"][entry]()
    assert NUMBER.split(kept) == NUMBER.split(drawn)
    numbers = [[float(each) for each in NUMBER.findall(text)] for text in (kept, drawn)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.11, rel=0.02)
