"""A full disk: one message, exit 1, and the last good checkpoint whole."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.artifacts.checkpoint.checkpoints import Checkpoints
from launcher.artifacts.metrics_file import read
from tests.conftest import Launch
from tests.support.harness import environment, wait_for
from tests.support.sameness import assert_same

ENV = {"OMP_NUM_THREADS": "1"}
WORDS = [
    "model=mlp",
    "training.max_steps=40",
    "training.max_epochs=null",
    "training.log_every=2",
    "training.eval_every=10",
    "training.checkpoint_every=10",
    "tracker=[]",
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes. Mounting one takes root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("this test mounts a small disk, which is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=20)


def fill(disk: Path, leave: int) -> None:
    """Leave so many bytes of the disk."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "filler").write_bytes(b"\0" * max(0, free - leave))


def full(stderr: str) -> None:
    """One message, and nothing of the machinery."""
    assert re.fullmatch(r"error: .+\n", stderr), stderr
    assert "the disk is full" in stderr or "No space left on device" in stderr


# An mlp's checkpoint takes 310 kB: the first fits, and not all of the later ones.
@pytest.mark.parametrize("room", [0, 40_000, 400_000, 700_000])
def test_wherever_the_disk_is_full(launch: Launch, tmp_path: Path, disk: Path, room: int) -> None:
    folder = disk / "run"
    fill(disk, room)
    done = launch(*WORDS, f"hydra.run.dir={folder}", env=ENV)
    assert done.returncode == 1, done.stdout + done.stderr
    full(done.stderr)
    if room == 0:
        assert not folder.exists(), "nothing has begun"
        return
    checkpoints = Checkpoints(folder / "checkpoints", keep=2)
    steps = checkpoints.steps()
    for step in steps:
        checkpoints.load(step)
    if steps:
        assert f"the last good checkpoint is {folder}/checkpoints/step-{steps[-1]}" in done.stderr
    read(folder / "metrics.jsonl")
    (disk / "filler").unlink()
    assert launch(f"resume={folder}", env=ENV).returncode == 0
    whole = tmp_path / "whole"
    assert launch(*WORDS, f"hydra.run.dir={whole}", env=ENV).returncode == 0
    assert_same(folder, whole)


def test_the_lines_do_not_fit(launch: Launch, disk: Path) -> None:
    folder = disk / "run"
    words = [*WORDS, "training.log_every=1", "training.checkpoint_every=1000", "training.eval_every=1000"]
    keys = ("training.log_every=2", "training.checkpoint_every=10", "training.eval_every=10")
    mine = [word for word in words if word not in keys and "max_steps" not in word]
    running = launch.start(*mine, "training.max_steps=100000", f"hydra.run.dir={folder}", env=ENV)
    wait_for(running, folder / "metrics.jsonl", "step")
    with contextlib.suppress(OSError):
        fill(disk, 0)
    done = running.wait()
    assert done.returncode == 1
    full(done.stderr)
    assert "metrics.jsonl" in done.stderr
    records = read(folder / "metrics.jsonl")
    assert [record["step"] for record in records] == list(range(1, len(records) + 1)), "whole up to the line before"


def test_files_may_not_grow(tmp_path: Path) -> None:
    """`ulimit -f`: the same from a limit of the process."""
    command = f'ulimit -f 100; exec "{sys.executable}" -m launcher {" ".join(WORDS)} hydra.run.dir=run'
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment(ENV), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.fullmatch(
        r"error: a checkpoint could not be written to run/checkpoints: File too large; there is none before it\n",
        done.stderr,
    ), done.stderr
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
