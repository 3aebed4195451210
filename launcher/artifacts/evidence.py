"""evidence.json: what the best weights do with the held-out samples, for the page and the trackers; while a run goes on,
what those of its latest evaluation do.

| key | what |
|---|---|
| `samples` | how many were looked at |
| `step` | of a run that goes on, or that came to no good end: after which step; else they are the best weights |
| `classes` | their names; those that follow are there for classifiers alone |
| `confusion` | counts, a row a label, a column a prediction |
| `calibration` | of each bin of confidence that is not empty: mean confidence, accuracy, samples |
| `worst` | the samples with the highest loss: row, label, prediction, probabilities of both, and a picture or a text |
| `quantities` | of a regression or a forecast: `label` and `prediction` of some of the samples, `ordered` where they follow each other |
| `texts` | of a language model: beginnings of held-out text, and how the model goes on |
| `attention` | of a model that attends: a picture a layer, of the first held-out sample |
| `baselines` | by a metric's bare name: what is reached without looking at a sample, and how, in words |
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import object_of

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


FILE = "evidence.json"


def darkness(weights: Tensor) -> np.ndarray:
    """Weights of attention ([queries, keys]) as shares: 1 the largest of a row, 0.1 the twentieth part of all that are the
    smallest beside theirs, logarithms between, and 0 none at all."""
    relative = (weights / weights.amax(dim=1, keepdim=True)).nan_to_num(0)
    some = relative[relative > 0]
    low = min(0.5, float(some.quantile(0.05))) if len(some) else 0.5
    return ((1 - 0.9 * relative.log10() / math.log10(low)).clamp(min=0.1) * (relative > 0)).nan_to_num(0).numpy()


def write(folder: Path, found: dict[str, Any]) -> None:
    """Write it beside and rename it; nothing where nothing was found."""
    if not found:
        return
    beside = folder / f".{FILE}"
    beside.write_text(json.dumps(found) + "\n", encoding="utf-8")
    beside.replace(folder / FILE)


def read(folder: Path) -> dict[str, Any]:
    """What stands in a run's evidence.json; nothing where there is none. Raises ConfigError for one that is damaged."""
    return object_of(folder / FILE, "take it away, and the rest is shown without") or {}


def baseline_of(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """The baseline of the objective of `result`: `value`, and `what` in words; nothing where it is not known."""
    name = str((result.get("objective") or {}).get("name"))
    split, _, metric = name.partition("/")
    found = (read(folder).get("baselines") or {}).get(metric)
    return {"value": found[0], "what": found[1]} if split == "val" and found else {}
