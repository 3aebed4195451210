"""The carbon footprint of a run."""

from __future__ import annotations

from typing import Literal

from launcher.core.run import Run

from .energy import EnergyMeter


class Carbon(EnergyMeter):
    """Logs at every log line, over the whole run so far: `carbon/energy_wh`, `carbon/co2_g`, and `carbon/mwh_per_sample`
    (milliwatt hours a training sample); `carbon/measured` is 1 where the processor's own counters are read, and 0 where its
    energy is guessed from its load.

    `country` is an ISO code of three letters whose electricity CodeCarbon knows; without one CO2 is counted at the world's
    mean of 473 g a kWh. `scope` is what is measured: this process and those it started, or the machine.
    """

    def __init__(self, country: str | None = None, scope: Literal["process", "machine"] = "process") -> None:
        super().__init__(country, scope)

    def log(self, run: Run) -> dict[str, float]:
        kwh, kg = self.measured()
        if not kwh:
            return {}
        samples = run.progress.step * run.settings.batch_size
        return {
            "carbon/energy_wh": 1000 * kwh,
            "carbon/co2_g": 1000 * kg,
            "carbon/mwh_per_sample": 1e6 * kwh / max(1, samples),
            "carbon/measured": float(self.by_counters),
        }
