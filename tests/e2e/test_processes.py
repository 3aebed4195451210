"""No process outlives its driver by more than ten seconds, however the run ends: with ranks and data workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from launcher.data.splits import Holdout
from tests.conftest import Launch
from tests.support.harness import TIMEOUT, Running
from tests.support.odd import TRUST

OUTLIVES_S = 10
RAISES = ("task._target_=tests.support.odd.Raises", "+task.step=4")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Small files that are large pictures at 512 pixels a side: too many to keep, so that data workers decode them."""
    for label, name in enumerate(("bright", "dark")):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(80):
            Image.fromarray(np.full((8, 8), 20 + 120 * label + number, dtype=np.uint8)).save(folder / f"{number}.bmp")
    return tmp_path / "pictures"


def words(pictures: Path, *others: str, epochs: int = 1000) -> list[str]:
    return [
        "data=files",
        f"data.path={pictures}",
        "data.size=512",
        "data.channels=1",
        "model=mlp",
        "model.width=2",
        "model.depth=1",
        "training.batch_size=4",
        f"training.max_epochs={epochs}",
        "training.log_every=1",
        "tracker=[]",
        "loading.num_workers=1",
        "hydra.run.dir=run",
        *others,
    ]


DDP = ("parallel=ddp", "parallel.num_processes=2")


def of_session(leader: int) -> dict[int, str]:
    """The processes of a command's session that are alive, with what they are."""
    found = {}
    for process in psutil.process_iter(["status", "cmdline"]):
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found[process.pid] = " ".join(process.info["cmdline"] or [])[:100]
    return found


def until(met: Callable[[], bool], running: Running) -> None:
    end = time.monotonic() + TIMEOUT
    while not met():
        assert time.monotonic() < end, running.stdout.read_text() + running.stderr.read_text()
        time.sleep(0.05)


def logged(folder: Path) -> Callable[[], bool]:
    return lambda: (folder / "metrics.jsonl").exists() and bool((folder / "metrics.jsonl").read_text())


def none_outlives(running: Running) -> None:
    end = time.monotonic() + OUTLIVES_S
    while left := of_session(running.pid):
        assert time.monotonic() < end, f"{len(left)} are left: {left}"
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("parallel", [(), DDP], ids=["one", "ddp"])
def test_after_a_signal_to_the_driver(
    launch: Launch, tmp_path: Path, pictures: Path, parallel: tuple[str, ...], number: signal.Signals
) -> None:
    running = launch.start(*words(pictures, *parallel))
    until(logged(tmp_path / "run"), running)
    assert len(of_session(running.pid)) >= (2 if not parallel else 6)  # a data worker; a server, two ranks, two workers
    running.send(number)
    until(running.done, running)
    none_outlives(running)
    assert running.wait().returncode == (75 if number == signal.SIGTERM else -signal.SIGKILL)


def of_mark(mark: str) -> dict[int, str]:
    """The processes that were started with a mark in their environment, whatever session they are in."""
    found = {}
    for process in psutil.process_iter(["status", "cmdline"]):
        with contextlib.suppress(OSError, psutil.Error):
            if mark.encode() in Path(f"/proc/{process.pid}/environ").read_bytes():
                found[process.pid] = " ".join(process.info["cmdline"] or [])[:100]
    return found


POOLS = {
    "fits": (
        ("num_seeds=2", "hydra.run.dir=run"),
        ("run/seed-0", "run/seed-1"),
        5,
    ),  # a server, two fits, their workers
    "one": (("-m", "seed=1,2", "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=1"), ("multirun/s/0",), 3),
    "two": (
        ("-m", "seed=1,2,3", "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=2"),
        ("multirun/s/0", "multirun/s/1"),
        5,
    ),
    "ranks": (("-m", "seed=1,2", "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=1", *DDP), ("multirun/s/0",), 6),
    "ranks-two": (
        ("-m", "seed=1,2,3", "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=2", *DDP),
        ("multirun/s/0", "multirun/s/1"),
        11,
    ),
}


