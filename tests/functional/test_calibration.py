"""The expected calibration error, beside torchmetrics and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from launcher.functional.calibration import calibration_error
from launcher.tasks.base import classification_metrics
from launcher.train.build import build_task
from tests.support.fits import config_of


@pytest.mark.parametrize("num", [1, 40, 1000])
def test_it_is_torchmetrics(num: int) -> None:
    rng = np.random.default_rng(num)
    probabilities = rng.dirichlet(np.full(4, 0.3), num)
    labels = rng.integers(4, size=num)
    ours = calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)
    both = torch.from_numpy(probabilities), torch.from_numpy(labels)
    assert ours == pytest.approx(float(multiclass_calibration_error(*both, num_classes=4, n_bins=15)), abs=1e-6)


def test_by_hand() -> None:
    """Two in the bin about 0.9, of which one is right; two in the bin about 0.6, both right."""
    found = calibration_error(np.array([0.9, 0.9, 0.6, 0.61]), np.array([True, False, True, True]))
    assert found == pytest.approx(0.5 * abs(0.5 - 0.9) + 0.5 * abs(1 - 0.605))
    assert calibration_error(np.ones(3), np.array([True, True, True])) == 0


def test_classifiers_report_it() -> None:
    """Torch modules from their logits and scikit-learn's estimators from their probabilities, by the same bins."""
    metrics = classification_metrics(3)
    logits, labels = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * 3, torch.arange(200) % 3
    metrics.update(logits, labels)
    probabilities = logits.softmax(dim=1).double().numpy()
    right = probabilities.argmax(axis=1) == labels.numpy()
    assert float(metrics.compute()["ece"]) == pytest.approx(
        calibration_error(probabilities.max(axis=1), right), abs=1e-6
    )
    task = build_task(config_of("task=tabular", "model=naive_bayes"))
    data: Any = task.datasets()
    estimator: Any = task.model()
    estimator.fit(data.train.X, data.train.y)
    scores = task.score(estimator, data.val)
    found = estimator.predict_proba(data.val.X)
    expected = multiclass_calibration_error(
        torch.from_numpy(found), torch.from_numpy(data.val.y), num_classes=2, n_bins=15
    )
    assert scores["ece"] == pytest.approx(float(expected), abs=1e-6)
    assert scores["ece"] > 0.01, "naive Bayes is surer than it should be"
