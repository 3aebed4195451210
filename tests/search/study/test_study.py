"""A study under drivers that are killed: no trial is lost, none is run twice, and what comes out is the same."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

from launcher.errors import ConfigError
from launcher.process import lease
from launcher.process.holder import myself
from launcher.search.space.definition import extension
from launcher.search.study.lock import HostLock
from launcher.search.study.storage import HOME, TIE, open_storage, tie, without_login
from tests.search.driver import STEPS, drive, open_study, steps

N = 24


@pytest.fixture(scope="module")
def context() -> Any:
    multiprocessing.set_forkserver_preload(["tests.search.driver"])
    return multiprocessing.get_context("forkserver")


def outcome(folder: Path, kind: str) -> list[tuple[int, dict[str, Any], list[float] | None, str]]:
    return [
        (trial.number, trial.params, trial.values, trial.state.name) for trial in open_study(folder, kind, N).trials()
    ]


def taken(folder: Path) -> int:
    """How many steps all trials together have taken."""
    return sum(steps(path.parent) for path in folder.glob("*/steps"))


@pytest.mark.parametrize(("kind", "slots"), [("random", 3), ("grid", 1), ("bayes", 1)])
def test_killed_at_twenty_instants(tmp_path: Path, context: Any, kind: str, slots: int) -> None:
    """Of its beginning, of a second beginning, and of twenty places on its way; a model-based search has one slot."""
    drive(str(tmp_path / "whole"), kind, N, slots=1 if kind == "bayes" else 2)
    folder = tmp_path / "killed"
    rng = random.Random(kind)
    total = N * STEPS
    goals = [0, 0, *sorted(rng.sample(range(1, total - 3 * slots), 20))]
    kills = 0
    for goal in goals:
        process = context.Process(target=drive, args=(str(folder), kind, N, slots, None, 0.005))
        process.start()
        deadline = time.monotonic() + 60
        while taken(folder) < goal and process.is_alive():
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.2 if goal == 0 else 0.006))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 20
    assert taken(folder) < total, "all of them before its end"
    drive(str(folder), kind, N, slots)
    assert outcome(folder, kind) == outcome(tmp_path / "whole", kind)
    assert [state for *_, state in outcome(folder, kind)] == ["COMPLETE"] * N
    assert [steps(folder / str(number)) for number in range(N)] == [STEPS] * N, "every step was taken once"
    fences = [json.loads((folder / str(number) / lease.FILE).read_text())["fence"] for number in range(N)]
    assert max(fences) > 1, "some trial changed hands"


@pytest.mark.parametrize("kind", ["random", "bayes"])
def test_a_driver_killed_between_two_draws_changes_neither(tmp_path: Path, kind: str) -> None:
    for storage in (None, f"sqlite:///{tmp_path / 'study.db'}"):
        whole = open_study(tmp_path / f"whole-{bool(storage)}", kind, 3).ask()
        study = open_study(tmp_path / f"killed-{bool(storage)}", kind, 3, storage)
        assert whole is not None
        trial_id = study.storage.create_new_trial(study.optuna._study_id)
        (first, *_), known = study.dimensions, whole.params
        value = first.distribution.to_internal_repr(known[first.key])
        study.storage.set_trial_param(trial_id, first.name, value, first.distribution)
        (claim,) = study.claim_dead(set())
        assert claim.params == known
        assert study.trials()[0].params == known


def test_two_drivers_share_a_study_and_one_survives_the_other(tmp_path: Path, context: Any) -> None:
    folder = tmp_path / "shared"
    both = [context.Process(target=drive, args=(str(folder), "random", N, 2, None, 0.01)) for _ in range(2)]
    for process in both:
        process.start()
    deadline = time.monotonic() + 60
    while not ((folder / "study.journal").exists() and len({
        pid for path in folder.glob("*/steps") for pid in path.read_text().split()
    }) == 2):  # fmt: skip
        assert time.monotonic() < deadline
        time.sleep(0.005)
    both[0].kill()
    both[1].join(60)
    assert both[1].exitcode == 0
    both[0].join()
    drive(str(tmp_path / "whole"), "random", N, 2)
    assert outcome(folder, "random") == outcome(tmp_path / "whole", "random")
    assert [steps(folder / str(number)) for number in range(N)] == [STEPS] * N


def test_n_trials_is_the_total(tmp_path: Path) -> None:
    drive(str(tmp_path), "random", 3, 1)
    first = outcome(tmp_path, "random")
    drive(str(tmp_path), "random", 5, 1)
    assert len(outcome(tmp_path, "random")) == 5
    assert outcome(tmp_path, "random")[:3] == first


def test_sweeps_of_several_folders_make_the_tables_of_one_database(tmp_path: Path, context: Any) -> None:
    """All at once, none of them refused."""
    names = [f"own-{number}" for number in range(6)]
    storage = f"sqlite:///{tmp_path}/all.db"
    drivers = [
        context.Process(target=drive, args=(str(tmp_path / name), "random", 1, 1, storage, 0.002, name))
        for name in names
    ]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert [driver.exitcode for driver in drivers] == [0] * 6
    assert sorted(optuna.get_all_study_names(storage)) == names


@pytest.mark.parametrize("storage", [None, "sqlite:///{}/all.db"])
def test_a_study_of_which_nothing_ran_is_taken_back(tmp_path: Path, storage: str | None) -> None:
    url = storage and storage.format(tmp_path)

    def known() -> list[str]:
        return optuna.get_all_study_names(open_storage(url, tmp_path / "own"))

    unused = open_study(tmp_path / "own", "random", N, url)
    unused.ask()
    waits = unused.ask()
    assert waits is not None
    unused.let_go(waits)
    unused.withdraw()
    assert (unused.withdrawn, known()) == (True, [])


def test_a_study_that_others_may_want_stays(tmp_path: Path) -> None:
    """One that was there before, one of which a trial has run, one of which another driver has a trial."""
    before = open_study(tmp_path / "before", "random", N)
    before.ask()
    ran = open_study(tmp_path / "ran", "random", N)
    claim = ran.ask()
    assert claim is not None
    ran.begins(claim, 0)
    shared = open_study(tmp_path / "shared", "random", N)
    claim = shared.ask()
    assert claim is not None
    other = replace(claim.lease, holder=replace(myself(), pid=1, started=""))
    lease._write(tmp_path / "shared" / "0", other)
    for study in (open_study(tmp_path / "before", "random", N), ran, shared):
        study.withdraw()
        assert not study.withdrawn
        assert len(open_study(study.folder, "random", N).trials()) == 1


def test_who_has_lost_a_trial_has_no_say(tmp_path: Path) -> None:
    study = open_study(tmp_path, "random", 3)
    mine = study.ask()
    assert mine is not None
    assert study.claim_dead(set()) == [], "its holder lives"
    (tmp_path / "0" / lease.FILE).write_text(
        json.dumps({"holder": vars(replace(myself(), pid=2**22 + 1)), "fence": mine.lease.fence})
    )
    (theirs,) = study.claim_dead(set())
    assert (theirs.number, theirs.params, theirs.lease.fence) == (0, mine.params, 2)
    assert not study.tell(mine, TrialState.COMPLETE, [1.0])
    study.patience_s = 0.0
    assert study.renew([mine, theirs]) == [mine]
    assert study.tell(theirs, TrialState.COMPLETE, [2.0])
    assert study.trials()[0].values == [2.0]


def test_a_driver_of_another_machine_is_dead_when_it_is_silent(tmp_path: Path) -> None:
    study = open_study(tmp_path, "random", 3)
    claim = study.ask()
    assert claim is not None
    own = tmp_path / "0" / lease.FILE
    own.write_text(json.dumps({"holder": vars(replace(myself(), host="elsewhere")), "fence": 1}))
    assert study.claim_dead(set()) == []
    os.utime(own, (time.time() - 61, time.time() - 61))
    assert [each.lease.fence for each in study.claim_dead(set())] == [2]


def test_a_line_that_was_cut_short_is_taken_away(tmp_path: Path) -> None:
    drive(str(tmp_path), "random", 3, 1)
    before = outcome(tmp_path, "random")
    journal = tmp_path / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"wor')
    drive(str(tmp_path), "random", 4, 1)
    assert outcome(tmp_path, "random")[:3] == before
    assert journal.read_bytes().startswith(whole)


def test_a_lock_of_a_dead_process_holds_nobody_up(tmp_path: Path) -> None:
    gone = replace(myself(), pid=2**22 + 1)
    (tmp_path / "l.held").symlink_to(f"{gone.host}|{gone.boot}|{gone.pid}|{gone.started}")
    with HostLock(tmp_path / "l").held():
        assert (tmp_path / "l.held").is_symlink()
    assert not (tmp_path / "l.held").is_symlink()


@pytest.mark.parametrize("kind", ["random", "grid"])
def test_sqlite(tmp_path: Path, kind: str) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    drive(str(tmp_path / "a"), kind, 6, 2, url)
    drive(str(tmp_path / "b"), kind, 6, 1)
    study = open_study(tmp_path / "a", kind, 6, url)
    assert [(trial.params, trial.values) for trial in study.trials()] == [
        (trial.params, trial.values) for trial in open_study(tmp_path / "b", kind, 6).trials()
    ]
    assert not (tmp_path / "a" / "study.journal").exists()


def test_two_folders_do_not_share_a_study(tmp_path: Path) -> None:
    """Of one storage, and of one name; a study that was there before has no folder yet."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    drive(str(tmp_path / "a"), "random", 3, 1, url)
    assert len(open_study(tmp_path / "a", "random", 3, url).trials()) == 3
    with pytest.raises(ConfigError, match=rf"a study 's' of another folder, {tmp_path}/a \(.*, this one has none\)"):
        open_study(tmp_path / "b", "random", 3, url)
    identity = (tmp_path / "a" / TIE).read_text()
    (tmp_path / "b" / TIE).write_text("another\n")
    with pytest.raises(ConfigError, match=rf"its id is {identity.strip()}, this one's id is another\)"):
        open_study(tmp_path / "b", "random", 3, url)
    optuna.create_study(storage=url, study_name="s2")
    known = optuna.load_study(study_name="s2", storage=url)
    tie(known, tmp_path / "b")
    assert known.user_attrs[HOME] == {"id": "another", "folder": str(tmp_path / "b")}


