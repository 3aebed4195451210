"""The loop of scikit-learn estimators: one call fits all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.base import Task


def fit_estimator(task: Task, estimator: Any, data: Any) -> dict[str, float]:
    """Fit on the training rows and score the held-out ones (the training rows where none are held out).

    Returns the metrics under the names a torch run gives them: `val/accuracy`, and `train/accuracy` beside it.
    """
    estimator.fit(data.train.X, data.train.y)
    metrics = {f"train/{name}": value for name, value in task.score(estimator, data.train).items()}
    if data.val is not None:
        metrics.update({f"val/{name}": value for name, value in task.score(estimator, data.val).items()})
    return metrics
