"""Private names of CodeCarbon: what its tracker has measured so far, while it runs."""

from __future__ import annotations

from typing import Any


def has_begun(tracker: Any) -> bool:
    """Whether a tracker that was started measures: another process may have kept it from that."""
    return tracker._start_time is not None  # codecarbon 3.3.2


def measured(tracker: Any) -> tuple[float, float]:
    """kWh and kg of CO2 equivalent, up to the last measurement."""
    data = tracker._prepare_emissions_data()  # codecarbon 3.3.2
    return float(data.energy_consumed), float(data.emissions)


def covered(tracker: Any) -> float:
    """Seconds from the start to the last measurement."""
    return float(tracker._last_measured_time - tracker._start_time)  # codecarbon 3.3.2


def power(tracker: Any) -> float:
    """kW at the last measurement, of processor, GPUs and memory together."""
    parts = (tracker._cpu_power, tracker._gpu_power, tracker._ram_power)  # codecarbon 3.3.2
    return float(sum(part.kW for part in parts))


def modes(tracker: Any) -> list[Any]:
    """How each part of the machine is measured: "intel_rapl", say."""
    return [getattr(part, "_mode", None) for part in tracker._hardware]  # codecarbon 3.3.2