@pytest.mark.parametrize(("others", "folders", "least"), POOLS.values(), ids=POOLS)
def test_after_the_driver_of_a_pool_is_killed(
    launch: Launch, tmp_path: Path, pictures: Path, others: tuple[str, ...], folders: tuple[str, ...], least: int
) -> None:
    """Trials and fits in the middle of their training, with data workers: what runs is listed by its session and by a
    mark in its environment, so that what has left the session is found too."""
    mark = f"PROCESSES_OF={tmp_path}"
    name, _, value = mark.partition("=")
    typed = [word for word in words(pictures) if word != "hydra.run.dir=run"]
    running = launch.start(*typed, *others, env={name: value})
    until(lambda: all(logged(tmp_path / folder)() for folder in folders), running)
    assert len(of_session(running.pid) | of_mark(mark)) > least
    running.send(signal.SIGKILL)
    until(running.done, running)
    end = time.monotonic() + OUTLIVES_S
    while left := of_session(running.pid) | of_mark(mark):
        assert time.monotonic() < end, f"{len(left)} are left: {left}"
        time.sleep(0.1)


ENDS = {
    "raises": ((*RAISES, "+task.rank=0"), 1, "the third digit is one too many"),
    "diverges": (("optimizer=sgd", "optimizer.lr=1e30"), 1, "the loss is"),
    "second-raises": ((*RAISES, "+task.rank=1", *DDP), 1, "the third digit is one too many"),
    "ranks-diverge": (("optimizer=sgd", "optimizer.lr=1e30", *DDP), 1, "the loss is"),
    "rank-is-killed": (
        (
            "task._target_=tests.support.odd.Once",
            "+task.step=4",
            "+task.rank=1",
            "+task.kill=true",
            "+task.mark=mark",
            *DDP,
        ),
        1,
        "rank 1 was ended by SIGKILL",
    ),
}


@pytest.mark.parametrize(("others", "status", "said"), ENDS.values(), ids=ENDS)
def test_after_an_end_of_its_own(
    launch: Launch, pictures: Path, others: tuple[str, ...], status: int, said: str
) -> None:
    running = launch.start(*words(pictures, *others), env=TRUST)
    until(running.done, running)
    none_outlives(running)
    outcome = running.wait()
    assert outcome.returncode == status, outcome.stderr
    assert said in outcome.stderr


@pytest.mark.parametrize("parallel", [(), (*DDP, "training.eval_batch_size=2")], ids=["one", "ddp"])
def test_a_held_out_picture_that_cannot_be_read(
    launch: Launch, tmp_path: Path, pictures: Path, parallel: tuple[str, ...]
) -> None:
    """Whether it is found late: neither its beginning nor its end tells that its middle is damaged. The run fails, and
    what it has reached is there to be resumed."""
    files = sorted(pictures.rglob("*.bmp"))
    held_out = next(Holdout(0.2, seed=0).split(np.zeros(len(files))))[1]
    broken = files[held_out[3]]  # the second rank's, and none of the sixteen that are looked at before the first step
    whole = broken.read_bytes()
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(broken, "PNG")
    broken.write_bytes(broken.read_bytes().replace(b"IDAT", b"IDAT????"))
    running = launch.start(*words(pictures, "training.checkpoint_every=5", *parallel, epochs=1))
    until(running.done, running)
    none_outlives(running)
    outcome = running.wait()
    assert outcome.returncode == 1, outcome.stderr
    assert f"{broken}: can not be decoded" in outcome.stderr
    assert (tmp_path / "run" / "checkpoints" / "step-30" / "manifest.json").is_file()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "failed"
    assert str(broken) in result["reason"]
    broken.write_bytes(whole)
    resumed = launch("resume=run")
    assert resumed.returncode == 0, resumed.stderr


def test_one_that_is_found_before_the_first_step_leaves_nothing(launch: Launch, tmp_path: Path, pictures: Path) -> None:
    files = sorted(pictures.rglob("*.bmp"))
    broken = files[next(Holdout(0.2, seed=0).split(np.zeros(len(files))))[1][9]]
    broken.write_bytes(broken.read_bytes()[:-1])
    outcome = launch(*words(pictures))
    assert outcome.returncode == 2, outcome.stderr
    assert f"error: {broken}: can not be decoded" in outcome.stderr
    assert not (tmp_path / "run").exists()
    left_out = launch(*words(pictures, "data.broken=leave_out", epochs=1))
    assert left_out.returncode == 0, left_out.stderr
    assert (
        "read: 159 pictures: bright 79, dark 80\n" in left_out.stdout
        or "read: 159 pictures: bright 80, dark 79\n" in left_out.stdout
    )
    assert f"left out: {broken}: can not be decoded" in left_out.stdout
