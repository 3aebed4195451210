"""A warm interpreter for the server that a command forks its own processes from.

A command with workers, fits or trials starts Python once more, as multiprocessing's forkserver, which imports torch
for two seconds of a processor. The harness has imported it already: `keep` forks a spare interpreter before the
command begins, and the first forkserver that the command starts is that one, with the descriptors, the environment,
the folder and the signals held back that a started one would have. It is a process of its own, and the command's child.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from multiprocessing import util
from pathlib import Path
from typing import Any

SERVER = "from multiprocessing.forkserver import main"
"""How the code begins that multiprocessing gives the interpreter it starts."""


def keep() -> None:
    """Fork the spare, which waits until it is wanted or this process is gone."""
    ours, its = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _wait(its)
    its.close()
    start, spares = util.spawnv_passfds, [(pid, ours)]

    def spawn(path: Any, args: Sequence[Any], descriptors: Sequence[int]) -> int:
        if not spares or not str(args[-1]).startswith(SERVER):
            return start(path, args, descriptors)  # type: ignore[no-any-return]
        pid, spare = spares.pop()
        told = {
            "code": args[-1],
            "descriptors": list(descriptors),
            "environment": dict(os.environ),
            "folder": str(Path.cwd()),
            "held_back": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        }
        message = json.dumps(told).encode() + b"\n"
        sent = socket.send_fds(spare, [message], list(descriptors))
        if sent < len(message):  # an empty rest would be sent too, to one that may have closed its end by then
            spare.sendall(message[sent:])
        spare.close()
        return pid

    util.spawnv_passfds = spawn


def _wait(asked: socket.socket) -> None:
    """In the spare: become the server that is asked for. Does not return."""
    message, descriptors, _, _ = socket.recv_fds(asked, 65536, 8)
    while message and not message.endswith(b"\n"):
        message += asked.recv(65536)
    if not message:
        os._exit(0)
    asked.close()
    told = json.loads(message)
    # Each gets the number that it has in the process that sent it; first all out of the way of those numbers.
    away = [_above(descriptor, max(told["descriptors"])) for descriptor in descriptors]
    for descriptor, number in zip(away, told["descriptors"], strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.pthread_sigmask(signal.SIG_SETMASK, told["held_back"])
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    sys.argv = ["-c"]
    try:
        exec(told["code"], {"__name__": "__main__"})
    except SystemExit:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def _above(descriptor: int, least: int) -> int:
    """The same open file under a number above `least`."""
    import fcntl

    higher = fcntl.fcntl(descriptor, fcntl.F_DUPFD, least + 1)
    os.close(descriptor)
    return higher
