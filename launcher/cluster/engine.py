"""What an engine is, and what a job's node knows of the others: all that the rest of the launcher sees of a cluster."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from launcher.search.pool import Pool

MEET_S = 600.0
"""How long the other nodes wait for the first one to say where they meet."""


class Engine(Protocol):
    """A node of `conf/cluster/`: where runs go, and what they ask for there."""

    wait: bool

    def pool(self, slots: int) -> Pool:
        """Where at most `slots` runs are at once."""
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

    def script(self, folder: Path, runs: int = 1, slots: int = 1) -> str:
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
