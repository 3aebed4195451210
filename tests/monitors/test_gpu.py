"""What the monitors read of a GPU, beside what torch and NVML say of it: for a machine that has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from launcher.monitors.system import MIB
from tests.support.fits import fit, values
from tests.support.runs import build, train

pytestmark = pytest.mark.gpu


def test_use_memory_and_power_are_what_torch_and_nvml_see(tmp_path: Path) -> None:
    import pynvml

    torch.cuda.reset_peak_memory_stats()
    words = ("model=cnn", "training.max_steps=300", "training.log_every=100", "training.eval_every=0")
    fit(tmp_path, *words, "monitor=[system]", "monitor.system.interval_s=0.005")
    allocated, reserved, peak = (values(tmp_path, f"gpu/{name}_mib") for name in ("allocated", "reserved", "peak"))
    assert allocated
    assert all(0 < used <= held for used, held in zip(allocated, reserved, strict=True))
    assert peak == sorted(peak)
    assert max(allocated) <= peak[-1] <= torch.cuda.max_memory_allocated() / MIB
    assert max(reserved) <= torch.cuda.max_memory_reserved() / MIB
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
    total = pynvml.nvmlDeviceGetMemoryInfo(handle).total / MIB
    # Of all processes: at least what torch holds, and its context.
    assert all(
        held < of_all <= total for held, of_all in zip(reserved, values(tmp_path, "gpu/memory_mib"), strict=True)
    )
    for name in ("use", "memory_use"):
        assert all(0 <= value <= 100 for value in values(tmp_path, f"gpu/{name}"))
    limit = pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000
    assert all(0 < value < 1.2 * limit for value in values(tmp_path, "gpu/power_w"))
    assert all(0 < value < 120 for value in values(tmp_path, "gpu/temperature"))


def test_a_devices_slow_part_is_the_one_that_is_named(tmp_path: Path) -> None:
    """The device is kept busy in the forward pass, for which the host does not wait."""
    run = build(tmp_path, "training.max_steps=6", "training.log_every=6", "monitor=[step_time]")
    inner = run.task.forward

    def busy(model: Any, batch: Any) -> Any:
        torch.cuda._sleep(50_000_000)  # cycles: 20 ms and more
        return inner(model, batch)

    run.task.forward = busy  # type: ignore[method-assign]
    train(run)
    parts = {
        name: values(tmp_path, f"time/{name}_ms")[0] for name in ("data", "forward", "backward", "optimizer", "step")
    }
    assert parts["forward"] > 15
    assert parts["forward"] > 0.7 * parts["step"]
