"""The page of a run that goes on: written when a checkpoint is new, and not again for the same one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.report import live
from launcher.report.live import LivePage
from launcher.report.run import NAME
from tests.report.test_run_page import Page, log, run_folder


def until(there: Callable[[], bool], limit_s: float = 60) -> None:
    """Wait for a condition."""
    ends = time.monotonic() + limit_s
    while not there():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.02)


def test_a_run_that_goes_on_can_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_S", 0.02)
    monkeypatch.setattr(live, "SHARE", 1.0)
    folder = run_folder(tmp_path / "run")
    last = folder / "checkpoints" / "last"
    last.parent.mkdir()
    page = folder / NAME
    written = LivePage(folder)
    try:
        last.symlink_to("step-1")
        until(page.is_file)
        assert "the run goes on" in Page(page).text
        first = page.stat().st_ino
        log(folder)
        last.unlink()
        last.symlink_to("step-2")
        until(lambda: page.stat().st_ino != first)
        assert "120 steps" in " ".join(Page(page).text.split())
    finally:
        written.close()
    last.unlink()
    before = page.stat().st_ino
    last.symlink_to("step-3")
    assert page.stat().st_ino == before, "it is over"
