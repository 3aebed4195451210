"""result.json: how a run ended, what it reached and what it took."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

from launcher.errors import ConfigError, LauncherError

from .files import damaged, kind_of, object_of
from .masking import mask
from .provenance import provenance

if TYPE_CHECKING:
    from omegaconf import DictConfig


RESULT = "result.json"

NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""JSON has no such floats: how they are spelled in the files of a run, and what `float` reads from it."""

_NUMBER = (int, float, type(None))
_FORM: dict[str, Any] = {
    "status": str, "reason": str, "objective": dict, "metrics": dict, "steps": _NUMBER, "epochs": _NUMBER, "wall_s": _NUMBER,
}  # fmt: skip
"""What every result has, and of what kind it is."""


def spelled(value: Any) -> Any:
    """A value as JSON can hold it: itself, or the string for a float that is not finite."""
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write it beside and rename it, so that whoever reads finds it whole or not at all. Floats are spelled as in metrics.jsonl.
    What ended a run may be a library's words, which know no secrets: they are masked."""
    said = {key: mask(result[key]) for key in ("reason", "traceback") if isinstance(result.get(key), str)}
    beside = folder / f".{RESULT}"
    with beside.open("w", encoding="utf-8") as file:
        json.dump(_each(result | said, _spell), file, indent=2, default=float, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / RESULT)


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result in a run's folder; None where there is none yet, or none that can be read: the run is not over."""
    try:
        return checked_result(folder)
    except ConfigError:
        return None


def checked_result(folder: Path) -> dict[str, Any] | None:
    """The result in a run's folder; None where there is none yet. Raises ConfigError for one that is damaged."""
    path = folder / RESULT
    then = f"take it away, and resume={folder} goes on from the last checkpoint and writes it anew"
    result = object_of(path, then)
    if result is None:
        return None
    read: dict[str, Any] = _each(
        result, lambda value: NOT_FINITE.get(value, value) if isinstance(value, str) else value
    )
    for key, kinds in _FORM.items():
        if key not in read or not isinstance(read[key], kinds):
            found = f"{key!r} is {kind_of(read[key])}" if key in read else f"{key!r} is missing"
            raise damaged(path, found, then)
    return read


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same nested dicts and lists with every value in them changed."""
    if isinstance(value, dict):
        return {key: _each(entry, change) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_each(entry, change) for entry in value]
    return change(value)


def _spell(value: Any) -> Any:
    return spelled(float(value)) if isinstance(value, SupportsFloat) and not isinstance(value, int) else value


def unfinished(config: DictConfig) -> dict[str, Any]:
    """The result of a run that could not write its own: what the config says of it, and nothing reached."""
    objective = {"name": config.objective.metric, "value": None, "direction": config.objective.direction}
    unknown = ("best_step", "steps", "epochs", "wall_s", "parameters", "trainable_parameters", "peak_memory_bytes")
    known = {"world_size": config.parallel.num_processes, "seed": config.seed}
    return {"objective": objective, "metrics": {}} | dict.fromkeys(unknown) | known | provenance()


def peak_memory_bytes() -> int:
    """The most memory this process held: the device's allocator where there is one, else the resident set.

    Linux's `ru_maxrss` is not asked: it begins with the peak of the program that started this one.
    """
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if platform.system() == "Darwin" else 1024)


def record_failure(folder: Path, config: DictConfig, error: Exception) -> None:
    """Make result.json say that the run failed, and why, if it still can; what it says beside that stays."""
    reason = str(error).partition("\n")[0] if isinstance(error, LauncherError) else f"{type(error).__name__}: {error}"
    with contextlib.suppress(OSError):  # a full disk, of which the error tells
        write_result(folder, (read_result(folder) or unfinished(config)) | {"status": "failed", "reason": reason})
