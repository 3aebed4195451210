"""The real command, run by the tests: in a fresh interpreter, or in one that was warmed.

`cold` starts `python -m launcher` as a person does: 3 s of imports. `Warm` keeps one interpreter in which torch and
what it loads lazily are imported, but nothing of the launcher; for each command it forks, and the child runs the
same `python -m launcher` to the interpreter's ordinary end in 0.5 s. Each command is a process of its own, in its
own session, with its own folder, environment and output: it can be signalled, killed and waited for. What a warm
process can not show is what the command imports: use `cold` for that.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import runpy
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from tests.support import spare

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 240.0  # seconds; a test that hangs fails with what was printed so far
WARMED = (
    "torch",
    "torch._dynamo",
    "accelerate",
    "hydra.main",
    "omegaconf",
    "numpy",
    "rich.live",
    "torchmetrics.classification",
    "torch.utils.tensorboard",
    "hydra._internal.hydra",
    "hydra.utils",
    "optuna",
    "pandas",
    "skops.io",
    "sklearn.compose",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.pipeline",
    "plotly.graph_objects",
)


class Outcome(NamedTuple):
    """What a command left behind. `folder` is its run folder: the newest below its `outputs/`, or None."""

    returncode: int
    stdout: str
    stderr: str
    folder: Path | None


def run_folder(cwd: Path) -> Path | None:
    """The newest run folder below `cwd/outputs`, or None."""
    found = [config.parent for config in cwd.glob("outputs/*/*/config.yaml")]
    return max(found, key=lambda folder: folder.stat().st_mtime_ns, default=None)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, with the checkout on the path, plain output, no network and `extra`."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("COV_", "PYTEST_"))}
    path = os.pathsep.join(entry for entry in (str(ROOT), os.environ.get("PYTHONPATH")) if entry)
    plain = {"COLUMNS": "120", "HF_HUB_OFFLINE": "1", "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    plain["PYTHONFAULTHANDLER"] = "1"
    return inherited | plain | dict(extra or {})


def cold(*overrides: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = TIMEOUT) -> Outcome:
    """`python -m launcher` with `overrides` in a fresh interpreter; waits for its end."""
    command = [sys.executable, "-m", "launcher", *overrides]
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Outcome(done.returncode, done.stdout, done.stderr, run_folder(cwd))


@dataclass
class Running:
    """A command that was started and may still run. Its output lies in two files while it does."""

    warm: Warm
    pid: int
    cwd: Path
    stdout: Path
    stderr: Path

    def send(self, number: int) -> None:
        """Send a signal to the command's main process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the command and every process that it started."""
        os.killpg(self.pid, signal.SIGKILL)

    def done(self) -> bool:
        """Whether it has ended."""
        return self.warm.poll(self.pid) is not None

    def wait(self, timeout: float = TIMEOUT) -> Outcome:
        """Its outcome; a signal that ended it is a negative status. Raises TimeoutError, after killing it."""
        deadline = time.monotonic() + timeout
        while (status := self.warm.poll(self.pid, max(0.0, min(1.0, deadline - time.monotonic())))) is None:
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGABRT)  # each of its processes prints where it is
                time.sleep(2)
                with contextlib.suppress(ProcessLookupError):
                    self.kill()
                printed = f"{self.stdout.read_text()}\n{self.stderr.read_text()}"
                raise TimeoutError(f"still running after {timeout} s; it printed:\n{printed}")
        return Outcome(status, self.stdout.read_text(), self.stderr.read_text(), run_folder(self.cwd))


def wait_for(running: Running, path: Path, text: str = "") -> None:
    """Return when the file holds the text, which the command writes as it runs."""
    end = time.monotonic() + TIMEOUT
    while not path.exists() or text not in path.read_text():
        assert not running.done(), running.wait().stdout + running.wait().stderr
        assert time.monotonic() < end, running.stdout.read_text()
        time.sleep(0.005)


