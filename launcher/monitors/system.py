"""What a run takes of its machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar

from launcher.algorithm import Monitor
from launcher.run import Run

MIB = 1 << 20


class System(Monitor):
    """Logs at every log line the means since the line before, from a sample every `interval_s` in a thread of its own.

    `system/cpu` and `system/process_cpu` are in per cent, of all cores and of one; `system/ram_mib`, of this process and
    those it started; `system/ram_free_mib`, `system/disk_read_mib_s`, `system/disk_write_mib_s` and
    `system/disk_free_gib` of the machine and the run's disk. Of an NVIDIA device `gpu/use` and `gpu/memory_use` (per
    cent), `gpu/power_w`, `gpu/temperature`, `gpu/memory_mib` (of all processes), and of torch's allocator
    `gpu/allocated_mib`, `gpu/reserved_mib` and `gpu/peak_mib`. The main rank logs its own machine's and device's.
    """

    packages: ClassVar[dict[str, str]] = {"psutil": "psutil", "pynvml": "nvidia-ml-py"}
    extra = "system"

    def __init__(self, interval_s: float = 1.0) -> None:
        self.interval_s = interval_s
        self._sums: dict[str, float] = {}
        self._num = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def fit_start(self, run: Run) -> None:
        if run.parallel.is_main:
            self._thread = threading.Thread(target=self._watch, args=(run,), name="system", daemon=True)
            self._thread.start()

    def log(self, run: Run) -> dict[str, float]:
        with self._lock:
            means = {name: total / self._num for name, total in self._sums.items()}
            self._sums, self._num = {}, 0
        return means

    def fit_end(self, run: Run) -> None:
        self._ended.set()

    def _watch(self, run: Run) -> None:
        import psutil

        process = psutil.Process()
        device = _device(run)
        disk = psutil.disk_io_counters()
        psutil.cpu_percent()
        process.cpu_percent()
        while not self._ended.wait(self.interval_s):
            now = psutil.disk_io_counters()
            found = {
                "system/cpu": psutil.cpu_percent(),
                "system/process_cpu": process.cpu_percent(),
                "system/ram_mib": _resident(process) / MIB,
                "system/ram_free_mib": psutil.virtual_memory().available / MIB,
                "system/disk_free_gib": psutil.disk_usage(str(run.folder)).free / (1 << 30),
            }
            if disk is not None and now is not None:
                found["system/disk_read_mib_s"] = (now.read_bytes - disk.read_bytes) / MIB / self.interval_s
                found["system/disk_write_mib_s"] = (now.write_bytes - disk.write_bytes) / MIB / self.interval_s
            disk = now
            found |= _gpu(device, run)
            with self._lock:
                for name, value in found.items():
                    self._sums[name] = self._sums.get(name, 0.0) + value
                self._num += 1


def _resident(process: Any) -> int:
    """Bytes of a process and those that it started; one that ends meanwhile is left out."""
    import psutil

    total = int(process.memory_info().rss)
    for child in process.children(recursive=True):
        try:
            total += int(child.memory_info().rss)
        except psutil.Error:
            continue
    return total


def _device(run: Run) -> Any:
    """NVML's handle of the run's device; None where it has none, or NVML does not know it."""
    if run.parallel.device.type != "cuda":
        return None
    import pynvml
    import torch

    try:
        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(run.parallel.device).uuid)
        return pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")
    except pynvml.NVMLError:
        return None


def _gpu(handle: Any, run: Run) -> dict[str, float]:
    import torch

    if run.parallel.device.type != "cuda":
        return {}
    device = run.parallel.device
    found = {
        "gpu/allocated_mib": torch.cuda.memory_allocated(device) / MIB,
        "gpu/reserved_mib": torch.cuda.memory_reserved(device) / MIB,
        "gpu/peak_mib": torch.cuda.max_memory_allocated(device) / MIB,
    }
    if handle is None:
        return found
    import pynvml

    readings: dict[str, Callable[[], float]] = {
        "gpu/use": lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
        "gpu/memory_use": lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).memory,
        "gpu/memory_mib": lambda: pynvml.nvmlDeviceGetMemoryInfo(handle).used / MIB,
        "gpu/power_w": lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        "gpu/temperature": lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
    }
    for name, reading in readings.items():
        try:
            found[name] = float(reading())
        except pynvml.NVMLError:  # a device, or a slice of one, that does not tell
            continue
    return found
