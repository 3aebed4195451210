"""Which device a rank computes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import PartialState

from launcher.errors import ConfigError


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device `parallel.device` names; `auto` takes the accelerator that Accelerate finds, else the CPU.

    Raises ConfigError for a name that torch does not know and for a device that this machine does not have.
    """
    if name == "auto":
        found: torch.device = PartialState().device
        return found
    try:
        device = torch.device(name)
        if device.type != "cpu" and device.index is None:
            device = torch.device(device.type, local_rank)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"parallel.device={name}: no such device here ({reason}); parallel.device=auto takes what there is"
        ) from error
    return device


def choose_devices(names: Sequence[str] | None, kind: str) -> list[torch.device]:
    """The devices that one process computes on: those named, else all GPUs that torch sees, else the one of `kind`.

    Raises ConfigError for one that this machine does not have.
    """
    if names is None and kind.partition(":")[0] in ("auto", "cuda") and torch.cuda.is_available() and ":" not in kind:
        names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [choose_device(name) for name in (names or [kind])]


class Generators:
    """The random number generators of the GPUs beside the first, which a run's ordinary state has not."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self.further = [each for each in dict.fromkeys(devices) if each.type == "cuda"][1:]

    def state_dict(self) -> dict[str, Any]:
        return {"generators": [torch.cuda.get_rng_state(each) for each in self.further]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` of as many devices returned; of another number, they begin anew."""
        if len(state.get("generators", ())) == len(self.further):
            for device, saved in zip(self.further, state.get("generators", ()), strict=True):
                torch.cuda.set_rng_state(saved, device)
