"""Studies in a real PostgreSQL, as Debian packages it; where there is none they are passed over, unless CI promised one."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.conftest import Launch
from tests.e2e.test_sweep import table
from tests.search.driver import STEPS, drive, open_study, steps

N = 24
USER = "postgres"
"""The server refuses to be root's; Debian's package brings a user for it."""


class Server:
    """A server of an empty database, behind a socket in a folder: no port is taken. It can be stopped and started again."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        # A path that is short enough for a socket, and that the server's own user may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.url = f"postgresql+psycopg://launcher@/postgres?host={self.folder}"
        self._plain: dict[str, Any] = {
            "cwd": self.folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}, "stdin": subprocess.DEVNULL,
        }  # fmt: skip
        if os.getuid() == 0:
            shutil.chown(self.folder, USER, USER)
            self._plain |= {"user": USER, "group": USER, "extra_groups": []}
        subprocess.run(
            [programs / "initdb", "-D", self.folder / "data", "-A", "trust", "-U", "launcher", "-E", "UTF8", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, **self._plain,
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        words = ["-D", self.folder / "data", "-k", self.folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", *words], stdout=log, stderr=log, **self._plain
            )
        ready = [self.programs / "pg_isready", "-q", "-h", self.folder]
        deadline = time.monotonic() + 120
        while subprocess.run(ready).returncode:
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        """A fast shutdown: connections are ended."""
        self._process.send_signal(2)
        self._process.wait(60)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        assert "postgresql" not in os.environ.get("LAUNCHER_TESTS_NEED", ""), "no PostgreSQL is installed"
        pytest.skip("PostgreSQL is not installed")
    server = Server(found[-1].parent)
    yield server
    server.stop()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def server(postgres: Server) -> str:
    """The URL of the database."""
    return postgres.url


def disconnect(storage: Any) -> None:
    """Close what this process has open."""
    storage.remove_session()
    storage._backend.engine.dispose()


def test_two_drivers_of_one_study_on_an_empty_database(server: str, tmp_path: Path) -> None:
    """No trial is run twice, and what comes out is what one driver with a journal finds."""
    context = multiprocessing.get_context("forkserver")
    folder = tmp_path / "s"
    folder.mkdir()
    both = [context.Process(target=drive, args=(str(folder), "random", N, 2, server, 0.01)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    drive(str(tmp_path / "alone"), "random", N, 1)
    shared, alone = open_study(folder, "random", N, server), open_study(tmp_path / "alone", "random", N)
    assert [(each.number, each.params, each.values) for each in shared.trials()] == [
        (each.number, each.params, each.values) for each in alone.trials()
    ]
    disconnect(shared.storage)
    ran = [set((folder / str(number) / "steps").read_text().split()) for number in range(N)]
    assert all(steps(folder / str(number)) == STEPS for number in range(N))
    assert all(len(pids) == 1 for pids in ran), "each trial had one driver"
    assert set.union(*ran) <= {str(process.pid) for process in both}
    assert not (folder / "study.journal").exists()


def test_the_command_keeps_its_study_there(server: str, launch: Launch, tmp_path: Path) -> None:
    """Two drivers by the real command, with a pruner whose reports go there too; and the page, from what the folder says.

    The password, for which this server does not ask, is in no file.
    """
    url = server.replace("launcher@", "launcher:a-secret-word@")
    words = [
        "-m", "search=halving", "model=mlp", "tracker=[]", "training.max_epochs=3", f'hydra.sweeper.storage="{url}"',
        "optimizer.lr=tag(log,interval(1e-4,1e-1))", "hydra.sweeper.n_trials=5", "hydra.sweeper.study_name=pg",
    ]  # fmt: skip
    first = launch.start(*words)
    study = tmp_path / "multirun" / "pg"
    deadline = time.monotonic() + 120
    while not (study / "0" / "config.yaml").exists():
        assert not first.done(), first.stdout.read_text() + first.stderr.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    second = launch(*words, "worker=true")
    done = first.wait()
    assert (done.returncode, second.returncode) == (0, 0), done.stderr + second.stderr
    found = optuna.load_study(study_name="pg", storage=server)
    assert [trial.number for trial in found.trials] == list(range(5))
    assert all(trial.state.is_finished() and trial.intermediate_values for trial in found.trials)
    disconnect(found._storage)
    assert not (study / "study.journal").exists()
    assert not [path for path in study.rglob("*") if path.is_file() and b"a-secret-word" in path.read_bytes()]
    (study / "report.html").unlink()
    assert launch("action=report", "run=multirun/pg", env={"PGUSER": "launcher"}).returncode == 0
    assert "Slots over time" in (study / "report.html").read_text()


def test_a_server_that_is_restarted_is_waited_for(postgres: Server, launch: Launch, tmp_path: Path) -> None:
    """By the driver and by the trials that report to it; what comes out is what an undisturbed sweep finds."""
    words = [
        "-m", "search=halving", "model=mlp", "tracker=[]", "training.max_epochs=12", "training.log_every=20",
        "optimizer.lr=tag(log,interval(1e-4,1e-1))", "hydra.sweeper.n_trials=4", "hydra.sweeper.pruner.reduction_factor=2",
    ]  # fmt: skip
    running = launch.start(*words, "hydra.sweeper.study_name=away", f'hydra.sweeper.storage="{postgres.url}"')
    study = tmp_path / "multirun" / "away"
    deadline = time.monotonic() + 240
    for number in (0, 2):
        while not (study / str(number) / "metrics.jsonl").exists():
            assert not running.done(), running.stdout.read_text() + running.stderr.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        postgres.stop()
        time.sleep(1)
        postgres.start()
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert launch(*words, "hydra.sweeper.study_name=whole").returncode == 0
    with_it, without = (table(tmp_path / "multirun" / name) for name in ("away", "whole"))
    keys = ("number", "state", "value", "optimizer.lr", "steps")
    assert [[row[key] for key in keys] for row in with_it] == [[row[key] for key in keys] for row in without]
