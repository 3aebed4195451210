"""Whether two runs are the same run: everything but the times, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from launcher.artifacts.checkpoint.checkpoints import Checkpoints
from launcher.artifacts.checkpoint.pieces import whole
from launcher.artifacts.checkpoint.tensors import pack

TIMES = ("progress/wall_s", "recorder")
"""Where a checkpoint's state holds times, or follows from their number of digits."""


def lines(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without its times."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "time_s"} for record in records]


def state(folder: Path) -> dict[str, Any]:
    """The last checkpoint, flat: by path, tensors as (type, shape, bytes), plain values as they are."""
    last = (folder / "checkpoints" / "last").resolve()
    found: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, torch.Tensor):
            raw = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            found[path] = (value.dtype, tuple(value.shape), raw)
        elif isinstance(value, dict):
            for key, entry in value.items():
                walk(entry, f"{path}/{key}" if path else str(key))
        elif isinstance(value, list | tuple):
            for index, entry in enumerate(value):
                walk(entry, f"{path}/{index}")
        else:
            found[path] = value

    loaded = whole(Checkpoints(last.parent, keep=1).load(int(last.name.removeprefix("step-"))))
    assert pack(loaded)[1], "a checkpoint without tensors compares nothing"
    walk(loaded, "")
    return {path: value for path, value in found.items() if not path.startswith(TIMES)}


def model(folder: Path) -> dict[str, bytes]:
    """The files of the exported model."""
    return {path.name: path.read_bytes() for path in (folder / "model").iterdir()}


def assert_same(left: Path, right: Path, but: tuple[str, ...] = ()) -> None:
    """Same lines, same last checkpoint (less the paths that begin with one of `but`), same exported model."""
    assert lines(left) == lines(right)
    one, other = state(left), state(right)
    assert one.keys() == other.keys()
    different = [path for path in one if one[path] != other[path] and not path.startswith(but or ("\0",))]
    assert different == []
    assert model(left) == model(right)
    results = [json.loads((folder / "result.json").read_text()) for folder in (left, right)]
    for key in ("status", "reason", "objective", "metrics", "best_step", "steps", "epochs"):
        assert results[0][key] == results[1][key]
