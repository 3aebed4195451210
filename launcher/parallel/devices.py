"""Which device a rank computes on."""

from __future__ import annotations

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
