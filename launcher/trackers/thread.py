"""A tracker's own thread: what is logged is handed over at once, and what is slow or fails there stays there."""

from __future__ import annotations

import importlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from launcher.console.numbers import things
from launcher.process.exit import leave_all_behind

if TYPE_CHECKING:
    from .base import Tracker

CAPACITY = 100_000
"""Calls that may wait for a tracker that has fallen behind; beyond that it is switched off."""
INTERVAL_S = 1.0
"""The thread works off a second's calls at once. Woken for each, it would take the interpreter from the loop as often:
0.9 ms a line in place of 0.15 (TensorBoard, four values, two cores)."""

RETRY_S, LONGEST_S = 1.0, 30.0
"""How long the thread waits before it tries again what nobody answered: the first time, and at most."""
GRACE_S = 5.0
"""How long the end of a run waits for a tracker that could not be reached when it came."""
SILENT_S = 5.0
"""How long it waits without a word for one that still sends."""
HURRIED_S = 20.0
"""How long a run that a signal has ended waits at most: whoever sent it may not wait long, and a resume tells all again."""
LOOK_S = 0.5
"""How often the end of a run looks whether a tracker that it waits for can be reached at all."""
LONGEST_REASON = 160
_IMPORTING = threading.Lock()
"""Two of these packages imported at once were seen to find modules of each other that are not yet whole."""

Call = tuple[str, tuple[Any, ...]]
"""A tracker's method and its arguments."""


class Lane:
    """The calls for one tracker, made in order by one thread that begins when it is told to."""

    def __init__(self, tracker: Tracker, warn: Callable[[str], None]) -> None:
        self.tracker = tracker
        self.taken: int | None = None
        """The step of the last `log` that the tracker has flushed."""
        self.failure: str | None = None
        self._unreached: str | None = None  # why the call that is being tried again has failed so far
        self._unflushed: int | None = None  # the step of the last `log` since the last flush
        self._warn = warn
        self._calls: deque[Call] = deque()
        self._capacity: int | None = None
        self._closing = threading.Event()
        self._closed = 0.0  # when that was
        self._thread = threading.Thread(target=self._work, name=f"tracker {tracker.name}", daemon=True)

    def put(self, method: str, *arguments: Any) -> None:
        """Have a method of the tracker called after those that were put before. Never blocks."""
        if self.failure is None:
            self._calls.append((method, arguments))
            if self._capacity is not None and len(self._calls) > self._capacity:
                self._fail(f"{len(self._calls)} calls behind")

    def begin(self) -> None:
        """Start the thread. What waits by now does not count as falling behind."""
        self._capacity = CAPACITY + len(self._calls)
        self._thread.start()

    def close(self) -> None:
        """Have what waits worked off now, to the end."""
        self._closed = time.monotonic()
        self._closing.set()

    def join(self, hurried: Callable[[], bool], patient: bool) -> None:
        """Return when the tracker is closed, or has failed, or has had its time since `close`: all there is where one
        is `patient`. One that is `hurried` while it waits leaves at once; one that came so, after a while."""
        came_hurried = hurried()
        limit = math.inf if patient else self.tracker.close_timeout_s
        limit = min(limit, HURRIED_S) if came_hurried else limit
        why, told = f"not done {limit:g} s after the end of the run", False
        while self._thread.is_alive() and (waited := time.monotonic() - self._closed) < limit:
            # It may find out only now that nobody answers, when its package is imported at last.
            if self._unreached is not None and waited >= GRACE_S:
                break
            if not came_hurried and hurried():
                why = "left by a signal before it was done"
                break
            if not told and waited >= SILENT_S:
                told = True
                self._warn(self._slow(limit))
            self._thread.join(min(LOOK_S, limit - waited))
        if self._thread.is_alive() and self.failure is None:
            self._fail(self._unreached or why)
        if self._thread.is_alive():
            leave_all_behind()

    def _slow(self, limit: float) -> str:
        """What is said of a tracker that the end of a run waits for."""
        left = things(len(self._calls), "call")
        most = "as long as it takes" if limit == math.inf else f"{limit:g} s at most"
        return f"tracker {self.tracker.name} still sends, {left} to go: waiting {most}; Ctrl-C leaves it"

    def _work(self) -> None:
        method = "start"
        try:
            with _IMPORTING:
                for module in self.tracker.packages:
                    importlib.import_module(module)
            while method != "close" and self.failure is None:
                self._closing.wait(INTERVAL_S)
                for _ in range(len(self._calls)):
                    method, arguments = self._calls[0]
                    if method == "close":
                        self._flush()
                    self._insist(method, *arguments)
                    if self.failure is not None:
                        return
                    self._calls.popleft()
                    if method == "log":
                        self._unflushed = arguments[1]
                if method != "close":
                    self._flush()
        except BaseException as error:  # also SystemExit: no library may end the run from here
            self._fail(_reason(error, method))

    def _insist(self, method: str, *arguments: Any) -> None:
        """Call a method of the tracker until it is answered; what else goes wrong is raised."""
        pause = RETRY_S
        while self.failure is None:
            try:
                getattr(self.tracker, method)(*arguments)
            except Exception as error:
                if not self.tracker.transient(error):
                    raise
                if self._unreached is None:
                    self._warn(
                        f"tracker {self.tracker.name} can not be reached; what is logged waits, and is tried again"
                    )
                self._unreached = _reason(error, method)
                if self._closing.wait(pause):
                    time.sleep(RETRY_S)
                pause = min(2 * pause, LONGEST_S)
            else:
                self._unreached = None
                return

    def _flush(self) -> None:
        if self._unflushed is not None:
            self._insist("flush")
            if self.failure is not None:
                return
            self.taken, self._unflushed = self._unflushed, None

    def _fail(self, reason: str) -> None:
        if self.failure is not None:
            return
        self.failure = reason
        self._calls.clear()
        self._warn(f"tracker {self.tracker.name} is switched off: {reason}")


def _reason(error: BaseException, method: str) -> str:
    """What went wrong, in one line of a length that a person reads."""
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__} in {method}: {text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + '…'}"
