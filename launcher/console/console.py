"""What a person sees of a run: on a terminal a header, a live bar and a closing table; elsewhere plain lines.

The loop never calls the console for a step. A thread looks how far `run.progress` has come, four times a second on a
terminal and once a second elsewhere; it reads plain numbers, never a tensor.
"""

from __future__ import annotations

import atexit
import errno
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .numbers import count, number, rate, span
from .summary import closing_rows, commands, header_rows
from .terminal import Look, Plain, Surface, Terminal, Words, is_terminal

if TYPE_CHECKING:
    from .progress import Watched

WINDOW_S = 10.0
"""The rate that is shown is that of the last ten seconds."""

_drawing = threading.RLock()
"""Held while something is drawn, and across a fork: a data worker must not inherit a half-drawn terminal."""
_forks_guarded = False
_live: Console | None = None


class View:
    """A look at a run while it goes on: the numbers that the bar shows. `trail` keeps (time, step) of earlier looks."""

    def __init__(self, run: Watched, trail: deque[tuple[float, int]]) -> None:
        now, step, plan = time.monotonic(), run.progress.step, run.plan
        trail.append((now, step))
        while len(trail) > 2 and now - trail[1][0] > WINDOW_S:
            trail.popleft()
        then, before = trail[0]
        self.step, self.total = step, plan.last_step
        self.elapsed = run.progress.elapsed()
        self.rate = (step - before) / (now - then) if now > then else 0.0
        shares, lefts = [], []
        if self.total:
            shares.append(step / self.total)
            lefts += [(self.total - step) / self.rate] if self.rate else []
        if plan.max_time:
            shares.append(self.elapsed / plan.max_time)
            lefts.append(plan.max_time - self.elapsed)
        self.share = min(1.0, max(shares)) if shares else None
        self.left = max(0.0, min(lefts)) if lefts else None
        self.loss = run.metrics.get("train/loss")
        self.objective = run.objective[0]
        self.value = run.metrics.get(self.objective)

    def words(self) -> list[str]:
        """What is said, the most important first."""
        said = [f"{count(self.step)}/{count(self.total)}" if self.total else f"step {count(self.step)}"]
        if self.loss is not None:
            said.append(f"loss {number(self.loss)}")
        if self.left is not None:
            said.append(f"{span(self.left)} left")
        if self.value is not None and self.objective != "train/loss":
            said.append(f"{self.objective} {number(self.value)}")
        if self.rate:
            said.append(rate(self.rate))
        return said

    def rows(self) -> list[Words]:
        """A run has its bar alone."""
        return []


