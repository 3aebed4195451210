"""What a sweep leaves for people and scripts: trials.csv and optimization_results.yaml."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from launcher.result import read_result

from .runner import ENDED, Job


def write_tables(folder: Path, jobs: list[Job], points: list[list[str]], direction: str) -> dict[str, Any] | None:
    """Write both from the trials' folders as they are now; returns the best finished trial's row, if there is one.

    optimization_results.yaml has hydra-optuna-sweeper's format for one objective: `name`, `best_params`, `best_value`.
    """
    rows = [_row(folder, number, point) for number, point in enumerate(points)]
    params = list(dict.fromkeys(override.partition("=")[0] for point in points for override in point))
    beside = folder / ".trials.csv"
    with beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, ["number", "state", "value", *params, "steps", "wall_s"], restval="", extrasaction="ignore"
        )
        writer.writeheader()
        writer.writerows(rows)
    beside.replace(folder / "trials.csv")
    finished = [
        row for row in rows if row["state"] in ENDED and row["value"] is not None and row["value"] == row["value"]
    ]
    if not finished:
        return None
    best = (max if direction == "maximize" else min)(finished, key=lambda row: float(row["value"]))
    parser = OverridesParser.create()
    chosen = {key: parser.parse_override(f"{key}={best[key]}").value() for key in params if key in best}
    beside = folder / ".optimization_results.yaml"
    OmegaConf.save(OmegaConf.create({"name": "launcher", "best_params": chosen, "best_value": best["value"]}), beside)
    beside.replace(folder / "optimization_results.yaml")
    return best


def _row(folder: Path, number: int, point: list[str]) -> dict[str, Any]:
    result = read_result(folder / str(number))
    began = (folder / str(number) / "config.yaml").exists()
    row: dict[str, Any] = {"number": number, "state": "running" if began else "waiting", "value": None}
    row.update(override.partition("=")[::2] for override in point)
    if result is not None:
        row |= {
            "state": result["status"],
            "value": result["objective"]["value"],
            "steps": result["steps"],
            "wall_s": result["wall_s"] and round(result["wall_s"], 3),
        }
    return row
