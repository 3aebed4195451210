"""One evaluation: every sample once, no gradients."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

import launcher.train.torchmetrics_import  # noqa: F401  # before any task imports torchmetrics
from launcher.data.samples import moved

if TYPE_CHECKING:
    from launcher.artifacts.recent_predictions import Seen
    from launcher.core.parallel import Parallel
    from launcher.core.task import Task
    from launcher.data.batches import EvalBatches


@torch.no_grad()
def evaluate(
    task: Task, model: nn.Module, batches: EvalBatches, parallel: Parallel, seen: Seen | None = None
) -> dict[str, float]:
    """The loss and the task's metrics over `batches`, by their bare names ("loss", "accuracy").

    The loss is the sum over all samples and ranks, divided once by their whole weight. Buffers that training
    moves (the statistics of batch norm) stay as they are. `seen` is shown each of this rank's batches.
    """
    metrics = task.metrics().to(parallel.device)
    for metric in metrics.values():
        metric.process_group = parallel.data_group  # ranks with the same samples count them once
        if parallel.apart:  # this rank judges all of them
            metric.distributed_available_fn = lambda: False
    total: Tensor | float = 0.0
    weight: Any = 0
    training = model.training
    model.eval()
    try:
        for batch, counts in batches.rounds() if parallel.forward_together else ((batch, True) for batch in batches):
            batch = parallel.place(batch)
            with parallel.precision.autocast(parallel.device):
                output = parallel.forward(task, model, batch)
                if not counts:
                    continue
                loss = task.loss(output, batch)
            total = total + loss.sum.detach().double() if parallel.device.type != "mps" else total + loss.sum.detach()
            weight = weight + loss.weight
            task.update(metrics, output, batch)
            if seen is not None:
                seen.take(task.predictions, output, batch)
    finally:
        model.train(training)
        parallel.evaluated(model)
    sums = torch.tensor(
        [float(total), float(weight)], dtype=torch.float64 if parallel.device.type != "mps" else torch.float32
    )
    sums = parallel.sum(sums.to(parallel.device))
    values = {"loss": float(sums[0] / sums[1])}
    if len(metrics):
        with warnings.catch_warnings():  # a rank may have had no batch; the sum over all of them has
            warnings.filterwarnings("ignore", "The ``compute`` method of metric", UserWarning)
            values.update({name: float(value) for name, value in metrics.compute().items()})
    return values | task.derived(values)


@torch.no_grad()
def predict(task: Task, model: nn.Module, batches: EvalBatches, parallel: Parallel) -> dict[str, np.ndarray]:
    """The columns of `Task.predictions` over all of `batches`, in their order; empty where the task has none.

    `model` may lie on another device than the one that is trained: what is exported of weights in parts is on the CPU.
    """
    found: dict[str, list[np.ndarray]] = {}
    training = model.training
    device = next((each.device for each in model.parameters()), parallel.device)
    model.eval()
    try:
        for batch in batches:
            batch = moved(batch, device)
            with parallel.precision.autocast(device):
                output = task.forward(model, batch)
            for name, column in task.predictions(output, batch).items():
                found.setdefault(name, []).append(column.cpu().numpy())
            if not found:
                break
    finally:
        model.train(training)
    return {name: np.concatenate(columns) for name, columns in found.items()}
