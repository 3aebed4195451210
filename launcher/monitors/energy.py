"""The energy that a run takes, by CodeCarbon."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, ClassVar, Literal

from launcher.adapters import codecarbon
from launcher.core.algorithm import Monitor
from launcher.core.run import Run

WORLD = 473.0
"""Grams of CO2 equivalent a kWh: the world's mean of 2024 (Ember, Global Electricity Review 2025)."""
MEASURED_S = 2.0
"""Seconds between two measurements."""


class EnergyMeter(Monitor):
    """Measures the energy of this session in a thread of its own, and adds it to that of the sessions before.

    The meter takes some seconds to begin, beside the first steps, and measures every `MEASURED_S`. What lies outside of its
    measurements, before the first and after the last, is counted at their mean power; who asks before it has begun waits.

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
        self.own_tracker: Any = None
        self.thread: threading.Thread | None = None
        self._began_at = 0.0
        self._most = 0.0  # kWh of this session that were told already

    @property
    def _tracker(self) -> Any:
        """CodeCarbon's, which has begun; None where this rank has none, or the fit has not started."""
        first = self._first
        if first.thread is not None:
            first.thread.join()
            first.thread = None
        return first.own_tracker

    def fit_start(self, run: Run) -> None:
        meters = [each for each in run.algorithms if isinstance(each, EnergyMeter)]
        alike = [each for each in meters if (each.country, each.scope) == (self.country, self.scope)]
        self._first = alike[0] if alike else self
        self._began_at = time.perf_counter()
        if run.parallel.is_main and self._first is self:  # its first look at the machine takes seconds
            self.thread = threading.Thread(target=self._begin, name="energy", daemon=True)
            self.thread.start()

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
        if codecarbon.has_begun(tracker):
            self.own_tracker = tracker

    def measured(self) -> tuple[float, float]:
        """kWh and kg of CO2 equivalent, over all sessions of the run, up to this moment."""
        tracker = self._tracker
        if tracker is None:
            return self.kwh_before, self.kg_before
        measured, emissions = codecarbon.measured(tracker)
        covered, now = codecarbon.covered(tracker), time.perf_counter()
        if covered >= MEASURED_S / 2:
            rate = measured / covered
        else:  # its first look alone: the power that it saw
            rate = codecarbon.power(tracker) / 3600
        self._most = max(self._most, measured + rate * max(0.0, now - self._began_at - covered))
        grams = 1000 * emissions / measured if self.country and measured else WORLD
        return self.kwh_before + self._most, self.kg_before + self._most * grams / 1000

    @property
    def by_counters(self) -> bool:
        """Whether the processor's energy is read from its own counters, and not guessed from its load."""
        modes = codecarbon.modes(self._tracker) if self._tracker is not None else []
        return any(mode in ("intel_rapl", "windows_emi", "intel_power_gadget") for mode in modes)

    def state_dict(self) -> dict[str, Any]:
        kwh, kg = self.measured()
        return {"kwh": kwh, "kg": kg}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kwh_before, self.kg_before = float(state["kwh"]), float(state["kg"])
