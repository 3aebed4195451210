"""What an engine is, what a job's node knows of the others, and how a job says its end: all that the rest of the
launcher sees of a cluster, and what engines share."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from omegaconf import DictConfig

from launcher.artifacts.job import EXIT, JOB
from launcher.config.instantiate import instantiate

if TYPE_CHECKING:
    from launcher.core.pool import Pool


@dataclass(frozen=True)
class Entry:
    """What a job runs on each of its nodes, handed in by the room that knows: of SLURM's jobs a function of the run's folder
    and `max_num_timeout`, of a pod the module of a program that is given the folder."""

    run: Callable[[str, int | None], None]
    module: str


MEET_S = 600.0
"""How long the other nodes wait for the first one to say where they meet."""


class Engine(Protocol):
    """A node of `conf/cluster/`: where runs go, and what they ask for there."""

    wait: bool

    def pool(self, slots: int, entry: Entry) -> Pool:
        """Where at most `slots` runs are at once, each of which begins with `entry`."""
        ...

    def under_way(self, folder: Path) -> bool:
        """Whether a job of the run in `folder` waits or runs."""
        ...

    def told(self, folders: Sequence[Path]) -> dict[Path, tuple[str, str]]:
        """Of each run that had a job: the last one, and its state in the cluster's words."""
        ...

    def ends(self, handle: str) -> str:
        """The command by which a person ends a job."""
        ...

    def script(self, folder: Path, entry: Entry, runs: int = 1, slots: int = 1) -> str:
        """What would be submitted for the run in `folder`, or for so many runs of the sweep there, `slots` at a time."""
        ...


@dataclass(frozen=True)
class Nodes:
    """This node's number among those of a job, and the folder in which they find each other."""

    rank: int
    num: int
    start: str  # which start of which job: the nodes of an earlier one are not met
    inside: Path
    host: str | None = None  # by which the others reach this one; None: its name

    def meeting_point(self, attempt: int) -> tuple[str, int]:
        """Host and port where the workers of all nodes meet; the first node chooses a port that is free.

        Raises TimeoutError where it says nothing.
        """
        file = self.inside / f"meet-{self.start}-{attempt}"
        if self.rank == 0:
            with socket.socket() as free:
                free.bind(("", 0))
                port = free.getsockname()[1]
            beside = file.with_name(f".{file.name}")
            beside.write_text(f"{self.host or socket.gethostname()}:{port}", encoding="utf-8")
            beside.replace(file)
        end = time.monotonic() + MEET_S
        while not file.exists():
            if time.monotonic() > end:
                raise TimeoutError(f"the first node said for {MEET_S:g} s not where to meet ({file})")
            time.sleep(0.1)
        host, _, said = file.read_text(encoding="utf-8").partition(":")
        return host, int(said)


def read(path: Path) -> dict[str, Any]:
    """What stands in a file of an engine's; nothing where there is none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def write(path: Path, content: dict[str, Any]) -> None:
    """Write it beside and rename it: whoever reads finds it whole."""
    path.parent.mkdir(exist_ok=True)
    beside = path.with_name(f".{path.name}")
    beside.write_text(json.dumps(content), encoding="utf-8")
    beside.replace(path)


def noted(inside: Path) -> str | None:
    """The job that is written down as a run's."""
    return read(inside / JOB).get("job")


def says(inside: Path, name: str, status: int) -> None:
    """A job writes down that it has ended for good, and how."""
    write(inside / EXIT, {"job": name, "status": status})


def said(inside: Path, name: str) -> int | None:
    """The exit status that the job itself has written down, if it has ended for good."""
    told = read(inside / EXIT)
    return int(told["status"]) if str(told.get("job")) == name else None


def wait(jobs: Iterable[tuple[Path, str]], timeout: float) -> None:
    """Return when one of the jobs, each with the folder that it writes into, has said its end, or after `timeout` seconds."""
    end, known = time.monotonic() + timeout, list(jobs)
    while time.monotonic() < end and all(said(inside, name) is None for inside, name in known):
        time.sleep(0.1)


def engine_of(config: DictConfig) -> Engine:
    """The engine that `cluster` names."""
    engine: Engine = instantiate(config.cluster)
    return engine
