"""A real SLURM for the tests of a module; where none can be started they are passed over, unless CI promised one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.slurm import Slurm, missing
from tests.signalled import TRUST


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


@pytest.fixture
def env(slurm: Slurm) -> dict[str, str]:
    """What a command needs in its environment to go to that cluster."""
    return {"OMP_NUM_THREADS": "1"} | TRUST | slurm.env
