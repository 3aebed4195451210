"""Floating-point operations, and what share of the device's they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from launcher.core.algorithm import Monitor
from launcher.core.run import Run
from launcher.data.samples import Batch
from launcher.functional.flops import counter, known_peak, measured_peak, without_computing

from .moments import Moment, moment, seconds_between

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode


class Flops(Monitor):
    """Logs `flops/step_gflop`, `flops/tflops` (a second, over all ranks), and `flops/mfu`, the share of the devices' peak
    (Chowdhery et al., 2022, "PaLM", appendix B; here every counted operation of the forward and backward pass, also those of
    recomputation, so that it is what they call hardware utilisation where activations are recomputed).

    Products of matrices, convolutions and attention are counted in the first step of a session, by torch's counter, and
    nothing after it: that step is slower, and timed only where it is the only one of a line. Of a compiled model, whose
    kernels the counter does not see, they are counted as they stand in its code, on tensors without contents.
    `peak_tflops` is the peak of one device; without it the maker's number for the device and precision, else, and on a
    CPU, what a product of matrices reaches when the run starts.
    """

    def __init__(self, peak_tflops: float | None = None) -> None:
        self.peak_tflops = peak_tflops
        self._counter: FlopCounterMode | None = None
        self._written: list[float | None] = []  # of the micro-batches of the first step, where the model is compiled
        self._step_flops: float | None = None
        self._peak = 0.0
        self._on_gpu = False
        self._first = True
        self._began: Moment = 0.0
        self._spans: list[tuple[Moment, Moment]] = []  # of steps in a row, since the line before
        self._num = 0  # steps in them
        self._counted: tuple[Moment, Moment] | None = None  # the step that was slowed down by counting, until a line

    def fit_start(self, run: Run) -> None:
        device, dtype = run.parallel.device, run.parallel.precision.dtype
        self._on_gpu = device.type == "cuda"
        if self.peak_tflops is not None:
            self._peak = self.peak_tflops * 1e12
        else:
            self._peak = known_peak(device, dtype) or measured_peak(device, dtype)

    def go_on(self, run: Run) -> None:
        self._began = moment(self._on_gpu)

    def batch(self, run: Run, batch: Batch) -> Batch:
        if self._step_flops is None and run.settings.compile:
            self._written.append(_as_written(run, batch))
        elif self._step_flops is None and self._counter is None:
            self._counter = counter()
            self._counter.__enter__()
        return batch

    def gradients(self, run: Run) -> None:
        if self._written:
            counted = [flops for flops in self._written if flops is not None]
            # The ranks that share a sample's layers share its operations, too.
            self._step_flops = sum(counted) * run.parallel.num_data_ranks if len(counted) == len(self._written) else 0.0
            self._written = []
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._step_flops = float(self._counter.get_total_flops()) * run.parallel.world_size
            self._counter = None

    def after_step(self, run: Run) -> None:
        now = moment(self._on_gpu)
        if self._first:
            self._counted, self._first = (self._began, now), False
        else:
            in_a_row = bool(self._spans) and self._spans[-1][1] is self._began
            started = self._spans.pop()[0] if in_a_row else self._began
            self._spans.append((started, now))
            self._num += 1
        self._began = now

    def log(self, run: Run) -> dict[str, float]:
        spans, num = self._spans, self._num
        if not num and self._counted is not None:
            spans, num = [self._counted], 1
        self._spans, self._num, self._counted = [], 0, None
        if not self._step_flops or not num:
            return {}
        speed = self._step_flops * num / sum(seconds_between(before, after) for before, after in spans)
        return {
            "flops/step_gflop": self._step_flops / 1e9,
            "flops/tflops": speed / 1e12,
            "flops/mfu": speed / (self._peak * run.parallel.world_size),
        }


def _as_written(run: Run, batch: Batch) -> float | None:
    """Of a micro-batch, forward and backward; None where it can not be told without computing it."""
    if not run.parallel.whole_weights:
        return None
    precision, device = run.parallel.precision, run.parallel.device

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        with precision.autocast(device):
            return run.task.loss(run.task.forward(model, batch), batch).sum

    return without_computing(loss, run.parallel.unwrap(run.main.model), batch)