class Warm:
    """A warmed interpreter that forks a child for each command; `also` are further modules to import."""

    def __init__(self, also: tuple[str, ...] = ()) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", "import sys; from tests.support.harness import serve; serve(sys.argv[1:])", *also],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._statuses: dict[int, int] = {}
        self._started: list[int] = []
        self._rest = b""
        self._count = 0

    def __call__(
        self, *overrides: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = TIMEOUT
    ) -> Outcome:
        """`python -m launcher` with `overrides`; waits for its end."""
        return self.start(*overrides, cwd=cwd, env=env).wait(timeout)

    def start(self, *overrides: str, cwd: Path, env: Mapping[str, str] | None = None) -> Running:
        """`python -m launcher` with `overrides`, left running."""
        self._count += 1
        printed = cwd / f".printed-{self._count}"
        printed.mkdir()
        stdout, stderr = printed / "stdout", printed / "stderr"
        request = {
            "argv": ["launcher", *overrides],
            "cwd": str(cwd),
            "env": environment(env),
            "stdout": str(stdout),
            "stderr": str(stderr),
        }
        pipe = self._server.stdin
        assert pipe is not None
        pipe.write(json.dumps(request).encode() + b"\n")
        pipe.flush()
        while not self._started:
            self._read(TIMEOUT)
        return Running(self, self._started.pop(), cwd, stdout, stderr)

    def poll(self, pid: int, wait: float = 0.0) -> int | None:
        """The exit status of a child that has ended, or None; looks for up to `wait` seconds."""
        if pid not in self._statuses:
            self._read(wait)
        return self._statuses.get(pid)

    def close(self) -> None:
        """End the interpreter; children that still run are killed."""
        pipe = self._server.stdin
        assert pipe is not None
        pipe.close()
        self._server.wait(10)
        assert self._server.stdout is not None
        self._server.stdout.close()

    def _read(self, wait: float) -> None:
        pipe = self._server.stdout
        assert pipe is not None
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            if not selector.select(wait):
                return
        chunk = os.read(pipe.fileno(), 65536)
        if not chunk:
            raise RuntimeError(f"the warm interpreter ended with {self._server.wait()}")
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            word, pid, status = line.decode().split()
            if word == "started":
                self._statuses.pop(int(pid), None)  # of an earlier process: their numbers come round again
                self._started.append(int(pid))
            else:
                self._statuses[int(pid)] = int(status)


def serve(also: list[str]) -> None:
    """The warm interpreter: imports, then forks for each request on stdin until it is closed.

    In the server it does not return. In a child it returns when the command has: at the interpreter's own end.
    """
    for name in (*WARMED, *also):
        __import__(name)
    gc.freeze()  # a child that ends would look through all of it once more, and copy it for that: 2 s of a processor
    replies: IO[bytes] = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not be taken for a reply
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(wake, selectors.EVENT_READ)
    alive: set[int] = set()
    rest = b""
    while True:
        ready = {key.fd for key, _ in selector.select()}
        if wake in ready:
            os.read(wake, 4096)
            for pid in list(alive):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    alive.remove(pid)
                    replies.write(b"ended %d %d\n" % (pid, os.waitstatus_to_exitcode(status)))
        if 0 in ready:
            chunk = os.read(0, 65536)
            if not chunk:
                _leave(alive)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    selector.close()
                    for fd in (wake, woken, replies.fileno()):
                        os.close(fd)
                    _become(json.loads(line))
                    return
                alive.add(pid)
                replies.write(b"started %d 0\n" % pid)


def _become(request: dict[str, Any]) -> None:
    """Turn this forked process into `python -m launcher` as `request` has it."""
    os.setsid()
    for fd, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, fd)
        os.close(opened)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    if "OMP_NUM_THREADS" in os.environ:  # which torch read when the server imported it, before it was asked for this
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    faulthandler.enable()
    sys.path[:] = [entry for entry in sys.path if entry not in ("", request["cwd"])]
    sys.path[:0] = [request["cwd"]] + [entry for entry in _python_path(request) if entry not in sys.path]
    sys.argv = request["argv"]
    spare.keep()
    runpy.run_module("launcher", run_name="__main__", alter_sys=True)


def _python_path(request: dict[str, Any]) -> list[str]:
    return [entry for entry in request["env"].get("PYTHONPATH", "").split(os.pathsep) if entry]


def _leave(alive: set[int]) -> NoReturn:
    for pid in alive:
        os.killpg(pid, signal.SIGKILL)
    os._exit(0)
