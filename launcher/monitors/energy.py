"""The energy that a run takes, by CodeCarbon."""

from __future__ import annotations

import logging
import threading
from typing import Any, ClassVar, Literal

from launcher.algorithm import Monitor
from launcher.run import Run

WORLD = 473.0
"""Grams of CO2 equivalent a kWh: the world's mean of 2024 (Ember, Global Electricity Review 2025)."""
MEASURED_S = 2.0
"""Seconds between two measurements; what came after the last one is not counted yet."""


class EnergyMeter(Monitor):
    """Measures the energy of this session in a thread of its own, and adds it to that of the sessions before.

    CodeCarbon (Schmidt et al.) reads RAPL and NVML where they are; else it estimates a processor's power from its load and
    its maker's number, which is a guess. Nothing is asked of the network. The main rank measures its own machine. Meters of one
    run that ask for the same share one measurement.
    """

    packages: ClassVar[dict[str, str]] = {"codecarbon": "codecarbon"}
    extra = "carbon"

    def __init__(self, country: str | None, scope: Literal["process", "machine"]) -> None:
        self.country, self.scope = country, scope
        self.kwh_before = self.kg_before = 0.0
        self._first = self
        self._own_tracker: Any = None
        self._thread: threading.Thread | None = None

    @property
    def _tracker(self) -> Any:
        """CodeCarbon's, once it has begun."""
        return self._first._own_tracker

    def fit_start(self, run: Run) -> None:
        meters = [each for each in run.algorithms if isinstance(each, EnergyMeter)]
        alike = [each for each in meters if (each.country, each.scope) == (self.country, self.scope)]
        self._first = alike[0] if alike else self
        if run.parallel.is_main and self._first is self:  # its first look at the machine takes seconds
            self._thread = threading.Thread(target=self._begin, name="energy", daemon=True)
            self._thread.start()

    def _begin(self) -> None:
        logging.getLogger("codecarbon").disabled = True  # it says at each start what the page of this monitor says
        from codecarbon import OfflineEmissionsTracker

        tracker = OfflineEmissionsTracker(
            country_iso_code=self.country or "USA",
            output_methods=[],
            measure_power_secs=MEASURED_S,
            log_level="critical",
            tracking_mode=self.scope,
            allow_multiple_runs=True,
        )
        tracker.start()
        self._own_tracker = tracker

    def measured(self) -> tuple[float, float]:
        """kWh and kg of CO2 equivalent, over all sessions of the run; of this one, as far as the meter has come."""
        if self._tracker is None:
            return self.kwh_before, self.kg_before
        now = self._tracker._prepare_emissions_data()  # brings its sums up to this moment
        kwh = float(now.energy_consumed)
        kg = float(now.emissions) if self.country else kwh * WORLD / 1000
        return self.kwh_before + kwh, self.kg_before + kg

    @property
    def by_counters(self) -> bool:
        """Whether the processor's energy is read from its own counters, and not guessed from its load."""
        modes = [getattr(part, "_mode", None) for part in self._tracker._hardware] if self._tracker is not None else []
        return any(mode in ("intel_rapl", "windows_emi", "intel_power_gadget") for mode in modes)

    def state_dict(self) -> dict[str, Any]:
        kwh, kg = self.measured()
        return {"kwh": kwh, "kg": kg}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kwh_before, self.kg_before = float(state["kwh"]), float(state["kg"])
