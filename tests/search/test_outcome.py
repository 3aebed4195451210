"""What is said of a process that is gone, and of a page that is drawn while its modules are on their way."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from launcher.errors import DONE, PREEMPTED, ConfigError
from launcher.result import read_result
from launcher.search import page
from launcher.search.outcome import settle

CONFIG = OmegaConf.create(
    {"objective": {"metric": "val/loss", "direction": "minimize"}, "parallel": {"num_processes": 1}, "seed": 0}
)


def test_one_that_ends_well_without_a_result_has_failed(tmp_path: Path) -> None:
    found = settle(tmp_path, DONE, CONFIG)
    assert found is not None
    assert (found["status"], found["reason"]) == ("failed", "it ended without a result")
    assert read_result(tmp_path) == found
    assert settle(tmp_path / "saved", PREEMPTED, CONFIG) is None, "that one goes on"


def test_a_page_waits_for_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr("launcher.search.page.importlib.import_module", lambda name: goes_on.wait(10))
    page.warm_up()
    threading.Timer(0.1, goes_on.set).start()
    with pytest.raises(ConfigError):
        page.write(tmp_path)
    assert goes_on.is_set()
