"""Recorder: the one place the loop writes numbers to. Tracker: what a service or a file format has to offer."""

from __future__ import annotations

import importlib.util
import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from launcher.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


class Tracker(ABC):
    """One place beside metrics.jsonl. Its methods are called in a thread of its own, in the order below.

    An exception from any of them switches the tracker off with one warning, and the training goes on. Import the
    tracker's package in `start`, not above: until the first line is logged, a tracker costs the run nothing.
    """

    name: ClassVar[str]
    packages: ClassVar[dict[str, str]] = {}
    """The modules it imports, each with what `pip install` calls it."""
    extra: ClassVar[str | None] = None
    """The extra of this package that installs them; None where `pip install` takes their own names."""
    close_timeout_s: ClassVar[float] = 300
    """How long the end of a run waits for what is still to be sent."""
    notice: ClassVar[str | None] = None
    """What a person should know before the run begins."""

    off: bool = False
    """Its own settings switch it off: it is made, and never started."""

    def __init__(self) -> None:
        self.check()
        self.left: str | None = None
        """What is still to be done by hand after the run, for its last words: values that wait on the disk, say."""

    @classmethod
    def check(cls) -> None:
        """Raises ConfigError where a package is missing, and says how to install it. Imports nothing."""
        missing = [package for module, package in cls.packages.items() if importlib.util.find_spec(module) is None]
        if missing:
            wanted = f"'training-launcher[{cls.extra}]'" if cls.extra else " ".join(missing)
            raise ConfigError(
                f"tracker={cls.name} needs {' and '.join(missing)}, which this Python does not have: "
                f"pip install {wanted}, or leave it out with tracker=[]"
            )

    @abstractmethod
    def start(
        self, config: dict[str, Any], facts: dict[str, Any], name: str, folder: Path, resume_step: int | None
    ) -> None:
        """Begin, or take up again.

        `config` is the resolved config, nested; `facts` are the run's: device, parameters, where its code and its data
        come from, and `group`, the sweep or the procedure that it is part of, or None; `folder` is the run's.
        `resume_step` is None for a fresh run. Otherwise forget what was logged at that step and later: it comes again.
        """

    @abstractmethod
    def log(self, values: dict[str, float], step: int, at: float) -> None:
        """Keep plain floats, by their names in metrics.jsonl, `epoch` and `time_s` once a step among them. `at` is when
        they were logged, in seconds since 1970: what is sent late, or once more, stands at its own time."""

    def flush(self) -> None:  # noqa: B027  # not every tracker holds something back
        """Make what was logged readable by others, and safe from the end of this process."""

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:  # noqa: B027  # not every tracker has pictures
        """Keep a picture: uint8, shape [height, width, 3]. A tracker without pictures passes over it."""

    def table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:  # noqa: B027  # not every tracker has tables
        """Keep a table of plain values. A tracker without tables passes over it."""

    def artifact(self, name: str, path: Path) -> None:  # noqa: B027  # not every tracker keeps files
        """Keep a file, or a folder with all that is in it: `model`, `report`, `config`. It stays as it is until `close`."""

    def transient(self, error: Exception) -> bool:
        """Whether what failed may do so only for now, as when nobody answers: it is then tried again, and what comes
        after it waits. The method that raised is called again with the same arguments."""
        return False

    def close(self, result: dict[str, Any], step: int) -> None:  # noqa: B027  # not every tracker has an end
        """The fit is over; `result` is what result.json will say. Return when nothing is left to be sent."""


def best_of(result: dict[str, Any]) -> dict[str, float]:
    """What runs are sorted by: the objective at its best, and the step of that. Nothing where it has no value."""
    objective = result.get("objective") or {}
    value, step = objective.get("value"), result.get("best_step")
    if value is None or not math.isfinite(float(value)):
        return {}
    return {f"best/{objective['name']}": float(value)} | ({} if step is None else {"best/step": float(step)})
