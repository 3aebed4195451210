"""N workers of one fit on this machine, started and watched by torch's elastic agent."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from .errors import FAILED, ConfigError, LauncherError, TrainingError
from .result import read_result

PRELOAD = "torch,torch._dynamo,accelerate,launcher.build,launcher.worker,launcher.loops.supervised,launcher.parallel.ddp"


def run_workers(config: DictConfig, folder: Path, resume: bool) -> dict[str, Any]:
    """Start `parallel.num_processes` workers on the run in `folder`, wait, and return its result.

    The worker that failed first is the one whose error is raised: each writes its own, with the time, because a
    rank that lost its peer fails too and says nothing of why.
    """
    # gloo's agents on one machine need no name service; and see the c10d store's known hang when it is shared
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    os.environ.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGUSR1,SIGUSR2")
    import multiprocessing

    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    multiprocessing.set_forkserver_preload(PRELOAD.split(","))
    errors = folder / ".errors"
    for stale in errors.glob("*.json"):
        stale.unlink()
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=config.parallel.num_processes,
        run_id=f"{folder.name}-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        start_method="forkserver",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(launch, run_rank)(str(folder), resume)
    except ChildFailedError as failure:
        raise _first_error(errors, failure) from None
    except SignalException as signalled:
        result = read_result(folder)
        if result is None:
            raise TrainingError(f"{signalled.sigval.name} before the workers had begun") from None
        return result
    result = read_result(folder)
    if result is None:
        raise TrainingError("the workers ended without a result")
    return result


def _first_error(errors: Path, failure: Exception) -> Exception:
    records = sorted((json.loads(path.read_text(encoding="utf-8")) for path in errors.glob("*.json")), key=lambda record: record["time"])
    told = [record for record in records if "Connection closed by peer" not in record["message"]] or records
    if not told:
        exits = getattr(failure, "failures", {})
        ways = ", ".join(f"rank {rank}: {entry.message or entry.exitcode}" for rank, entry in exits.items())
        return TrainingError(f"a worker died without a word ({ways})")
    first = told[0]
    if first["exit_status"] == ConfigError.exit_status:
        return ConfigError(first["message"])
    text = first["message"] if first["traceback"] is None else f"{first['message']}\n{first['traceback']}"
    return TrainingError(f"rank {first['rank']}: {text}")


def run_rank(folder: str, resume: bool) -> None:
    """What each worker does: its share of the run, and where that fails, its own words for the driver."""
    from .console import Console
    from .folder import read_config
    from .search.pool import leave_with_the_driver
    from .signals import Interrupt, listening
    from .worker import work

    leave_with_the_driver()
    rank = int(os.environ["RANK"])
    path = Path(folder)
    console, interrupt = Console(quiet=rank != 0), Interrupt()
    try:
        with listening(interrupt, console.message, impatient=False):
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
        (path / ".errors").mkdir(exist_ok=True)
        (path / ".errors" / f"rank-{rank}.json").write_text(json.dumps(record), encoding="utf-8")
        sys.exit(status)
