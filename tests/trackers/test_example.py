"""The tracker that docs/trackers.md shows is one that works."""

from __future__ import annotations

import re
from pathlib import Path

from launcher.trackers.base import Tracker
from launcher.trackers.recorder import Recorder

DOCS = Path(__file__).resolve().parents[2] / "docs" / "trackers.md"


def test_the_documented_tracker_holds_each_step_once_over_a_resume(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    scope: dict[str, type[Tracker]] = {}
    exec(source, scope)
    first = Recorder(tmp_path, [scope["Csv"]()])
    for step in (1, 2):
        first.log(step, {"loss": 1 / step}, epoch=0.0, time_s=0.0)
    state = first.state_dict()
    first.log(3, {"loss": 9.0}, epoch=0.0, time_s=0.0)
    first.close({"status": "preempted"})

    second = Recorder(tmp_path, [scope["Csv"]()])
    second.load_state_dict(state)
    second.log(3, {"loss": 1 / 3}, epoch=0.0, time_s=0.0)
    second.close({"status": "completed"})
    assert (first.failures, second.failures) == ({}, {})
    held = (tmp_path / "metrics.csv").read_text().splitlines()
    assert [line for line in held if ",loss," in line] == ["1,loss,1.0", "2,loss,0.5", f"3,loss,{1 / 3!r}"]
    assert len(held) == 9, "each step has its epoch and its time_s once"
