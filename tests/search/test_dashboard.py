"""The servers of `make dashboard`, asked for what they show."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from tests.search.driver import drive
from tests.support.harness import TIMEOUT, environment


def get(url: str) -> object:
    with urllib.request.urlopen(url, timeout=60) as reply:
        return json.load(reply)


def test_curves_and_studies_are_served(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "outputs" / "a" / "b" / "tensorboard")) as writer:
        writer.add_scalar("train/loss", 0.5, 1)
    for name, storage in (("one", None), ("two", f"sqlite:///{tmp_path / 'studies.db'}")):
        drive(str(tmp_path / "multirun" / name), "random", 3, 1, storage)
        (tmp_path / "multirun" / name / "sweep.json").write_text(
            json.dumps({"space": {}, "config": {}, "metrics": [], "storage": storage})
        )
    process = subprocess.Popen(
        [sys.executable, "-m", "launcher.search.dashboard"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    watchdog = threading.Timer(TIMEOUT, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        urls = dict(re.findall(r"^(.*): (http://\S+)$", said, re.MULTILINE))
        assert set(urls) == {"runs under outputs and multirun", "sweep one", "sweep two"}, said
        assert "outputs/a/b/tensorboard" in str(get(f"{urls['runs under outputs and multirun']}data/runs"))
        for name in ("one", "two"):
            (summary,) = get(f"{urls[f'sweep {name}']}api/studies")["study_summaries"]  # type: ignore[index]
            study = get(f"{urls[f'sweep {name}']}api/studies/{summary['study_id']}")
            assert [trial["state"] for trial in study["trials"]] == ["Complete"] * 3  # type: ignore[index]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("words", "message"), [((), "no run with curves"), (("a", "b"), "usage:")])
def test_nothing_to_show_is_said(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "launcher.search.dashboard", *words],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=TIMEOUT,
    )  # fmt: skip
    assert done.returncode == 2
    assert message in done.stderr
