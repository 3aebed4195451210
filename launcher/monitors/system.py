"""What a run takes of its machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

from launcher.core.algorithm import Monitor
from launcher.core.run import Run

MIB = 1 << 20


class System(Monitor):
    """Logs at every log line the means since the line before, from a sample every `interval_s` in a thread of its own; where
    none was due since then, one is taken at the line.

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
        self._gauges: Gauges | None = None

    def fit_start(self, run: Run) -> None:
        if run.parallel.is_main:
            self._gauges = Gauges(run)
            self._thread = threading.Thread(target=self._watch, name="system", daemon=True)
            self._thread.start()

    def log(self, run: Run) -> dict[str, float]:
        if self._gauges is None:
            return {}
        with self._lock:
            if not self._num:
                self._sample(self._gauges)
            means = {name: total / self._num for name, total in self._sums.items()}
            self._sums, self._num = {}, 0
        return means

    def fit_end(self, run: Run) -> None:
        self._ended.set()

    def _watch(self) -> None:
        assert self._gauges is not None
        while not self._ended.wait(self.interval_s):
            with self._lock:
                self._sample(self._gauges)

    def _sample(self, gauges: Gauges) -> None:
        for name, value in gauges.read().items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._num += 1


class Gauges:
    """What is read of the machine, this process and its device; rates are those since the reading before."""

    def __init__(self, run: Run) -> None:
        import psutil

        self.run, self.process, self.device = run, psutil.Process(), _device(run)
        self._disk, self._read_at = psutil.disk_io_counters(), time.monotonic()
        psutil.cpu_percent()
        self.process.cpu_percent()

    def read(self) -> dict[str, float]:
        """A value by each name."""
        import psutil

        found = {
            "system/cpu": psutil.cpu_percent(),
            "system/process_cpu": self.process.cpu_percent(),
            "system/ram_mib": _resident(self.process) / MIB,
            "system/ram_free_mib": psutil.virtual_memory().available / MIB,
            "system/disk_free_gib": psutil.disk_usage(str(self.run.folder)).free / (1 << 30),
        }
        disk, now = psutil.disk_io_counters(), time.monotonic()
        seconds = max(now - self._read_at, 1e-3)
        if self._disk is not None and disk is not None:
            found["system/disk_read_mib_s"] = (disk.read_bytes - self._disk.read_bytes) / MIB / seconds
            found["system/disk_write_mib_s"] = (disk.write_bytes - self._disk.write_bytes) / MIB / seconds
        self._disk, self._read_at = disk, now
        return found | _gpu(self.device, self.run)


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