def test_a_folder_s_own_journal_is_its_own(tmp_path: Path) -> None:
    drive(str(tmp_path), "random", 3, 1)
    identity = (tmp_path / TIE).read_text()
    (tmp_path / TIE).unlink()
    assert len(open_study(tmp_path, "random", 3).trials()) == 3, "it was copied without what is hidden"
    assert (tmp_path / TIE).read_text() == identity


def test_a_login_is_not_shown(tmp_path: Path) -> None:
    assert without_login("postgresql+psycopg://me:word@host/db") == "postgresql+psycopg://host/db"
    assert without_login("postgresql+psycopg://me:w/or@d@host/db") == "postgresql+psycopg://host/db"
    assert (
        without_login("mysql+pymysql://host/db?user=me&password=word") == "mysql+pymysql://host/db?user=me&password=***"
    )
    with pytest.raises(Exception, match=r"needs a driver|expected a URL") as refused:
        open_storage("postgresql+nothing://me:word@host/db", tmp_path)
    assert "word" not in str(refused.value)


def test_what_a_custom_search_space_raises_is_said(tmp_path: Path) -> None:
    study = open_study(tmp_path, "random", 3)
    study._extend = lambda trial: {}["width"]  # type: ignore[func-returns-value]
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.custom_search_space: KeyError: 'width'$"):
        study.ask()


def test_a_key_that_is_set_and_asked_for_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any trial: each of them would have it twice."""
    monkeypatch.setenv("LAUNCHER_TRUST", "tests.search.spaces.*")
    config = OmegaConf.create({"training": {"batch_size": 32}})
    study = open_study(tmp_path, "random", 3)
    study._extend = extension("tests.search.spaces.configure", config, ["training.clip_norm=1", "seed=2"])
    with pytest.raises(
        ConfigError, match=r"^training\.clip_norm=1: hydra\.sweeper\.custom_search_space=tests\.search\.spaces"
    ):
        study.ask()
    other = open_study(tmp_path / "other", "random", 3)
    other._extend = extension("tests.search.spaces.configure", config, ["seed=2"])
    claim = other.ask()
    assert claim is not None
    assert "training.clip_norm" in claim.params
