"""How far a classifier's confidence is from how often it is right."""

from __future__ import annotations

import numpy as np

NUM_BINS = 15


def calibration_error(confidences: np.ndarray, right: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """The expected calibration error (Naeini et al., 2015; Guo et al., 2017): sum over bins of |B| / n |acc(B) - conf(B)|.

    `confidences` are the probabilities of the predicted classes and `right` says whether those are true, both [samples];
    the bins are equally wide and closed below, as those of torchmetrics.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.clip(np.searchsorted(edges, confidences, side="right") - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, weights=np.asarray(right, dtype=np.float64) - confidences, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(confidences))
