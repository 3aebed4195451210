"""SIGKILL at any instant, then `resume=`: the run that comes out is the one that nobody killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Launch
from tests.support.harness import Running, Warm
from tests.support.sameness import assert_same, lines

ENV = {"OMP_NUM_THREADS": "1"}
NUM_STEPS = 240
KILLS_AT_START, KILLS_IN_THE_LOOP = 8, 14

Condition = Callable[[], bool]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    """As the suite's, with what these runs import beside: a life of 25 sessions takes it in once."""
    server = Warm(also=("datasets", "PIL.Image"))
    yield server
    server.close()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where the system has one: hundreds of checkpoints, each flushed, would wait for the disk."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as name:
        yield Path(name)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Pictures of three brightnesses in three folders, 60 in all: files, so that data workers read them."""
    numbers = np.random.default_rng(0)
    for label in range(3):
        folder = tmp_path / "images" / f"class{label}"
        folder.mkdir(parents=True)
        for index in range(20):
            pixels = numbers.integers(60 * label, 60 * label + 130, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "images"


def everything(images: Path) -> list[str]:
    """An experiment with all that has a state: order, dropout, momentum, schedule, stopping, losses not yet logged."""
    return [
        "task=image_classification",
        "data=files",
        f"data.path={images}",
        "data.size=8",
        "data.channels=1",
        "model=cnn",
        "model.dropout=0.3",
        "regularization=[label_smoothing]",
        "stopping=[val_loss]",
        "stopping.val_loss.patience=1000",
        "monitor=[gradient_norm]",
        "tracker=[]",
        "loading.num_workers=1",
        "training.batch_size=8",
        "training.accumulate=2",
        "training.clip_norm=1.0",
        f"training.max_steps={NUM_STEPS}",
        "training.max_epochs=null",
        "training.log_every=2",
        "training.eval_every=9",
        "training.checkpoint_every=3",
        "training.keep_checkpoints=2",
        "scheduler.warmup=20",
    ]


def reached(folder: Path) -> int:
    """The step of the last line that was logged."""
    try:
        *_, last, _ = (folder / "metrics.jsonl").read_text().split("\n")
    except (OSError, ValueError):
        return 0
    return int(json.loads(last)["step"])


def kill_when(running: Running, condition: Condition, delay: float = 0.0) -> bool:
    """SIGKILL to all of its processes once `condition` holds and `delay` seconds more; False where it ended before."""
    end = time.monotonic() + 120
    while not condition():
        if running.done():
            return False
        assert time.monotonic() < end, running.stdout.read_text() + running.stderr.read_text()
        time.sleep(0.002)
    time.sleep(delay)
    if running.done():
        return False
    with contextlib.suppress(ProcessLookupError):  # it has ended since
        running.kill()
    return running.wait().returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_random_instants_of_one_life(launch: Launch, memory: Path, images: Path) -> None:
    words, folder, whole = everything(images), memory / "killed", memory / "whole"
    done = launch(*words, f"hydra.run.dir={whole}", env=ENV)
    assert done.returncode == 0, done.stderr
    numbers = random.Random(os.environ.get("KILL_SEED", "7"))
    kills = 0

    def start() -> Running:
        began = (folder / "config.yaml").exists()
        return launch.start(*([f"resume={folder}"] if began else [*words, f"hydra.run.dir={folder}"]), env=ENV)

    for number in range(KILLS_AT_START):  # composition, imports, the first data, the first steps
        running, moment, goal = start(), time.monotonic() + numbers.uniform(0, 1.2), 4 * (number + 1)
        kills += kill_when(running, lambda m=moment, g=goal: time.monotonic() > m or reached(folder) >= g)
    steps = []
    for _ in range(KILLS_IN_THE_LOOP):  # mid-step, mid-evaluation, mid-checkpoint
        goal = reached(folder) + numbers.randrange(1, 6)
        kills += kill_when(start(), lambda goal=goal: reached(folder) >= goal, numbers.uniform(0, 0.02))
        steps.append(reached(folder))
    assert max(steps) < NUM_STEPS
    assert len(set(steps)) > KILLS_IN_THE_LOOP / 2, "the kills came at different places"

    checkpoints = folder / "checkpoints"
    last = checkpoints / f"step-{NUM_STEPS}"
    ends: list[Condition] = [
        (checkpoints / f".step-{NUM_STEPS}").exists,  # while the last checkpoint is written
        last.exists,  # before the export
        lambda: any((folder / name).exists() for name in (".model", "model")),  # in it, or before result.json
    ]
    for condition in ends:
        if not (folder / "result.json").exists():  # it may have been over before its end was seen
            kills += kill_when(start(), condition)
    assert kills >= 20

    if not (folder / "result.json").exists():
        finished = start().wait()
        assert finished.returncode == 0, finished.stderr
    assert_same(folder, whole)
    hidden = {path.relative_to(folder).as_posix() for path in folder.rglob(".*")}
    assert hidden <= {".lock"}, "nothing half-written stays"
    assert sorted(path.name for path in checkpoints.iterdir()) == sorted(
        path.name for path in (whole / "checkpoints").iterdir()
    )


def test_killed_between_the_last_checkpoint_and_the_result(launch: Launch, tmp_path: Path) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    words = ["model=mlp", "training.max_epochs=2", "tracker=[]"]
    assert launch(*words, f"hydra.run.dir={whole}", env=ENV).returncode == 0
    assert launch(*words, f"hydra.run.dir={folder}", env=ENV).returncode == 0
    (folder / "result.json").unlink()
    (folder / "model").rename(folder / ".model")
    before = lines(folder)
    done = launch(f"resume={folder}", env=ENV)
    assert done.returncode == 0, done.stderr
    assert lines(folder) == before, "no step is taken again"
    assert_same(folder, whole)


def test_killed_before_there_is_anything(launch: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ["model=mlp", "training.max_epochs=1", "tracker=[]", f"hydra.run.dir={folder}"]
    folder.mkdir()
    (folder / ".lock").touch()
    (folder / ".config.yaml").write_text("seed: ")
    refused = launch(f"resume={folder}")
    assert refused.returncode == 2
    assert "no run is here (there is no config.yaml)" in refused.stderr
    assert launch(*words, env=ENV).returncode == 0, "what was begun there is nothing"

    (folder / "result.json").unlink()
    for path in (folder / "checkpoints").iterdir():
        path.unlink() if path.is_symlink() else path.rename(folder / path.name)
    before = lines(folder)
    done = launch(f"resume={folder}", env=ENV)
    assert done.returncode == 0
    assert re.search(r"warning: there is no checkpoint in \S*/run/checkpoints yet: starting over", done.stdout)
    assert lines(folder) == before, "the lines of the first start are gone, and came again"


def test_two_processes_on_one_folder(launch: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = launch.start("model=mlp", "training.max_epochs=100000", "tracker=[]", f"hydra.run.dir={folder}", env=ENV)
    while reached(folder) == 0:
        assert not first.done(), first.wait().stderr
        time.sleep(0.01)
    second = launch(f"resume={folder}", env=ENV)
    assert second.returncode == 2
    assert f"process {first.pid} is training in it" in second.stderr
    first.kill()
    first.wait()
    assert launch(f"resume={folder}", "training.max_epochs=0.1", env=ENV).returncode == 0, (
        "the lock went with its holder"
    )


def test_data_workers_of_a_killed_run_do_not_hold_its_lock(launch: Launch, tmp_path: Path, images: Path) -> None:
    folder = tmp_path / "run"
    words = [word for word in everything(images) if "max_steps" not in word]
    first = launch.start(*words, "training.max_steps=100000", f"hydra.run.dir={folder}", env=ENV)
    while reached(folder) == 0:
        assert not first.done(), first.wait().stderr
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)  # its data worker finds out in some seconds
    assert first.wait().returncode == -signal.SIGKILL
    done = launch(f"resume={folder}", f"training.max_steps={reached(folder) + 20}", env=ENV)
    assert done.returncode == 0, done.stderr
