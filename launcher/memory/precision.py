"""Mixed precision: autocast around forward and loss, and dynamic loss scaling for half precision."""

from __future__ import annotations

import contextlib
from typing import Literal

import torch

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """The type that matrix products are computed in; weights, moments and the loss stay in float32."""

    def __init__(self, dtype: Literal["float32", "bfloat16", "float16"] = "float32") -> None:
        self.dtype = _DTYPES[dtype]

    @property
    def mixed(self) -> bool:
        return self.dtype is not torch.float32

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        """The context that forward and loss run in."""
        return torch.autocast(device.type, dtype=self.dtype) if self.mixed else contextlib.nullcontext()

    def scaler(self, device: torch.device) -> torch.amp.GradScaler | None:
        """Half precision's dynamic loss scale; the other types have float32's range and need none."""
        return torch.amp.GradScaler(device.type) if self.dtype is torch.float16 else None
