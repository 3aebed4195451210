"""What is sent between ranks, and how long it takes."""

from __future__ import annotations

from launcher.core.algorithm import Monitor
from launcher.core.run import Run


class Communication(Monitor):
    """Logs, as means a step since the last line, of the main rank: `communication/bytes` that it put into collectives,
    `communication/baseline_bytes` that a plain average of the gradients would have been, `communication/time_s` from
    the start to the end of the exchanges (partly beside the backward pass), and `communication/bytes_per_s`; with
    `communication=async` also `communication/staleness` and `communication/dropped`.

    Logs nothing where the strategy sends in a way of its own.
    """

    def __init__(self) -> None:
        self.last: tuple[int, int, float] = (0, 0, 0.0)

    def fit_start(self, run: Run) -> None:
        sent = getattr(run.parallel, "communication", None)
        if sent is not None:
            sent.measure()
            self.last = (run.progress.step, 0, 0.0)

    def log(self, run: Run) -> dict[str, float]:
        sent = getattr(run.parallel, "communication", None)
        if sent is None or run.progress.step == self.last[0]:
            return {}
        now = (run.progress.step, sent.bytes_sent, sent.seconds)
        steps, bytes_sent, seconds = (after - before for after, before in zip(now, self.last, strict=True))
        self.last = now
        values = {"bytes": bytes_sent / steps, "baseline_bytes": float(sent.baseline_bytes), "time_s": seconds / steps}
        if seconds:
            values["bytes_per_s"] = bytes_sent / seconds
        values |= sent.log()
        return {f"communication/{name}": value for name, value in values.items()}
