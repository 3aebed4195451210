"""What a run says of itself before it trains: on the terminal, and to its trackers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from launcher.artifacts.folder import group_of
from launcher.artifacts.provenance import Provenance

if TYPE_CHECKING:
    from launcher.core.run import Run
    from launcher.data.samples import Datasets


def header_of(config: DictConfig, run: Run) -> dict[str, Any]:
    assert run.loop is not None
    return {
        "name": config.name,
        "task": type(run.task).__name__,
        "model": run.loop.name,
        "data": type(run.task.data).__name__,
        **sizes_of(run.data),
        "seed": run.seed,
        "folder": run.folder,
    }


def sizes_of(data: Datasets) -> dict[str, Any]:
    return {"train_samples": len(data.train), "val_samples": 0 if data.val is None else len(data.val)}


def told_to_trackers(
    header: dict[str, Any], folder: Path, provenance: Provenance | None, data: Datasets
) -> dict[str, Any]:
    """What the trackers are told of a run: its header, what it is part of, and where it comes from."""
    assert provenance is not None
    return header | {"group": group_of(folder), "provenance": provenance.write(folder, data)}
