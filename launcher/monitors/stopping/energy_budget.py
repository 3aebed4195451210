"""A limit of energy."""

from __future__ import annotations

import re
from typing import Literal

from launcher.core.run import Run
from launcher.errors import ConfigError
from launcher.monitors.energy import EnergyMeter

UNITS = {"Wh": 1e-3, "kWh": 1.0, "MWh": 1e3, "kJ": 1 / 3600, "MJ": 1 / 3.6}
"""In kWh."""


class EnergyBudget(EnergyMeter):
    """Ends the run at the first log line or evaluation at which it has taken `limit`: kWh, or as in "500Wh", "2kWh", "1MJ".

    All sessions of the run count. What the meter can see, and what it only guesses, `monitor=[carbon]` says.
    """

    def __init__(self, limit: float | str, scope: Literal["process", "machine"] = "process") -> None:
        super().__init__(None, scope)
        self.limit = limit
        self.kwh = kilowatt_hours(limit)

    def log(self, run: Run) -> dict[str, float]:
        self._judge(run)
        return {}

    def eval_end(self, run: Run, metrics: dict[str, float]) -> None:
        self._judge(run)

    def _judge(self, run: Run) -> None:
        if run.parallel.max(self.measured()[0]) >= self.kwh:
            run.stop = (
                run.stop or f"the energy budget of {self.limit}{'' if isinstance(self.limit, str) else ' kWh'} is spent"
            )


def kilowatt_hours(value: float | str) -> float:
    """A number of kWh, or a text with its unit. Raises ConfigError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*([A-Za-z]*)", str(value).strip())
    unit = match[2] or "kWh" if match else ""
    if match is None or unit not in UNITS or float(match[1]) <= 0:
        raise ConfigError(
            f"stopping.energy_budget.limit={value}: expected kWh, or an energy as in {', '.join(f'2{unit}' for unit in UNITS)}"
        )
    return float(match[1]) * UNITS[unit]
