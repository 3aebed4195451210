"""Which devices each slot of a sweep has, without asking a library that would take hold of them."""

from __future__ import annotations

import os
from pathlib import Path

from omegaconf import DictConfig

from launcher.errors import ConfigError

from .settings import Settings

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        return [name for name in named.split(",") if name and name != "-1"]
    known = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index in range(len(list(known.iterdir())))] if known.is_dir() else []


def slots(
    devices: list[str], n_jobs: int | None, devices_per_trial: int, trials_per_device: int
) -> list[tuple[str, ...] | None]:
    """The devices of each slot; None where a slot has none of its own. Raises ConfigError where they do not suffice.

    Without devices, and with devices_per_trial=0, there are as many slots as asked for (one where nothing is said);
    with them as many as they can hold, and no more than asked for.
    """
    if not devices:
        return [None] * (n_jobs or 1)
    if not devices_per_trial:
        return [()] * (n_jobs or 1)
    groups = [
        tuple(devices[first : first + devices_per_trial])
        for first in range(0, len(devices) - devices_per_trial + 1, devices_per_trial)
    ]
    if not groups:
        raise ConfigError(
            f"hydra.sweeper.devices_per_trial={devices_per_trial}: there are {len(devices)} devices here ({', '.join(devices)})"
        )
    if trials_per_device > 1 and devices_per_trial > 1:
        raise ConfigError("hydra.sweeper.trials_per_device: trials that share a device have one each")
    found = groups * trials_per_device
    return [*found[: n_jobs or len(found)]]


def slots_of(settings: Settings, config: DictConfig, n_jobs: int | None) -> list[tuple[str, ...] | None]:
    """The devices of each slot of a sweep; a cluster's jobs have those that they ask for. Raises ConfigError."""
    there = [] if config.cluster else visible()
    per_trial, ranks = settings.devices_per_trial, config.parallel.num_processes
    if per_trial is None:
        per_trial = ranks if isinstance(ranks, int) else len(there)
    return slots(there, n_jobs, per_trial, settings.trials_per_device)


def environment(slot: tuple[str, ...] | None) -> dict[str, str]:
    """What a trial's process has to know of its devices."""
    return {} if slot is None else {VISIBLE: ",".join(slot)}
