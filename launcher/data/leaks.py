"""What training may have seen of the held-out samples: the same sample twice, once on each side."""

from __future__ import annotations

import numpy as np

from .samples import Datasets


def repeated(data: Datasets) -> str | None:
    """A warning that says how many held-out samples stand among the training samples too; None where none does, or
    where comparing would cost too much. Samples are alike that are alike in all but their label."""
    if data.val is None:
        return None
    train, val = data.train.fingerprints(), data.val.fingerprints()
    if train is None or val is None:
        return None
    num = int(np.isin(val, train).sum())
    if num == 0:
        return None
    _, first_train, first_val = np.intersect1d(train, val, return_indices=True)
    first = int(first_val.argmin())
    which = ""
    if data.train_rows is not None and data.val_rows is not None:
        which = f" (row {data.val_rows[first_val[first]]} is row {data.train_rows[first_train[first]]})"
    return (
        f"leak: {num:,} of {len(val):,} held-out samples stand among the training samples too{which}; "
        "of these the score tells memory, not learning. Take the copies out, or keep them together as a group"
    )
