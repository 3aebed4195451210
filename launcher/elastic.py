"""N workers of one fit on this machine, started and watched by torch's elastic agent."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from .errors import FAILED, ConfigError, LauncherError, TrainingError
from .result import read_result, record_failure
from .signals import Interrupt

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

PRELOAD = (
    "torch,torch._dynamo,accelerate,launcher.build,launcher.worker,launcher.loops.supervised,launcher.parallel.ddp"
)

_LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")


def run_workers(config: DictConfig, folder: Path, resume: bool, interrupt: Interrupt) -> dict[str, Any]:
    """Start `parallel.num_processes` workers on the run in `folder`, wait, and return its result.

    The worker that failed first is the one whose error is raised: each writes its own, with the time, because a
    rank that lost its peer fails too and says nothing of why. A signal in `interrupt` is passed on to the workers,
    which save and leave in their own time; the agent would kill them after half a minute.
    """
    import logging

    import torch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from .search.pool import start_server

    reader, writer = start_server(PRELOAD.split(",")).Pipe(duplex=False)
    interrupt.told = lambda: writer.send_bytes(b"!")
    if interrupt.signal is not None:
        interrupt.told()
    for name in ("elastic.multiprocessing.api", "elastic.agent.server.api"):
        logging.getLogger(f"torch.distributed.{name}").setLevel(logging.CRITICAL)  # what they say of a failure, we say
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.CRITICAL)
    errors = folder / ".errors"
    shutil.rmtree(errors, ignore_errors=True)
    ranks = config.parallel.num_processes
    # The workers share the agent's own store (no restarts, with which that hangs): its port is bound by the time they
    # hear of it, so that runs started at the same moment never meet.
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=f"{folder.name}-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        start_method="forkserver",
        max_restarts=0,
        monitor_interval=0.1,
        signals_to_handle="SIGQUIT",  # the others are ours
    )
    try:
        elastic_launch(launch, run_rank)(str(folder), resume, max(1, torch.get_num_threads() // ranks), reader)
    except ChildFailedError as failure:
        error = _first_error(errors, failure)
        if not isinstance(error, ConfigError):
            record_failure(folder, config, error)
        raise error from None
    finally:
        interrupt.told = None
        shutil.rmtree(errors, ignore_errors=True)
    result = read_result(folder)
    if result is None:
        raise TrainingError("the workers ended without a result")
    return result


def _first_error(errors: Path, failure: ChildFailedError) -> Exception:
    """What to raise: the earliest error that is not about a lost peer, else the signal that took a worker away."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in errors.glob("*.json")]
    records.sort(key=lambda record: record["time"])
    told = [record for record in records if not any(words in record["message"] for words in _LOST_PEER)]
    if not told:
        killed = [
            f"rank {rank} was ended by {each.signal_name()}"
            for rank, each in failure.failures.items()
            if each.exitcode < 0
        ]
        lost = f"rank {records[0]['rank']} lost another one" if records else "a worker"
        return TrainingError(
            f"{' and '.join(killed) or lost} without a word of its own; the system ends processes when memory runs out"
        )
    first = told[0]
    if first["exit_status"] == ConfigError.exit_status:
        return ConfigError(first["message"])
    text = first["message"] if first["traceback"] is None else f"{first['message']}\n{first['traceback'].rstrip()}"
    return TrainingError(f"rank {first['rank']}: {text}")


def run_rank(folder: str, resume: bool, threads: int, asked: Connection) -> None:
    """What each worker does: its share of the run, and where that fails, its own words for the driver.

    What comes through `asked` is a signal that the driver got.
    """
    import torch

    from .console import Console
    from .folder import read_config
    from .search.pool import leave_with_the_driver
    from .signals import Interrupt, listening
    from .worker import work

    torch.set_num_threads(threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # else Accelerate warns and takes a number of its own
    rank = int(os.environ["RANK"])
    path = Path(folder)
    console, interrupt = Console(quiet=rank != 0), Interrupt()
    leave_with_the_driver(asked, interrupt)
    try:
        with listening(interrupt, lambda text: None, impatient=False):  # the driver has said it
            work(read_config(path), path, resume, console, interrupt)
    except BaseException as error:
        told = isinstance(error, LauncherError)
        status = error.exit_status if isinstance(error, LauncherError) else FAILED
        record = {
            "rank": rank,
            "time": time.time(),
            "exit_status": status,
            "message": str(error) if told else f"{type(error).__name__}: {error}",
            "traceback": None if told else traceback.format_exc(),
        }
        final = path / ".errors" / f"rank-{rank}.json"
        final.parent.mkdir(exist_ok=True)
        beside = final.with_suffix(".part")
        beside.write_text(json.dumps(record), encoding="utf-8")
        beside.replace(final)
        sys.exit(status)
