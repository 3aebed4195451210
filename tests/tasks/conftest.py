"""What the tests of the tasks share: caches of their own, a model's factory, a short training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from launcher.data.batches import Batches, EvalBatches
from launcher.train.build import model_factory


@pytest.fixture(autouse=True)
def _own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`datasets` keeps its Arrow files in the test's own folder."""
    import datasets

    folder = tmp_path_factory.getbasetemp() / "datasets"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    return folder


def factory(target: Any, **keywords: Any) -> Callable[..., Any]:
    """The factory that `build.py` would hand to a task."""
    return model_factory(functools.partial(target, **keywords))


def train(task: Any, steps: int, *, lr: float = 1e-3, batch_size: int = 32) -> tuple[Any, dict[str, float]]:
    """The task's model after `steps` of AdamW with a linear decay, and its held-out metrics."""
    data = task.datasets()
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    batches = Batches(data.train, batch_size=batch_size, seed=0).start(0)
    model.train()
    for _ in range(steps):
        (batch,) = next(batches)
        loss = task.loss(task.forward(model, batch), batch)
        optimizer.zero_grad()
        (loss.sum / loss.weight).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model, evaluate(task, model, data.val)


@torch.no_grad()
def evaluate(task: Any, model: Any, samples: Any) -> dict[str, float]:
    """Loss, metrics and what is derived from them over all samples."""
    model.eval()
    metrics = task.metrics()
    total = weight = 0.0
    for batch in EvalBatches(samples, batch_size=256):
        output = task.forward(model, batch)
        loss = task.loss(output, batch)
        total, weight = total + float(loss.sum), weight + float(loss.weight)
        task.update(metrics, output, batch)
    values = {"loss": total / weight} | {name: float(value) for name, value in metrics.compute().items()}
    return values | task.derived(values)
