"""What is said of a process that is gone, and of a page that is drawn while its modules are on their way."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from launcher.artifacts.result import read_result, unfinished, write_result
from launcher.errors import DONE, FAILED, PREEMPTED, ConfigError
from launcher.launch.outcome import ENDED, settle
from launcher.search.output import page

CONFIG = OmegaConf.create(
    {"objective": {"metric": "val/loss", "direction": "minimize"}, "parallel": {"num_processes": 1}, "seed": 0}
)


def test_one_that_ends_well_without_a_result_has_failed(tmp_path: Path) -> None:
    found = settle(tmp_path, DONE, CONFIG)
    assert found is not None
    assert (found["status"], found["reason"]) == ("failed", "it ended without a result")
    assert read_result(tmp_path) == found
    assert settle(tmp_path / "saved", PREEMPTED, CONFIG) is None, "that one goes on"


@pytest.mark.parametrize("status", [-signal.SIGKILL, -signal.SIGSEGV, FAILED, PREEMPTED, DONE])
@pytest.mark.parametrize("word", ENDED)
def test_one_that_came_to_its_end_stands_whatever_ended_its_process_then(
    tmp_path: Path, word: str, status: int
) -> None:
    """The result is written first, then the page, the trackers' last words and the process's own end."""
    done = {"status": word, "reason": "max_epochs", "objective": {"name": "val/loss", "value": 0.5}}
    write_result(tmp_path, unfinished(CONFIG) | done)
    (tmp_path / "log.txt").write_text("epoch 1\nTraceback (most recent call last):\n  of the page\n")
    before = (tmp_path / "result.json").read_bytes()
    found = settle(tmp_path, status, CONFIG)
    assert found is not None
    assert found["status"] == word
    assert settle(tmp_path, status, CONFIG, "it took longer than hydra.sweeper.trial_timeout=1 s") == found
    assert (tmp_path / "result.json").read_bytes() == before


def test_a_page_waits_for_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr("launcher.search.output.page.importlib.import_module", lambda name: goes_on.wait(10))
    page.warm_up()
    threading.Timer(0.1, goes_on.set).start()
    with pytest.raises(ConfigError):
        page.write(tmp_path)
    assert goes_on.is_set()
