"""The recorder: writes every logged step to metrics.jsonl and hands it to the trackers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.artifacts.metrics_file import FILE, Lines, read

from .clock import Clock
from .later import later
from .thread import Lane

if TYPE_CHECKING:
    import numpy as np
from .base import Tracker


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")


class Recorder:
    """metrics.jsonl, always, and the trackers that were asked for. Only the main rank writes.

    Nothing is opened before the first line. A run that begins anew in a folder that holds a metrics.jsonl replaces
    it; one that resumes cuts it where its checkpoint says. Trackers are told from which step on to forget, and get
    every line from there on again, a tracker that was not there before from the first: so each holds each step once.
    """

    def __init__(
        self,
        folder: Path,
        trackers: list[Tracker],
        is_main: bool = True,
        warn: Callable[[str], None] = _to_stderr,
    ) -> None:
        self.path = folder / FILE
        self.is_main = is_main
        self._folder = folder
        self.warn = warn
        """Says something to the person."""
        self._lanes = [Lane(tracker, warn) for tracker in trackers] if is_main else []
        self._lines: Lines | None = None
        self._config: dict[str, Any] = {}
        self._facts: Callable[[], dict[str, Any]] = dict
        self._taken: dict[str, int | None] | None = None
        """The last step that each tracker held at the checkpoint; empty without one; None for a fresh run."""
        self._step = 0
        self._handed: int | None = None
        """The last step whose `epoch` and `time_s` the trackers have: a step of two lines has them once."""
        self._begun = False

    @property
    def step(self) -> int:
        """The step of the last line."""
        return self._step

    @property
    def failures(self) -> dict[str, str]:
        """The trackers that were switched off, each with the reason."""
        return {lane.tracker.name: lane.failure for lane in self._lanes if lane.failure is not None}

    def start(self, config: dict[str, Any], facts: Callable[[], dict[str, Any]]) -> None:
        """What the trackers will be told of the run. The `facts` are asked for at the first line: the first step need
        not wait for them."""
        self._config, self._facts = config, facts
        for lane in self._lanes:
            if lane.tracker.notice is not None:
                self.warn(f"tracker {lane.tracker.name}: {lane.tracker.notice}")

    def retell(self) -> None:
        """Begin with a metrics.jsonl that is whole and stays as it is: every tracker gets all of its lines."""
        self.load_state_dict({"offset": self.path.stat().st_size if self.path.exists() else 0, "taken": {}})
        self._begin()

    def log(self, step: int, values: dict[str, float], epoch: float, time_s: float) -> None:
        """Write one line: `step`, `epoch`, `time_s` (seconds of training), then the values.

        Raises TrainingError where the disk does not take it.
        """
        if not self.is_main:
            return
        floats = {name: float(value) for name, value in values.items()}
        at = time.time()
        lines = self._begin()
        record = {"step": step, "epoch": round(epoch, 6), "time_s": round(time_s, 6), **floats}
        lines.append(record)
        self._step = step
        if self._lanes:
            told = self._told(record)
            for lane in self._lanes:
                lane.put("log", told, step, at)

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Hand a picture to the trackers: uint8, shape [height, width, 3]."""
        self._hand_over("image", name, pixels, step)

    def table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        """Hand a table of plain values to the trackers."""
        self._hand_over("table", name, columns, rows, step)

    def artifact(self, name: str, path: Path) -> None:
        """Hand a file or a folder to the trackers; what is not there is left out."""
        if path.exists():
            self._hand_over("artifact", name, path)

    def _hand_over(self, method: str, *arguments: Any) -> None:
        if not self.is_main:
            return
        self._begin()
        for lane in self._lanes:
            lane.put(method, *arguments)

    def state_dict(self) -> dict[str, Any]:
        """The length of metrics.jsonl in bytes, and the last step that each tracker has taken in."""
        if not self.is_main:
            return {}
        return {"offset": self._open().offset, "taken": {lane.tracker.name: lane.taken for lane in self._lanes}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Cut metrics.jsonl to what it was, before the first line of this process."""
        if not self.is_main:
            return
        self._taken = state["taken"]
        self._lines = Lines(self.path, state["offset"])
        if self._lines.offset != state["offset"]:
            self.warn(
                f"{self.path} holds {self._lines.offset} bytes of whole lines where the checkpoint knew of "
                f"{state['offset']}: lines are lost, and the new ones follow those that are there"
            )

    def sync(self) -> None:
        """Return when every line is on the disk: called before a checkpoint that refers to them is renamed into place."""
        if self._lines is not None:
            self._lines.sync()

    def close(self, result: dict[str, Any], hurried: Callable[[], bool] = lambda: False, patient: bool = False) -> None:
        """Close the file and the trackers, wait for each at most as long as it says, and report those that failed.

        Once it is `hurried`, as by a signal, it waits no longer; `patient` means for as long as it takes.
        """
        if self._lines is None:
            return
        lines = self._begin()
        for lane in self._lanes:
            lane.put("close", result, self._step)
            lane.close()
        for lane in self._lanes:
            lane.join(hurried, patient)
        lines.sync()
        lines.close()
        self._lines = None
        for lane in self._lanes:
            if lane.failure is not None:
                how = later(lane.tracker, self._folder, self._config, result)
                self.warn(
                    f"tracker {lane.tracker.name} does not hold the whole run ({lane.failure}); {self.path} does. {how}"
                )
        for lane in self._lanes:
            if lane.tracker.left is not None:
                self.warn(f"tracker {lane.tracker.name}: {lane.tracker.left}")

    def _open(self) -> Lines:
        if self._lines is None:
            self._taken = {} if self.path.exists() else None
            self._lines = Lines(self.path)
        return self._lines

    def _begin(self) -> Lines:
        """Start the lanes, each with the lines that are there and that its tracker may not hold."""
        lines = self._open()
        if not self._begun:
            self._begun = True
            records = [] if self._taken is None else read(self.path)
            self._step = records[-1]["step"] if records else 0
            name, facts = str(self._config.get("name") or self._folder.name), self._facts()
            clock = Clock(self._folder, records)
            logged = [(self._told(record), record["step"], clock.at(record)) for record in records]
            for lane in self._lanes:
                # Of the last step one line may have been kept and another cut off: it is forgotten and taken again.
                resume_step = None if self._taken is None else min(self._taken.get(lane.tracker.name) or 0, self._step)
                lane.put("start", self._config, facts, name, self._folder, resume_step)
                for values, step, at in logged:
                    if step >= (resume_step or 0):
                        lane.put("log", values, step, at)
                lane.begin()
        return lines

    def _told(self, record: dict[str, Any]) -> dict[str, float]:
        """What the trackers get of a line, the lines being asked about in their order."""
        again, self._handed = record["step"] == self._handed, record["step"]
        return _values(record, again)


def _values(record: dict[str, Any], again: bool) -> dict[str, float]:
    """What a tracker gets of a line of metrics.jsonl, `again` of a step that it has had a line of."""
    left_out = ("step", "epoch", "time_s") if again else ("step",)
    return {name: value for name, value in record.items() if name not in left_out}
