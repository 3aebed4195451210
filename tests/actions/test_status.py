"""`action=status` of runs on this machine."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Launch


def test_a_log_is_named_where_there_is_one(launch: Launch, tmp_path: Path) -> None:
    words = ["task=tabular", "data=wine", "model=naive_bayes", "tracker=[]"]
    for name in ("0", "1"):
        done = launch(*words, f"hydra.run.dir=both/{name}")
        assert done.returncode == 0, done.stderr
    (tmp_path / "both" / "1" / "log.txt").write_text("said\n")
    shown = launch("action=status", "study=both")
    assert shown.returncode == 0, shown.stderr
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert [row[0] for row in rows] == ["run", "0", "1"]
    assert [row[-1] for row in rows] == ["log", "–", "both/1/log.txt"]
