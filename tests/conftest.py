"""Fixtures of the whole suite: the real command, cold and warm, in the test's own folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.harness import TIMEOUT, Outcome, Running, Warm, cold

# Two processes of the suite, each with a pool of threads for every core, are slower than two with one thread each.
# Set before a test module imports torch.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: the tests of a cluster mostly wait for it."""
    from launcher.process.forkserver import cores

    return cores() + 1


class Command(Protocol):
    """`run_launcher` and `launch`."""

    def __call__(
        self, *overrides: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = TIMEOUT
    ) -> Outcome: ...


class Launch:
    """The command in `tmp_path`, forked from the warm interpreter."""

    def __init__(self, warm: Warm, folder: Path) -> None:
        self._warm, self._folder = warm, folder

    def __call__(
        self, *overrides: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = TIMEOUT
    ) -> Outcome:
        """Run it to its end."""
        return self.start(*overrides, cwd=cwd, env=env).wait(timeout)

    def start(self, *overrides: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Running:
        """Start it, to be watched, signalled or killed."""
        return self._warm.start(*overrides, cwd=cwd or self._folder, env=env)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Takes away what a test's call of Hydra added to the root logger: handlers bound to that test's own output."""
    before = list(logging.root.handlers)
    yield
    for handler in list(logging.root.handlers):
        if handler not in before and type(handler) is logging.StreamHandler:
            logging.root.removeHandler(handler)


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """The warm interpreter; for fixtures that need another folder or scope than `launch`."""
    server = Warm()
    yield server
    server.close()


@pytest.fixture
def launch(warm: Warm, tmp_path: Path) -> Launch:
    """Runs the real command in `tmp_path` in half a second plus its own time, and gives its `Outcome`."""
    return Launch(warm, tmp_path)


@pytest.fixture
def run_launcher(tmp_path: Path) -> Command:
    """Runs the real command in `tmp_path` in a fresh interpreter, as a person does, and gives its `Outcome`."""

    def run(
        *overrides: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = TIMEOUT
    ) -> Outcome:
        return cold(*overrides, cwd=cwd or tmp_path, env=env, timeout=timeout)

    return run
