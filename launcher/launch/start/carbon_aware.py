"""Waits for the hours in which the grid is cleanest."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from math import hypot
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

from launcher.config.schema import duration as seconds_of
from launcher.console.numbers import span
from launcher.errors import ConfigError

from .forecast import Window, ask, holes, mean, read, windows


@dataclass(frozen=True)
class Choice:
    """The window that was chosen, the one that begins now (None where the forecast has none), and all means."""

    window: Window
    now: Window | None
    least: float
    most: float


@dataclass(frozen=True)
class CarbonAware:
    """Begins the run in the cleanest window of `duration` that ends before `deadline`.

    The grams of CO2 of a kWh come from a file (`forecast`), or from a `provider` for its `zone`; `url` is another address
    of it. `power_w` is what the run draws, for the kilograms. Cleanest is the lowest mean over the window, which may begin
    at any moment (Wiesner et al., Let's Wait Awhile, 2021).
    """

    duration: Any = None
    deadline: Any = "24h"
    forecast: str | None = None
    provider: Literal["electricity_maps", "watttime", "uk"] | None = None
    zone: str | None = None
    url: str | None = None
    power_w: float | None = None

    def choose(self, now: float) -> Choice:
        """The window to begin in, as the forecast stands. Raises ConfigError where there is none."""
        if (self.forecast is None) == (self.provider is None):
            raise ConfigError("start=carbon_aware: either start.forecast=<file> or start.provider=<name>")
        length, deadline = self._length(), now + self._seconds("deadline", self.deadline)
        if now + length > deadline:
            raise ConfigError(f"start.deadline={self.deadline}: a run of {self.duration} that begins now ends after it")
        if self.forecast is not None:
            known = read(Path(self.forecast))
        else:
            assert self.provider is not None
            known = ask(self.provider, self.zone, now, self.url)
        found = windows(known, now, deadline, length)
        if not found:
            missing = [f"{shown(begin)} to {shown(end)}" for begin, end in holes(known)]
            but = f" but for {', '.join(missing[:3])}{', …' if missing[3:] else ''}" if missing else ""
            raise ConfigError(
                f"start=carbon_aware: the forecast, from {shown(known[0].begin)} to {shown(known[-1].end)}{but}, holds no "
                f"window of {span(length)} between now and the deadline"
            )
        values = [window.value for window in found]
        best = min(found, key=lambda window: (window.value, window.begin))
        return Choice(best, mean(known, now, length), min(values), max(values))

    def told(self, choice: Choice, now: float) -> list[str]:
        """What was chosen, what it saves, and how sure that is."""
        window, before = choice.window, choice.now
        wait = window.begin - now
        when = "begins now" if wait <= 0 else f"begins at {shown(window.begin)}, in {span(wait)}"
        said = f"{when}: {window.value:.0f} g of CO2 a kWh"
        if before is None:
            return [said, "the forecast does not hold a run that begins now, so what is saved is not known"]
        share = 1 - window.value / before.value if before.value else 0.0
        said += f", {before.value:.0f} g now: {share:.0%} less"
        if self.power_w is not None:
            saved = (before.value - window.value) * self.power_w / 1000 * self._length() / 3600 / 1000
            said += f", {saved:.3g} kg at {self.power_w:g} W"
        return [said, self._sure(choice)]

    def _sure(self, choice: Choice) -> str:
        """How sure it is that the window is cleaner than now, by the bounds of the forecast."""
        window, before = choice.window, choice.now
        spread = f"the windows before the deadline have {choice.least:.0f} to {choice.most:.0f} g"
        if before is None or before.begin == window.begin:
            return spread
        if window.error is None or before.error is None:
            return f"{spread}; of its own error the forecast says nothing"
        both = hypot(window.error, before.error)
        chance = NormalDist().cdf((before.value - window.value) / both) if both else 1.0
        bounds = f"{window.value:.0f} ± {window.error:.0f} g beside {before.value:.0f} ± {before.error:.0f} g"
        sure = f"{chance:.0%}" if chance < 0.995 else "over 99%"
        return f"{spread}; {sure} sure that it is cleaner than now ({bounds})"

    def _length(self) -> float:
        if self.duration is None:
            raise ConfigError("start.duration: how long does the run take? (2h, say; training.max_time says it too)")
        return self._seconds("duration", self.duration)

    def _seconds(self, key: str, value: Any) -> float:
        try:
            found = seconds_of(value)
        except ValueError as error:
            raise ConfigError(f"start.{key}={value}: {error}") from None
        if found is None:
            raise ConfigError(f"start.{key}: expected a duration, such as 24h")
        return found


def shown(instant: float) -> str:
    """A moment, for people: 2026-11-24 03:10:00 UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", datetime.fromtimestamp(instant, UTC).timetuple())
