"""A tracker that never comes back keeps neither the result nor the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.harness import environment

HANGING = """
import sys, threading
from pathlib import Path
from launcher.process.exit import leave
from launcher.trackers.recorder import Recorder, Tracker

class Hanging(Tracker):
    name = "hanging"
    close_timeout_s = 0.1
    def start(self, config, facts, name, folder, resume_step): pass
    def log(self, values, step, at): pass
    def close(self, result, step):
        never = threading.Event()
        threading.Thread(target=never.wait).start()  # the interpreter's end waits for it
        never.wait()

recorder = Recorder(Path(sys.argv[1]), [Hanging()])
recorder.log(1, {"loss": 1.0}, epoch=0.0, time_s=0.0)
recorder.close({"status": "completed"})
leave(int(sys.argv[2]))
"""


@pytest.mark.parametrize("status", [0, 75])
def test_a_tracker_that_hangs_at_the_end_does_not_hold_the_process(tmp_path: Path, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING, str(tmp_path), str(status)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == status
    assert "tracker hanging does not hold the whole run (not done 0.1 s after the end of the run)" in done.stderr
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 1
