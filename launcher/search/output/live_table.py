"""What a terminal shows of a sweep while it runs: a row for each trial that runs here, and how far the whole is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.artifacts.metrics_file import FILE, decode
from launcher.console.numbers import count, number, span
from launcher.console.terminal import Words
from launcher.search.space import dimensions as space

TAIL = 4096
"""Bytes at the end of a trial's metrics in which its last line is looked for."""


@dataclass(frozen=True)
class Row:
    """A trial that runs on a slot of this driver's, since a time of `time.monotonic`."""

    number: int
    slot: int
    params: Mapping[str, Any]
    folder: Path
    since: float = field(default_factory=time.monotonic)


class SweepView:
    """A look at a sweep. `states` counts the trials of the whole study; `ended` those that ended here in `elapsed` seconds."""

    def __init__(
        self,
        rows: list[Row],
        states: Counter[str],
        total: int | None,
        best: tuple[int, float] | None,
        ended: int,
        elapsed: float,
        metric: str,
    ) -> None:
        self.elapsed, self._rows, self._states, self._best, self._metric = elapsed, rows, states, best, metric
        self._total = total
        self._finished = sum(states.values())
        self.share = None if total is None else min(1.0, self._finished / total)
        self.left = elapsed / ended * max(0, total - self._finished) if ended and total is not None else None

    def words(self) -> list[str]:
        """What is said, the most important first."""
        said = [count(self._finished) + ("" if self._total is None else f"/{count(self._total)}") + " trials"]
        said.append(f"{len(self._rows)} running")
        if self._best is not None:
            said.append(f"best {number(self._best[1])} of trial {self._best[0]}")
        if self.left is not None:
            said.append(f"{span(self.left)} left")
        said += [
            f"{count(self._states[state])} {state}" for state in ("done", "pruned", "failed") if self._states[state]
        ]
        return said

    def rows(self) -> list[Words]:
        """A line for each trial that runs here: number, slot, since when, how far, with which parameters."""
        now, said = time.monotonic(), []
        for row in sorted(self._rows, key=lambda each: each.slot):
            last = _last(row.folder)
            far = f"step {count(last['step'])}" if "step" in last else "starts"
            value = last.get(self._metric, last.get("train/loss"))
            if value is not None:
                far += f", {self._metric if self._metric in last else 'loss'} {number(float(value))}"
            words: Words = [
                (f"trial {row.number}", "title"),
                (f"slot {row.slot}", "faint"),
                (span(now - row.since), ""),
            ]
            said.append([*words, (far, ""), (_short(row.params), "faint")])
        return said


def _short(params: Mapping[str, Any]) -> str:
    """A trial's parameters in so few signs that there is room for them: a key by its last part where no other one has the same,
    a number by four digits. In full they stand in the line that stays, and in the table."""
    ends = Counter(key.rpartition(".")[2] for key in params)
    names = {key: key.rpartition(".")[2] if ends[key.rpartition(".")[2]] == 1 else key for key in params}
    short = {names[key]: f"{value:.4g}" if isinstance(value, float) else value for key, value in params.items()}
    return " ".join(space.overrides(short))


def _last(folder: Path) -> dict[str, Any]:
    """The last whole line of a trial's metrics."""
    try:
        with (folder / FILE).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            lines = file.read().split(b"\n")
        return decode(lines[-2])
    except (OSError, ValueError, IndexError):
        return {}
