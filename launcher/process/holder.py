"""A process as its holding of something names it: of which machine, and of which start of it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Holder:
    """A process: of which machine (and which table of processes there), of which start of it, and when it began."""

    host: str
    boot: str
    pid: int
    started: str

    def gone(self) -> bool | None:
        """Whether this process has ended; None where that can not be seen from here."""
        me = myself()
        if self.host != me.host:
            return None
        return self.boot != me.boot or _started(self.pid) != self.started


@cache
def _machine() -> tuple[str, str]:
    def read(path: str, link: bool = False) -> str:
        try:
            return str(Path(path).readlink()) if link else Path(path).read_text(encoding="ascii").strip()
        except OSError:
            return ""

    return f"{socket.gethostname()}/{read('/proc/self/ns/pid', link=True)}", read("/proc/sys/kernel/random/boot_id")


def _started(pid: int) -> str | None:
    """When a process of this machine began, in the kernel's ticks (where it has /proc); None where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return ""
        return ""
    return None if fields[0] in "ZX" else fields[19]


def myself() -> Holder:
    """This process."""
    return _own(os.getpid())


@cache
def _own(pid: int) -> Holder:
    return holder_of(pid)


def holder_of(pid: int) -> Holder:
    """A process of this machine that runs now."""
    host, boot = _machine()
    return Holder(host, boot, pid, _started(pid) or "")
