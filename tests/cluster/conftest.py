"""A real SLURM for the tests of a module; where none can be started they are passed over, unless CI promised one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.running import QUICK
from tests.cluster.slurm import Slurm, missing
from tests.support.signalled import TRUST


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """Four nodes, two GPUs (in name) each; accounting on."""
    why = missing()
    if why is not None:
        assert "slurm" not in os.environ.get("LAUNCHER_TESTS_NEED", ""), why
        pytest.skip(f"SLURM can not be started here: {why}")
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        cluster = Slurm(Path(folder))
        try:
            cluster.up()
            yield cluster
        finally:
            cluster.down()


@pytest.fixture(scope="session")
def env(slurm: Slurm) -> dict[str, str]:
    """What a command needs in its environment to go to that cluster."""
    return {"OMP_NUM_THREADS": "1"} | TRUST | slurm.env


@pytest.fixture
def container(slurm: Slurm, tmp_path: Path) -> str:
    """A command that runs another one in a container: bubblewrap's, which holds this machine's files, nothing but the
    test's folder to be written to, and no SLURM."""
    if shutil.which("bwrap") is None:
        assert "slurm" not in os.environ.get("LAUNCHER_TESTS_NEED", ""), "no bwrap (Debian's package bubblewrap)"
        pytest.skip("no bwrap (Debian's package bubblewrap)")
    found = [shutil.which(name) for name in ("sbatch", "srun", "squeue", "scontrol", "sacct", "scancel")]
    without = " ".join(f"--ro-bind /dev/null {Path(path).resolve()}" for path in found if path)
    return f"bwrap --ro-bind / / --dev-bind /dev /dev --proc /proc --bind {tmp_path} {tmp_path} {without}"


def _undisturbed(warm: Any, cwd: Path, *words: str) -> Path:
    done = warm(*QUICK, *words, "hydra.run.dir=run", cwd=cwd, env={"OMP_NUM_THREADS": "1"} | TRUST)
    assert done.returncode == 0, done.stderr
    return cwd / "run"


@pytest.fixture(scope="session")
def whole(warm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that stays on this machine and that nobody interrupts."""
    return _undisturbed(warm, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="session")
def pair(warm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in two processes."""
    return _undisturbed(warm, tmp_path_factory.mktemp("pair"), "parallel=ddp", "parallel.num_processes=2")
