"""What became of a process that ran a fit: its result, or, where it died without one, what its log says."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from launcher.artifacts.log_file import FILE as LOG
from launcher.artifacts.result import read_result, unfinished, write_result
from launcher.errors import DONE, PREEMPTED

ENDED = ("completed", "stopped", "pruned")
"""The statuses that need nothing more."""
_LED = ("direct cause of the following exception:", "another exception occurred:")
_BEGINS = re.compile(r"^(Traceback \(most recent call last\):|Fatal Python error: .*|Timeout \(.*\)!)$", re.MULTILINE)


def values_of(result: dict[str, Any], metrics: Sequence[str]) -> list[float | None]:
    """A trial's objectives: metrics of its, or numbers of its result such as parameters and wall_s; None of one that it has
    not, or that is no number. The run's own objective is its best, of whichever evaluation; a pruned trial's is so too."""
    found: list[float | None] = []
    for metric in metrics:
        objective = result.get("objective") or {}
        own = objective.get("value") if metric == objective.get("name") else None
        value = own if own is not None else result.get("metrics", {}).get(metric, result.get(metric))
        number = float("nan") if value is None else float(value)
        found.append(None if number != number else number)
    return found


def settle(folder: Path, status: int, config: DictConfig, why: str = "") -> dict[str, Any] | None:
    """The result of a process that is gone. One that failed without writing it is given one, with its last traceback; one
    that came to its end stands, whatever ended the process after that, while it drew its page.

    `status` is the exit status (negative: the signal that killed it); `why` says so where the driver knows better.
    """
    result = read_result(folder)
    if result is not None and result["status"] in ENDED:
        return result
    if status == DONE and result is None and not why:
        os.utime(folder)  # a client of NFS that asked too early believes for a minute that nothing is there
        result = read_result(folder)
        why = "" if result else "it ended without a result"
    if status in (DONE, PREEMPTED) and not why:
        return result
    log = folder / LOG
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if result is None or result["status"] != "failed" or why:
        words = why or _last_words(text)
        if status < 0 and not why:
            words = f"{signal.Signals(-status).name} ended it (its last words: {words})"
        result = (result or unfinished(config)) | {"status": "failed", "reason": words}
    traceback = _last_traceback(text)
    if traceback and "traceback" not in result:
        result["traceback"] = traceback
    write_result(folder, result)
    return result


def _last_traceback(text: str) -> str:
    """The last traceback in a log, with those of the errors that led to it; "" without one."""
    begins = [found.start() for found in _BEGINS.finditer(text)]
    while len(begins) > 1 and text[: begins[-1]].rstrip().endswith(_LED):
        begins.pop()
    return text[begins[-1] :].rstrip() if begins else ""


def _last_words(text: str) -> str:
    """The error in a log, or its last line."""
    lines = text.splitlines()
    told = [line.partition("error: ")[2] for line in lines if "error: " in line]
    return (told or [line for line in lines if line.strip()] or ["it died without a word"])[-1]
