"""What is shown of a sweep while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import os
import re
import sys
from collections import Counter
from pathlib import Path

import pexpect
import pytest

from launcher.console.terminal import Terminal
from launcher.search.output.live_table import Row, SweepView
from tests.support.harness import ROOT

SCRIPT = """
import sys, time
import optuna
from pathlib import Path
from launcher.console.console import Console
from launcher.search.output.retention import Keeper
from launcher.search.output.progress import Progress
from launcher.search.dispatcher import Scheduler
from launcher.process.signals import Interrupt
from launcher.console.terminal import Plain, Terminal
from tests.search.driver import CountingPool, compose, open_study
optuna.logging.set_verbosity(optuna.logging.WARNING)
Terminal.interval_s = 0.01
looks = 0
for surface in (Plain, Terminal):
    def progress(self, view, draw=surface.progress):
        global looks
        draw(self, view)
        looks += 1
    surface.progress = progress
class Seen(CountingPool):
    # each step of a trial is one that the terminal has shown
    def wait(self, timeout):
        before = looks
        while terminal and looks < before + 2:
            time.sleep(0.001)
        super().wait(timeout)
terminal = sys.argv[2] == "terminal"
folder = Path(sys.argv[1])
study = open_study(folder, "grid", 4)
(folder / "sweep.json").write_text('{"space": {}, "config": {}, "metrics": [], "storage": null}')
progress = Progress(study, Console(), ["f"], 2, Keeper(study, None))
values = lambda result: [result["objective"]["value"]]
try:
    Scheduler(study, Seen(2), compose, values, progress, Interrupt()).run()
finally:
    progress.close()
"""
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d|10\d)(?:;\d+)*m")


def on_terminal(folder: Path, kind: str, columns: int = 100, **environ: str) -> str:
    inherited = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "TERM", "COLUMNS")}
    child = pexpect.spawn(
        sys.executable,
        ["-c", SCRIPT, str(folder), kind],
        env=inherited | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"} | environ,
        dimensions=(30, columns),
        cwd=str(ROOT),
        encoding="utf-8",
        timeout=120,
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    return child.before or ""


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_has_one_live_table(tmp_path: Path, no_color: str) -> None:
    received = on_terminal(tmp_path, "terminal", **({"NO_COLOR": no_color} if no_color else {}))
    drawn = [row for row in re.split(r"[\r\n]+", SEQUENCE.sub("", received)) if row.strip()]
    bars = [row for row in drawn if " running" in row]
    assert any("0/4 trials  2 running" in row for row in bars)
    assert any(re.search(r"50%  2/4 trials .*  best 0 of trial 0 .*left", row) for row in bars), bars
    running = [row for row in drawn if re.match(r"trial \d +slot \d", row)]
    assert {row.split()[1] for row in running} == set("0123"), "each trial had its row"
    assert any(re.match(r"trial 3 +slot \d +.* s +starts +x=0 y=4", row) for row in running)
    for number in range(4):
        assert any(f"/4  trial {number}: completed, f 0" in row for row in drawn), "and its permanent line"
    assert "running" not in received.rpartition("table: ")[2], "nothing live is left at the end"
    assert bool(COLOUR.search(received)) == (not no_color)
    assert "\x1b[?25l" not in received


def test_a_log_has_plain_lines(tmp_path: Path) -> None:
    received = on_terminal(tmp_path, "log", CI="1")
    lines = received.replace("\r", "").splitlines()
    assert "\x1b" not in received
    assert lines[0] == f"4 trials in {tmp_path}, 2 at a time"
    assert sorted(re.findall(r"^\d/4  trial (\d): completed, f 0", received.replace("\r", ""), re.MULTILINE)) == [
        *"0123"
    ]
    assert lines[-3:] == [
        "best: trial 0, f 0  (x=0 y=1)",
        f"table: {tmp_path / 'trials.csv'}",
        f"page: {tmp_path / 'report.html'}",
    ]


def test_parameters_with_all_their_digits_have_room(tmp_path: Path) -> None:
    """In 120 columns, beside what the trial has reached; what has none at all is cut, and not left out."""
    params = {
        "optimizer.lr": 0.00015720576161458653, "optimizer.weight_decay": 1.2345678901234567e-05,
        "model.dropout": 0.30000000000000004, "training.batch_size": 64, "model.depth": 3, "encoder.depth": 2,
    }  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text('{"step": 12345, "val/accuracy": 0.987654321}\n')
    view = SweepView([Row(123, 10, params, tmp_path)], Counter(), 200, None, 0, 1.0, "val/accuracy")
    said = "lr=0.0001572 weight_decay=1.235e-05 dropout=0.3 batch_size=64 model.depth=3 encoder.depth=2"
    assert view.rows()[0][-1][0] == said

    def drawn(columns: int) -> str:
        stream = io.StringIO()
        terminal = Terminal(stream)
        terminal._console.width, terminal._console.height = columns, 30
        terminal._console.print(terminal._drawn(view))
        return SEQUENCE.sub("", stream.getvalue()).splitlines()[0]

    assert drawn(160).endswith(said)
    assert "lr=0.0001572 weight_decay=1.235e-05 dropout" in drawn(120)
    assert drawn(120).endswith("...")
    assert len(drawn(120)) <= 120


def test_a_look_counts_and_foresees(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "train/loss": 0.5}\n{"step": 20, "val/f": 0.75}\n{"st')
    rows = [Row(7, 1, {"x": 2}, tmp_path), Row(6, 0, {"x": 1}, tmp_path / "none")]
    view = SweepView(rows, Counter(done=4, pruned=1, failed=1), 10, (3, 0.875), 3, 60.0, "val/f")
    assert view.share == 0.6
    assert view.words() == [
        "6/10 trials", "2 running", "best 0.8750 of trial 3", "1m20s left", "4 done", "1 pruned", "1 failed"
    ]  # fmt: skip
    first, second = [[text for text, _ in row] for row in view.rows()]
    assert (first[0], first[1], first[3:]) == ("trial 6", "slot 0", ["starts", "x=1"])
    assert (second[0], second[1], second[3:]) == ("trial 7", "slot 1", ["step 20, val/f 0.7500", "x=2"])
    endless = SweepView(rows, Counter(), None, None, 0, 60.0, "val/f")
    assert (endless.share, endless.left, endless.words()) == (None, None, ["0 trials", "2 running"])