class Console:
    """Tells a person of one run, or of one sweep. `quiet` says nothing; `plain` is decided by the stream where it is not given.

    A terminal has a bar unless it is a dumb one or `CI` is set. `NO_COLOR` leaves the bar and takes the colours.
    A reader who goes away (`| head`) ends the output and not the run.
    """

    def __init__(self, stream: TextIO | None = None, plain: bool | None = None, quiet: bool = False) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._plain = not is_terminal(self._stream) if plain is None else plain
        self._quiet = quiet
        self._surface: Surface | None = None
        self._waiting: list[Callable[[Surface], None]] = []
        self._busy = False
        self._run: Watched | None = None
        self._look: Callable[[], Look] | None = None
        self._trail: deque[tuple[float, int]] = deque()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def header(self, facts: dict[str, Any]) -> None:
        """What is about to run. Any key may be missing or None, and keys that are not known are shown as they are.

        Known: name, task, model, parameters, trainable_parameters, data, train_samples, val_samples, device, ranks,
        precision, engine (what works between the ranks), steps, epochs, batch_size, resumed_from (a step), seed, folder.
        """
        self._draw(lambda surface: surface.table(header_rows(facts)))

    def start(self, run: Watched) -> None:
        """Show how far `run` has come, until `stop`."""
        if self._quiet or self._thread is not None:
            return
        self._run = run
        self._trail.clear()
        self.follow(lambda: View(run, self._trail))

    def follow(self, look: Callable[[], Look]) -> None:
        """Show what `look` returns, again and again from a thread of its own, until `stop`."""
        global _live
        if self._quiet or self._thread is not None:
            return
        _guard_forks()
        self._look, _live = look, self
        self._ended.clear()
        self._thread = threading.Thread(target=self._watch, name="console", daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def evaluation(self, step: int, epoch: float, metrics: dict[str, float], best: bool) -> None:
        """One line for an evaluation; `metrics` by their whole names, `best` where it is the best so far."""
        run = self._run
        objective = None if run is None else run.objective[0]
        known = {} if run is None else run.metrics
        total = step if run is None else run.plan.last_step or step
        names = sorted(metrics, key=lambda name: (name != objective, name != "val/loss"))
        words: Words = [(f"step {count(step):>{len(count(total))}}", ""), (f"epoch {epoch:<5.4g}", "faint")]
        words += [
            (f"{name} {number(metrics[name]):<6}", "good" if best and name == objective else "") for name in names
        ]
        if "train/loss" in known and "train/loss" not in metrics:
            words.insert(4, (f"train/loss {number(known['train/loss']):<6}", "faint"))
        words.insert(3, ("best" if best else "    ", "good"))
        self._draw(lambda surface: surface.line(words))

    def message(self, text: str) -> None:
        """Something worth knowing. May be called from any thread and by a signal's handler."""
        self._draw(lambda surface: surface.line([(text, "")]))

    def warning(self, text: str) -> None:
        """Something that is not as it should be, and that the run goes on with."""
        self._draw(lambda surface: surface.line([(f"warning: {text}", "warning")]))

    def stop(self) -> None:
        """Take the bar away. May be called at any time and more than once."""
        global _live
        self._ended.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=1)  # a signal's handler may come here holding what the thread waits for
        if _live is self:
            _live = None
            atexit.unregister(self.stop)
        if self._look is not None:
            self._run = self._look = None
            self._draw(lambda surface: surface.stop())

    def summary(self, result: dict[str, Any], folder: Path, next_commands: dict[str, str] | None = None) -> None:
        """How a run ended, where it lies and the commands that come next; `result` as in result.json."""
        self.stop()
        role = {"completed": "good", "failed": "bad"}.get(str(result["status"]), "warning")
        following = commands(result, folder) if next_commands is None else next_commands
        self._draw(lambda surface: surface.table(closing_rows(result, folder), role))
        self._draw(lambda surface: surface.commands(list(following.items())))

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _watch(self) -> None:
        interval = Plain.interval_s if self._plain else Terminal.interval_s
        while not self._ended.wait(interval):
            look = self._look
            if look is not None:
                self._show(look())

    def _show(self, view: Look) -> None:
        self._draw(lambda surface: surface.progress(view))

    def _draw(self, action: Callable[[Surface], None]) -> None:
        """Draw one thing at a time. A signal's handler that comes in the middle of another has its turn after that."""
        if self._quiet:
            return
        with _drawing:
            self._waiting.append(action)
            if self._busy:
                return
            self._busy = True
            try:
                if self._surface is None:
                    self._surface = Plain(self._stream) if self._plain else Terminal(self._stream)
                while self._waiting:
                    self._waiting.pop(0)(self._surface)
            except (OSError, ValueError) as error:
                if isinstance(error, ValueError) and not self._stream.closed:
                    raise
                self._quiet = True
                if isinstance(error, OSError) and error.errno == errno.EPIPE:
                    _discard(self._stream)
            finally:
                self._busy = False

    def forked(self) -> None:
        """In a child of the process that draws: nothing is drawn from here."""
        self._quiet, self._thread = True, None
        if self._surface is not None:
            self._surface.forked()


def _discard(stream: TextIO) -> None:
    """Let what is still to be written go nowhere: Python would complain of the broken pipe when it exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _guard_forks() -> None:
    global _forks_guarded
    if not _forks_guarded:
        _forks_guarded = True
        os.register_at_fork(before=_drawing.acquire, after_in_parent=_drawing.release, after_in_child=_in_child)


def _in_child() -> None:
    if _live is not None:
        _live.forked()
    _drawing.release()
