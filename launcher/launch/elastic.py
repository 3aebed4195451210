"""N workers of one fit on this machine, started and watched by torch's elastic agent."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from launcher.artifacts.folder import remove_leftovers
from launcher.artifacts.result import read_result, record_failure, unfinished, write_result
from launcher.console.console import Console
from launcher.errors import PREEMPTED, ConfigError, LauncherError, NodeLost, TrainingError, WorkerLost
from launcher.process.signals import Interrupt, LeftEarly

from .rank import _tell, run_rank

if TYPE_CHECKING:
    from launcher.cluster.base import Nodes

PRELOAD = (
    "torch,torch._dynamo,accelerate,launcher.preflight.capacity,launcher.train.build,launcher.train.worker,"
    "launcher.train.loops.supervised,launcher.parallel.ddp"
)

_LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")


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

    from launcher.process.forkserver import start_server

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
    told = [record for record in records if not any(words in record["message"] for words in _LOST_PEER)]
    # Not any that left early: when one has failed, the elastic agent ends the others with the signal that asks them to.
    if told and told[0]["exit_status"] == PREEMPTED:
        return LeftEarly()
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
