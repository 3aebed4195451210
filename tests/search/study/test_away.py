"""Storage that is away for a moment, or was left in the middle of a line: nothing of the study is lost."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from launcher.errors import TrainingError
from launcher.process import lease
from launcher.search.study.away import Waiting
from launcher.search.study.storage import open_storage
from launcher.search.study.study import Study
from tests.e2e.test_disk import disk as disk
from tests.e2e.test_disk import fill
from tests.search.driver import STEPS, drive, open_study, steps

TORN = (b'{"op_code":4,"wor', b"{", b'{"op_code":8,"worker_id":"a-', b'"half of a')


def known(study: Study) -> list[tuple[int, dict[str, Any], list[float] | None]]:
    return [(trial.number, trial.params, trial.values) for trial in study.trials()]


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_line_beside_a_living_driver(tmp_path: Path, torn: bytes) -> None:
    """Another driver died in the middle of a record; the one that lives writes the next, and everybody reads it."""
    living = open_study(tmp_path, "random", 8)
    journal = tmp_path / "study.journal"
    for _ in range(3):
        claim = living.ask()
        assert claim is not None
        with journal.open("ab") as file:
            file.write(torn)
        assert living.tell(claim, TrialState.COMPLETE, [1.0])
    assert known(open_study(tmp_path, "random", 8)) == known(living)
    assert [json.loads(line)["op_code"] for line in journal.read_bytes().splitlines()], "each line is one record"


@pytest.mark.parametrize("torn", TORN)
def test_a_journal_in_which_a_record_stands_behind_half_of_another_opens(tmp_path: Path, torn: bytes) -> None:
    """As Optuna's own writes it: only the half is lost, which nobody was ever told of."""
    drive(str(tmp_path), "random", 3, 1)
    before = known(open_study(tmp_path, "random", 3))
    journal = tmp_path / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:-1], torn + lines[-1]]))
    assert known(open_study(tmp_path, "random", 3)) == before
    drive(str(tmp_path), "random", 5, 1)
    assert known(open_study(tmp_path, "random", 5))[:3] == before


def test_a_full_disk_is_waited_for(tmp_path: Path, disk: Path) -> None:
    """By whoever asks and tells; leases are kept meanwhile, and every line of the journal is whole."""
    told: list[str] = []
    waiting = Waiting(told.append)
    folder = disk / "s"
    first = open_study(folder, "random", 3)
    study = Study(
        open_storage(None, folder, waiting), "s", ["minimize"], folder, first.dimensions, first._sampler_of,
        n_trials=3, waiting=waiting, patience_s=0.1,
    )  # fmt: skip
    mine = study.ask()
    assert mine is not None
    age = (folder / "0" / lease.FILE).stat().st_mtime
    fill(disk, 0)
    threading.Timer(3.0, (disk / "filler").unlink).start()
    claim = study.ask()
    assert claim is not None
    assert claim.number == 1
    assert told[0].endswith("no space left on device; it is waited for"), told
    assert "it is back after" in told[-1]
    assert study.tell(claim, TrialState.COMPLETE, [1.0])
    assert study.tell(mine, TrialState.COMPLETE, [2.0])
    assert (folder / "0" / lease.FILE).stat().st_mtime > age
    assert [trial.values for trial in open_study(folder, "random", 3).trials()][:2] == [[2.0], [1.0]]


def test_who_leaves_waits_no_longer(tmp_path: Path, disk: Path) -> None:
    folder = disk / "s"
    study = open_study(folder, "random", 3)
    fill(disk, 0)
    with pytest.raises(TrainingError, match="no space left on device; the same command goes on when it is back"):
        study.ask()
    (disk / "filler").unlink()
    drive(str(folder), "random", 3, 1)
    assert [steps(folder / str(number)) for number in range(3)] == [STEPS] * 3


def test_a_database_that_is_locked_is_waited_for(tmp_path: Path) -> None:
    """SQLite's own way to be away: another process holds it for longer than it waits by itself."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    told: list[str] = []
    open_study(tmp_path / "s", "random", 3, url)
    storage = open_storage(url, tmp_path / "s", Waiting(told.append))
    context = multiprocessing.get_context("forkserver")
    holder = context.Process(target=hold, args=(str(tmp_path / "study.db"), 8.0))
    holder.start()
    while not (tmp_path / "study.db.held").exists():
        time.sleep(0.01)
    number = storage.get_trial_number_from_id(storage.create_new_trial(0 + storage.get_all_studies()[0]._study_id))
    holder.join()
    assert number == 0
    assert any("database is locked; it is waited for" in said for said in told), told


def hold(path: str, seconds: float) -> None:
    """Keep an SQLite database to itself for so long."""
    import sqlite3

    connection = sqlite3.connect(path)
    connection.execute("BEGIN EXCLUSIVE")
    Path(f"{path}.held").touch()
    time.sleep(seconds)
    connection.rollback()
