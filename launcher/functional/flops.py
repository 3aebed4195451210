"""Floating-point operations: of a piece of work, and of a device in a second."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

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
    aten = torch.ops.aten

    def forward(query: Any, key: Any, value: Any, *rest: Any, out_shape: Any = None, **named: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    def backward(grad: Any, query: Any, key: Any, value: Any, *rest: Any, out_shape: Any = None, **named: Any) -> int:
        return int(sdpa_backward_flop_count(grad, query, key, value))

    mapping: dict[Any, Any] = {
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    return FlopCounterMode(display=False, custom_mapping=mapping)


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
