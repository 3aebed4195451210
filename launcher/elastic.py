"""N workers of one fit on this machine, started and watched by torch's elastic agent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from .console import Console
from .errors import DONE, FAILED, PREEMPTED, ConfigError, LauncherError, NodeLost, TrainingError, WorkerLost
from .folder import remove_leftovers
from .result import read_result, record_failure, unfinished, write_result
from .signals import Interrupt, LeftEarly

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .cluster.engine import Nodes

PRELOAD = (
    "torch,torch._dynamo,accelerate,launcher.build,launcher.worker,launcher.loops.supervised,launcher.parallel.ddp"
)

_LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")


LEAVE_S = 3
"""How long a worker has to end by itself once another one is lost. The elastic agent would wait for half a minute."""

LOOK_S = 0.1
"""How often the elastic agent looks whether a worker has ended. What follows for the others takes LEAVE_S."""

NODE_S = 10
"""How long the first node waits for the others to say what ended their workers. One that says nothing is gone."""


def run_workers(
    config: DictConfig,
    folder: Path,
    resume: bool,
    console: Console,
    interrupt: Interrupt,
    nodes: Nodes | None = None,
) -> dict[str, Any]:
    """Start `parallel.num_processes` workers on the run in `folder`, wait, and return its result.

    Of several `nodes` each starts its share of them, and the first one writes what becomes of the run.

    The worker that failed first is the one whose error is raised: each writes its own, with the time, because a
    rank that lost its peer fails too and says nothing of why. Where another start may do better (a worker died, raised
    or never came to a collective), all of them start again from the last checkpoint, up to `parallel.max_restarts`
    times. The driver does that itself, with a store of its own for each start: the elastic agent's own restarts
    meet in the store that the lost workers left.
    """
    interrupt.early = None  # the workers hear of a signal, and say whether there was something to save
    most, restarts = config.parallel.get("max_restarts", 0), 0
    leads = nodes is None or nodes.rank == 0
    while True:
        try:
            result = _start_workers(config, folder, resume, interrupt, nodes, restarts)
        except NodeLost as error:
            lost = {"status": "preempted", "reason": str(error)}
            write_result(folder, (read_result(folder) or unfinished(config)) | lost)
            raise
        except WorkerLost as error:
            if restarts == most or interrupt.signal is not None:
                if leads:
                    record_failure(folder, config, error)
                raise
            restarts += 1
            console.warning(f"{str(error).partition(chr(10))[0]}: start {restarts} of {most} from the last checkpoint")
            if leads:
                remove_leftovers(folder)
            resume = True
            continue
        except ConfigError:
            raise
        except TrainingError as error:
            if leads:
                record_failure(folder, config, error)
            raise
        if restarts and leads:
            result["restarts"] = restarts
            write_result(folder, result)
        return result


def _start_workers(
    config: DictConfig, folder: Path, resume: bool, interrupt: Interrupt, nodes: Nodes | None, start: int
) -> dict[str, Any]:
    """One start of all workers; returns the result they wrote. Raises what ended them.

    A signal in `interrupt` is passed on to the workers, which save and leave in their own time.
    """
    import logging

    from .search.pool import start_server

    reader, writer = start_server(PRELOAD.split(",")).Pipe(duplex=False)  # it imports torch while this process does

    import torch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    interrupt.told = lambda: writer.send_bytes(b"!")
    if interrupt.signal is not None:
        interrupt.told()
    for name in ("elastic.multiprocessing.api", "elastic.agent.server.api"):
        logging.getLogger(f"torch.distributed.{name}").setLevel(logging.CRITICAL)  # what they say of a failure, we say
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.CRITICAL)
    rank, num_nodes = (0, 1) if nodes is None else (nodes.rank, nodes.num)
    host, port = ("127.0.0.1", 0) if nodes is None or num_nodes == 1 else nodes.meeting_point(start)
    # A folder for each start: a node that is late must not take away what another one has written.
    errors = folder / (".errors" if nodes is None else f".errors-{nodes.start}-{start}")
    if nodes is None:
        shutil.rmtree(errors, ignore_errors=True)
    ranks = config.parallel.num_processes
    share = ranks // num_nodes
    # The workers share the agent's own store (no restarts, with which that hangs): its port is bound by the time they
    # hear of it, so that runs started at the same moment never meet.
    launch = LaunchConfig(
        min_nodes=num_nodes,
        max_nodes=num_nodes,
        nproc_per_node=share,
        run_id=f"{folder.name}-{os.getpid() if nodes is None else nodes.start}-{start}",
        rdzv_backend="c10d",
        rdzv_endpoint=f"{host}:{port}",
        rdzv_configs={"is_host": rank == 0},
        local_addr="127.0.0.1" if num_nodes == 1 else socket.gethostname(),
        start_method="forkserver",
        max_restarts=0,
        monitor_interval=LOOK_S,
        signals_to_handle="SIGQUIT",  # the others are ours
    )
    try:
        elastic_launch(launch, run_rank)(str(folder), resume, max(1, torch.get_num_threads() // share), reader, errors)
    except ChildFailedError as failure:
        signals = {rank: each.signal_name() for rank, each in failure.failures.items() if each.exitcode < 0}
        if rank:
            _tell(errors, f"node-{rank}", {str(each): name for each, name in signals.items()})
        raise _first_error(errors, signals, ranks, range(1, num_nodes if rank == 0 else 1)) from None
    except Exception:
        if rank:
            _tell(errors, f"node-{rank}", {})
        raise
    finally:
        interrupt.told = None
        reader.close()
        writer.close()
        if rank == 0:
            shutil.rmtree(errors, ignore_errors=True)
    if rank:  # the first node reads and writes what became of the run
        return {}
    result = read_result(folder)
    if result is None:
        raise TrainingError("the workers ended without a result")
    return result


def _first_error(errors: Path, signals: dict[int, str], ranks: int, others: range) -> LauncherError | LeftEarly:
    """What to raise: that a worker left before there was anything to save, else the earliest error that is not about a lost
    peer, else the signal that took a worker away.

    `signals` are those that ended workers of this node, by rank; the `others` are nodes that say theirs in a file.
    """
    records = [json.loads(path.read_text(encoding="utf-8")) for path in errors.glob("rank-*.json")]
    records.sort(key=lambda record: record["time"])
    if any(record["exit_status"] == PREEMPTED for record in records):
        return LeftEarly()
    told = [record for record in records if not any(words in record["message"] for words in _LOST_PEER)]
    if not told:
        end = time.monotonic() + NODE_S
        while silent := [node for node in others if not (errors / f"node-{node}.json").exists()]:
            if time.monotonic() > end:
                names = f"nodes {', '.join(map(str, silent))} are" if len(silent) > 1 else f"node {silent[0]} is"
                return NodeLost(f"{names} gone (of 0 to {others[-1]}), without a word")
            time.sleep(0.1)
        for node in others:
            theirs = json.loads((errors / f"node-{node}.json").read_text(encoding="utf-8"))
            signals |= {int(rank): name for rank, name in theirs.items()}
        killed = [f"rank {rank} was ended by {name}" for rank, name in sorted(signals.items())]
        lost = f"rank {records[0]['rank']} lost another one" if records else "a worker ended"
        return WorkerLost(
            f"{' and '.join(killed) or lost} without a word of its own; the system ends processes when memory runs out"
        )
    first = told[0]
    if first["exit_status"] == ConfigError.exit_status:
        return ConfigError(first["message"])
    text = first["message"] if first["traceback"] is None else f"{first['message']}\n{first['traceback'].rstrip()}"
    if first["waited"]:
        absent = sorted(set(range(ranks)) - {record["rank"] for record in records})
        text += "".join(f"; rank {rank} did not come to it" for rank in absent)
    kind = WorkerLost if first["traceback"] is not None or first["waited"] else TrainingError
    return kind(f"rank {first['rank']}: {text}")


def _tell(errors: Path, name: str, record: dict[str, Any]) -> None:
    errors.mkdir(exist_ok=True)
    beside = errors / f"{name}.part"
    beside.write_text(json.dumps(record), encoding="utf-8")
    beside.replace(errors / f"{name}.json")


def _leave_with_the_others(errors: Path, rank: int) -> None:
    """From now on, SIGTERM ends this process within LEAVE_S where another worker has failed or is gone.

    The agent sends it then, and a batch system may at any time, when the run saves and leaves by itself. What the
    signal wakes is a thread: the main one may sleep, or wait in a collective that nobody will join.
    """
    here = socket.gethostname()  # another node's processes can not be asked after
    errors.mkdir(exist_ok=True)
    (errors / f"rank-{rank}.{here}.pid").write_text(str(os.getpid()))
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def lost() -> bool:
        return any(errors.glob("*.json")) or not all(_alive(path.read_text()) for path in errors.glob(f"*.{here}.pid"))

    def watch() -> None:
        while os.read(woken, 1):
            if lost():
                time.sleep(LEAVE_S)
                os._exit(FAILED)

    threading.Thread(target=watch, daemon=True).start()


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):  # nothing is written yet: it is starting
        return not pid
    return True


def run_rank(folder: str, resume: bool, threads: int, asked: Connection, errors: Path) -> None:
    """What each worker does: its share of the run, and where that fails, its own words for the driver, in `errors`.

    What comes through `asked` is a signal that the driver got.
    """
    import torch

    from .console import Console
    from .folder import read_config
    from .leaving import leave, leave_soon, settle
    from .search.pool import leave_with_the_driver
    from .search.trial import reporter
    from .signals import Interrupt, LeftEarly, leaving_early, listening, stay
    from .worker import work

    torch.set_num_threads(threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # else Accelerate warns and takes a number of its own
    rank = int(os.environ["RANK"])
    path = Path(folder)
    console, interrupt = Console(quiet=rank != 0), Interrupt()
    stay()
    _leave_with_the_others(errors, rank)

    def tell(error: BaseException) -> int:
        """What the driver is told; returns the exit status."""
        record = _record(rank, error)
        _tell(errors, f"rank-{rank}", record)
        return int(record["exit_status"])

    try:
        with (
            leaving_early(interrupt, lambda: tell(LeftEarly())),
            listening(interrupt, lambda text: None, impatient=False),  # the driver has said it
        ):
            leave_with_the_driver(asked, interrupt)
            work(read_config(path), path, resume, console, interrupt, reporter())
    except BaseException as error:
        status = tell(error)
        settle(status)
        leave_soon()  # until this rank is gone, nobody looks at what it told
        leave(status)
    settle(DONE)


def _record(rank: int, error: BaseException) -> dict[str, Any]:
    """What ended a worker, for the driver."""
    told = isinstance(error, LauncherError)
    early = isinstance(error, LeftEarly)
    return {
        "rank": rank,
        "time": time.time(),
        "exit_status": error.exit_status if isinstance(error, LauncherError) else PREEMPTED if early else FAILED,
        "message": str(error) if told else f"{type(error).__name__}: {error}",
        "waited": isinstance(error, WorkerLost),
        "traceback": None if told or early else traceback.format_exc(),
    }
