"""The loop of scikit-learn estimators: one call fits all."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.core.task import Task
    from launcher.process.signals import Interrupt


def fit_estimator(task: Task, estimator: Any, data: Any, interrupt: Interrupt) -> dict[str, float] | None:
    """Fit on the training rows and score the held-out ones (the training rows where none are held out).

    Returns the metrics under the names a torch run gives them: `val/accuracy`, and `train/accuracy` beside it. None
    after a signal: what an estimator has learned halfway can not be kept, so there is nothing to wait for.
    """
    # In a thread, because a call into compiled code returns to the interpreter, which notes signals, only at its end.
    metrics: Future[dict[str, float]] = Future()

    def work() -> None:
        try:
            metrics.set_result(_fit_and_score(task, estimator, data))
        except BaseException as error:
            metrics.set_exception(error)

    interrupt.early = None
    threading.Thread(target=work, name="fit", daemon=True).start()
    while interrupt.signal is None:
        try:
            return metrics.result(timeout=0.1)
        except TimeoutError:
            if metrics.done():
                raise
    return None


def _fit_and_score(task: Task, estimator: Any, data: Any) -> dict[str, float]:
    estimator.fit(data.train.X, data.train.y)
    metrics = {f"train/{name}": value for name, value in task.score(estimator, data.train).items()}
    if data.val is not None:
        metrics.update({f"val/{name}": value for name, value in task.score(estimator, data.val).items()})
    return metrics
