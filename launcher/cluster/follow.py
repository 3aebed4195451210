"""A single run on a cluster, as its person sees it: the job's number, its log as it grows, its end."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from launcher.artifacts.folder import CONFIG, plain
from launcher.artifacts.log_file import FILE as LOG
from launcher.artifacts.metrics_file import FILE as METRICS
from launcher.console.console import Console
from launcher.errors import DONE, ConfigError
from launcher.process.signals import Interrupt

if TYPE_CHECKING:
    from launcher.core.pool import Pool

    from .base import Engine


def follow(
    engine: Engine, pool: Pool, handle: str, folder: Path, begin: int, console: Console, interrupt: Interrupt
) -> int:
    """Print the log of a job from the byte `begin` on until it has ended; returns the run's exit status.

    A signal detaches: the job goes on, and what follows it again is said.
    """
    log, state = folder / LOG, ""
    position = begin
    while True:
        status = pool.poll(handle)
        position = _print_from(log, position)
        if status is not None:
            _print_the_rest(log, position)
            return status
        if interrupt.signal is not None:
            own = shlex.quote(str(folder))
            console.message(
                f"detached: job {handle} goes on. python -m launcher action=status run={own} says how it is, "
                f"python -m launcher resume={own} follows it again, {engine.ends(handle)} ends it"
            )
            return DONE
        if position == begin:  # nothing has been printed yet: why does it wait?
            now = engine.told([folder]).get(folder, ("", ""))[1]
            if now and now != state and not now.startswith("RUNNING"):
                console.message(f"job {handle}: {now}")
                state = now
        pool.wait(1.0)


def _print_from(log: Path, position: int) -> int:
    """Print what was appended to the log since `position`; returns where it ends now."""
    if not log.exists():
        return position
    with log.open("rb") as file:
        file.seek(position)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]  # a line is printed when it is whole
    sys.stdout.write(whole.decode(errors="replace"))
    sys.stdout.flush()
    return position + len(whole)


def _print_the_rest(log: Path, position: int) -> None:
    """What SLURM writes into the log once the run has said that it ended: until nothing more comes."""
    for _ in range(10):
        time.sleep(0.2)
        last, position = position, _print_from(log, position)
        if position == last:
            return


def report(folders: list[Path]) -> list[tuple[str, str, str, str]]:
    """Of each run's folder: its name, the state of the run, the job and its state, and where the log is; "–" for none."""
    from launcher.artifacts.folder import read_config
    from launcher.artifacts.result import checked_result

    known = _told(folders)
    rows = []
    for folder in folders:
        try:
            result = checked_result(folder)
            read_config(folder)
        except ConfigError as error:  # the others are told of all the same
            rows.append((folder.name, f"damaged: {error}", "", ""))
            continue
        alive = time.time() - _changed(folder) if result is None else 0.0
        said = f"last written {alive:.0f} s ago" if result is None else f"{result['status']}: {result['reason']}"
        job, state = known.get(folder, ("", ""))
        log = folder / LOG  # what a run on this machine printed, its terminal has
        rows.append(
            (
                folder.name,
                said,
                f"{job} {state or 'unknown to the cluster'}" if job else "–",
                str(log) if log.exists() else "–",
            )
        )
    return rows


def _told(folders: list[Path]) -> dict[Path, tuple[str, str]]:
    """The jobs of those runs that are on a cluster, and their states: each cluster is asked once."""
    from launcher.artifacts.folder import read_config

    from .base import engine_of

    by_target: dict[str, tuple[Engine, list[Path]]] = {}
    for folder in folders:
        try:
            config = read_config(folder)
        except ConfigError:
            continue
        if config.get("cluster"):
            by_target.setdefault(str(config.cluster._target_), (engine_of(config), []))[1].append(folder)
    return {folder: job for engine, own in by_target.values() for folder, job in engine.told(own).items()}


def _changed(folder: Path) -> float:
    """When something was last written into a run's folder."""
    files = [path for path in (folder / METRICS, folder / LOG, folder / CONFIG) if path.exists()]
    return max(path.stat().st_mtime for path in files)


def but_for_waiting(config: DictConfig) -> Any:
    """The config without what says whether its job is followed."""
    found = plain(config)
    found["cluster"].pop("wait", None)
    return found
