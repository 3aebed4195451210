"""What watches a fit: the gradient's norm, early stopping."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from launcher.core.run import Run
from launcher.data.batches import Batches
from launcher.monitors.stopping.early_stopping import EarlyStopping
from launcher.process.seeds import derive
from launcher.train.build import build_task
from tests.support.fits import config_of, curve, fit


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_gradients_norm_is_that_before_clipping(tmp_path: Path, accumulate: int) -> None:
    words = [
        "monitor=[gradient_norm]",
        "training.clip_norm=0.01",
        f"training.accumulate={accumulate}",
        "training.log_every=2",
    ]
    fit(tmp_path, "training.max_steps=4", "optimizer=sgd", "optimizer.lr=1e-12", "scheduler=constant", *words)
    task = build_task(config_of("model=mlp"))
    data = task.datasets()
    torch.manual_seed(derive(0, "init"))
    model = task.model().double()
    expected = {}
    for step in (1, 3):  # the last step of each line
        rows = data.train.fetch(Batches(data.train, batch_size=32, seed=0).indices(step))
        loss = F.cross_entropy(model(rows["images"].double()), rows["labels"])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        expected[step + 1] = torch.cat([gradient.flatten() for gradient in gradients]).norm().item()
    assert curve(tmp_path, "gradient_norm") == pytest.approx(expected, rel=1e-5)
    assert min(expected.values()) > 0.1


def stops_after(metrics: list[float], **settings: object) -> int | None:
    """The evaluation, counted from 1, at which it stops."""
    stopping = EarlyStopping(metric="val/x", **settings)  # type: ignore[arg-type]
    run = Run.__new__(Run)
    run.stop = None
    for count, value in enumerate(metrics, start=1):
        again = EarlyStopping(metric="val/x", **settings)  # type: ignore[arg-type]
        again.load_state_dict(stopping.state_dict())  # killed and resumed at each evaluation
        stopping = again
        stopping.eval_end(run, {"val/x": value})
        if run.stop:
            return count
    return None


NAN = float("nan")


@pytest.mark.parametrize(
    ("metrics", "settings", "stop"),
    [
        ([5, 4, 3, 2, 1], {"patience": 1}, None),
        ([5, 4, 4, 4], {"patience": 2}, 4),
        ([5, 6, 4, 6, 6], {"patience": 2}, 5),
        ([1, 2, 3, 3, 3], {"patience": 2, "direction": "maximize"}, 5),
        ([5, 4.95, 4.9, 4.85], {"patience": 3, "min_delta": 0.2}, 4),
        ([5, 4.9, 4.8, 4.7, 4.6], {"patience": 4, "min_delta": 0.25}, None),
        ([NAN, 5, 4, 3], {"patience": 2}, None),
        ([NAN, NAN, 3], {"patience": 2}, 2),
    ],
)
def test_early_stopping_counts_evaluations_without_improvement(
    metrics: list[float], settings: dict[str, object], stop: int | None
) -> None:
    assert stops_after(metrics, **settings) == stop
