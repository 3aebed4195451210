"""What a prediction takes of operations and of time."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from launcher.core.algorithm import Monitor
from launcher.core.run import Run
from launcher.functional.flops import counter

if TYPE_CHECKING:
    from launcher.core.task import Task
    from launcher.data.samples import Batch
    from launcher.memory.precision import Precision

REPEATS = 5
"""Forward passes at least, after two that warm up."""
NAMES = ("inference/mflop", "inference/latency_ms")


class Inference(Monitor):
    """Logs `inference/mflop`, the floating-point operations of a forward pass for one sample (products of matrices,
    convolutions and attention), in millions, and `inference/latency_ms`, the median time of a forward pass for
    `num_samples` on the device and in the precision of the run, repeated for `seconds`.

    Both are found out once, before the first step, and stand in every result. What runs beside it is timed with it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"full_params"})

    def __init__(self, num_samples: int = 1, seconds: float = 0.2) -> None:
        self.num_samples, self.seconds = num_samples, seconds
        self._told = False

    def fit_start(self, run: Run) -> None:
        if all(name in run.metrics for name in NAMES):
            return  # a session before this one has found them out
        parallel, samples = run.parallel, run.loaders.train.samples
        batch = parallel.place(samples.fetch(torch.arange(min(self.num_samples, len(samples)))))
        model = run.judged_model()
        run.metrics |= measured(run.task, model, batch, parallel.device, parallel.precision, self.seconds)

    def log(self, run: Run) -> dict[str, float]:
        told, self._told = self._told, True
        return {} if told else {name: run.metrics[name] for name in NAMES}

    def state_dict(self) -> dict[str, Any]:
        return {"told": self._told}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._told = state["told"]


def measured(
    task: Task, model: nn.Module, batch: Batch, device: torch.device, precision: Precision, seconds: float = 0.2
) -> dict[str, float]:
    """Both numbers, for a batch on the device that the model is on."""
    one = {name: column[:1] for name, column in batch.items()}
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), precision.autocast(device):
            with counter() as counted:
                task.forward(model, one)
            times: list[float] = []
            end = time.perf_counter() + seconds
            while len(times) < REPEATS + 2 or time.perf_counter() < end:
                started = time.perf_counter()
                task.forward(model, batch)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                times.append(time.perf_counter() - started)
    finally:
        model.train(training)
    return dict(zip(NAMES, (counted.get_total_flops() / 1e6, 1e3 * statistics.median(times[2:])), strict=True))
