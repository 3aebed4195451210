"""What became of a process that ran a fit: its result, or, where it died without one, what its log says."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from launcher.errors import DONE, PREEMPTED
from launcher.result import read_result, unfinished, write_result

if TYPE_CHECKING:
    from optuna.trial import TrialState

ENDED = ("completed", "stopped", "pruned")
"""The statuses that need nothing more."""
LOG = "log.txt"
_LED = ("direct cause of the following exception:", "another exception occurred:")
_BEGINS = re.compile(r"^(Traceback \(most recent call last\):|Fatal Python error: .*|Timeout \(.*\)!)$", re.MULTILINE)


def settle(folder: Path, status: int, config: DictConfig, why: str = "") -> dict[str, Any] | None:
    """The result of a process that is gone. One that failed without writing it is given one, with its last traceback.

    `status` is the exit status (negative: the signal that killed it); `why` says so where the driver knows better.
    """
    result = read_result(folder)
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


def values_of(metrics: Sequence[str], result: dict[str, Any]) -> list[float]:
    """A finished trial's objectives: metrics of its, or numbers of its result such as parameters and wall_s."""
    found = []
    for metric in metrics:
        objective = result["objective"]
        value = objective["value"] if metric == objective["name"] else result["metrics"].get(metric, result.get(metric))
        found.append(float("nan") if value is None else float(value))
    return found


def state_of(
    result: dict[str, Any], values: Callable[[dict[str, Any]], list[float]]
) -> tuple[TrialState, list[float] | None]:
    """What a study is told of a trial that is over. One whose objective is not a number has failed."""
    from optuna.trial import TrialState

    if result["status"] == "pruned":
        return TrialState.PRUNED, None
    if result["status"] in ENDED:
        found = values(result)
        if not any(value != value for value in found):
            return TrialState.COMPLETE, found
    return TrialState.FAIL, None
