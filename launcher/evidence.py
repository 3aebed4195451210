"""evidence.json: what the best weights do with the held-out samples, for the page and the trackers.

| key | what |
|---|---|
| `samples` | how many were looked at |
| `classes` | their names; those that follow are there for classifiers alone |
| `confusion` | counts, a row a label, a column a prediction |
| `calibration` | of each bin of confidence that is not empty: mean confidence, accuracy, samples |
| `worst` | the samples with the highest loss: row, label, prediction, probabilities of both, and a picture or a text |
| `texts` | of a language model: beginnings of held-out text, and how the model goes on |
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from tasks.base import Task

    from .data import Datasets, Samples

FILE = "evidence.json"
LIMIT = 10_000
"""Samples that are looked at: more say nothing more, and cost as much as an evaluation."""
WORST, CLASSES = 12, 40
"""Samples with the highest loss that are shown, and classes up to which the confusion is counted."""
PROMPTS, NEW_TOKENS = 3, 120


def gather(task: Task, data: Datasets, model: nn.Module, columns: dict[str, np.ndarray]) -> dict[str, Any]:
    """The content of evidence.json from the columns of `Task.predictions`, of the first samples of `data.val`."""
    import torch

    assert data.val is not None
    classes = data.facts.get("classes")
    found: dict[str, Any] = {}
    if columns and classes and "probabilities" in columns:
        found = classified(columns, classes)
        worst = [entry["sample"] for entry in found["worst"]]
        if isinstance(model, torch.nn.Module):  # an estimator's rows are no pictures
            for entry, shown in zip(found["worst"], task.shown(data.val.fetch(torch.tensor(worst))), strict=False):
                entry |= {"text": shown} if isinstance(shown, str) else {"picture": data_uri(shown)}
        if data.val_rows is not None:
            for entry in found["worst"]:
                entry["row"] = int(data.val_rows[entry["sample"]])
    texts = _texts(task, data.val, model)
    return found | ({"texts": texts} if texts else {})


def classified(columns: dict[str, np.ndarray], classes: list[str]) -> dict[str, Any]:
    """Confusion, calibration and the worst samples. `label` and `prediction` are [samples], `probabilities` [samples, classes]."""
    import numpy as np

    from .functional.calibration import NUM_BINS

    label, prediction = columns["label"].astype(np.int64), columns["prediction"].astype(np.int64)
    probabilities = columns["probabilities"].astype(np.float64)
    num, rows = len(classes), np.arange(len(label))
    found: dict[str, Any] = {"samples": len(label), "classes": [str(name) for name in classes]}
    if num <= CLASSES:
        found["confusion"] = np.bincount(label * num + prediction, minlength=num * num).reshape(num, num).tolist()
    confidence, right = probabilities.max(axis=1), prediction == label
    bins = np.clip(np.searchsorted(np.linspace(0, 1, NUM_BINS + 1), confidence, side="right") - 1, 0, NUM_BINS - 1)
    found["calibration"] = [
        [float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum())]
        for inside in (bins == each for each in range(NUM_BINS))
        if inside.any()
    ]
    given = probabilities[rows, label]
    order = np.argsort(given, kind="stable")[:WORST]
    found["worst"] = [
        {
            "sample": int(each),
            "label": found["classes"][label[each]],
            "prediction": found["classes"][prediction[each]],
            "p_label": float(given[each]),
            "p_prediction": float(probabilities[each, prediction[each]]),
        }
        for each in order
    ]
    return found


def _texts(task: Task, samples: Samples, model: nn.Module) -> list[dict[str, str]]:
    import torch

    if not isinstance(model, torch.nn.Module):
        return []
    batch = samples.fetch(torch.arange(min(PROMPTS, len(samples))))
    return [{"given": given, "made": made} for given, made in task.continued(model, batch, NEW_TOKENS)]


def write(folder: Path, found: dict[str, Any]) -> None:
    """Write it beside and rename it; nothing where nothing was found."""
    if not found:
        return
    beside = folder / f".{FILE}"
    beside.write_text(json.dumps(found) + "\n", encoding="utf-8")
    beside.replace(folder / FILE)


def read(folder: Path) -> dict[str, Any]:
    """What stands in a run's evidence.json; nothing where there is none."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def heat(confusion: list[list[int]], cell: int = 16) -> np.ndarray:
    """A confusion matrix as a picture (uint8, [height, width, 3]): the share of a label's samples, white to blue."""
    import numpy as np

    counts = np.asarray(confusion, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    colours = 255 - shares[..., None] * (255 - np.array([31, 95, 206]))
    return np.repeat(np.repeat(colours.round().astype(np.uint8), cell, axis=0), cell, axis=1)


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of a picture: uint8, [height, width] or [height, width, 3] (ISO/IEC 15948, no filter)."""
    import numpy as np

    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    lines = pixels.reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1).tobytes()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw, 6)) + chunk(b"IEND", b"")


def data_uri(pixels: np.ndarray) -> str:
    """A picture as the address of itself, for a page that refers to nothing outside."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()
