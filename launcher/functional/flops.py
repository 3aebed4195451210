"""Floating-point operations: of a piece of work, and of a device in a second."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from launcher.adapters.torch import (
    DataDependentOutputException,
    FakeTensorMode,
    UnsupportedOperatorException,
    cpu_attention,
)

PEAKS: dict[str, dict[torch.dtype, float]] = {
    "B200": {torch.bfloat16: 2250e12, torch.float16: 2250e12, torch.float32: 80e12},
    "H200": {torch.bfloat16: 989e12, torch.float16: 989e12, torch.float32: 67e12},
    "H100": {torch.bfloat16: 989e12, torch.float16: 989e12, torch.float32: 67e12},
    "A100": {torch.bfloat16: 312e12, torch.float16: 312e12, torch.float32: 19.5e12},
    "L40S": {torch.bfloat16: 362e12, torch.float16: 362e12, torch.float32: 91.6e12},
    "L4": {torch.bfloat16: 121e12, torch.float16: 121e12, torch.float32: 30.3e12},
    "V100": {torch.float16: 125e12, torch.float32: 15.7e12},
    "T4": {torch.float16: 65e12, torch.float32: 8.1e12},
}
"""Dense operations a second from the makers' data sheets, by a part of the device's name. float32 is without TF32."""


def counter() -> FlopCounterMode:
    """A counter that also knows the attention kernel of the CPU, which torch's own table lacks."""

    def forward(query: Any, key: Any, value: Any, *rest: Any, out_shape: Any = None, **named: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    def backward(grad: Any, query: Any, key: Any, value: Any, *rest: Any, out_shape: Any = None, **named: Any) -> int:
        return int(sdpa_backward_flop_count(grad, query, key, value))

    mapping: dict[Any, Any] = dict(zip(cpu_attention(), (forward, backward), strict=True))
    return FlopCounterMode(display=False, custom_mapping=mapping)


def without_computing(
    loss: Callable[[nn.Module, dict[str, Tensor]], Tensor], model: nn.Module, batch: dict[str, Tensor]
) -> float | None:
    """The operations of `loss` and of its backward pass, on a copy of the model and the batch that have shapes and no contents.

    Nothing that there is changes, weights and generators included, and a model that is compiled is gone through as it was
    written. None for one that looks into its tensors.
    """
    fake = FakeTensorMode()

    def hollow(tensor: Tensor) -> Tensor:
        return fake.from_tensor(tensor.detach()).requires_grad_(tensor.requires_grad)

    known: dict[int, Any] = {id(each): nn.Parameter(hollow(each), each.requires_grad) for each in model.parameters()}
    known |= {id(each): hollow(each) for each in model.buffers()}
    try:
        hollowed, columns = copy.deepcopy(model, known), {name: hollow(column) for name, column in batch.items()}
        with fake, counter() as counted:
            loss(hollowed, columns).backward()
    except (DataDependentOutputException, UnsupportedOperatorException, NotImplementedError):
        return None
    return float(counted.get_total_flops())


def known_peak(device: torch.device, dtype: torch.dtype) -> float | None:
    """What the maker says of a device, in operations a second; None where the table does not have it."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    match = next((speeds for part, speeds in PEAKS.items() if part in name.split() or part in name), {})
    return match.get(dtype)


def measured_peak(device: torch.device, dtype: torch.dtype, size: int = 1024, seconds: float = 0.2) -> float:
    """The operations a second of products of square matrices: 2 size^3 each, for about `seconds`."""
    left = torch.randn(size, size, device=device, generator=torch.Generator(device).manual_seed(0)).to(dtype)
    on_gpu = device.type == "cuda"

    def once(num: int) -> float:
        started = time.perf_counter()
        for _ in range(num):
            torch.mm(left, left)
        if on_gpu:
            torch.cuda.synchronize(device)
        return (time.perf_counter() - started) / num

    once(2)
    num = max(1, int(seconds / 3 / once(1)))
    return float(2 * size**3 / min(once(num) for _ in range(3)))
