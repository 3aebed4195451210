"""Series of numbers in the order of time that come with the launcher."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from launcher.errors import ConfigError, did_you_mean

from .kinds import Series

FOLDER = Path(__file__).parent / "series"


class BundledSeries:
    """A series of a file beside this one, whose first lines say where it is from: `sunspots` (309 years) or `co2`
    (452 months).

    `problem` says for a model's entry to follow that a series is forecast by regression. Raises ConfigError for another name.
    """

    kind: ClassVar[str] = "series"

    def __init__(self, name: str, problem: Literal["regression"] = "regression") -> None:
        known = sorted(path.stem for path in FOLDER.glob("*.csv"))
        if name not in known:
            raise ConfigError(f"data.name={name}: there is no such series.{did_you_mean(name, known)}")
        self.name = name

    def series(self) -> Series:
        with (FOLDER / f"{self.name}.csv").open(encoding="utf-8") as file:
            lines = csv.reader(line for line in file if not line.startswith("#"))
            next(lines)
            rows = list(lines)
        return Series(np.array([float(value) for _, value in rows]), self.name, [time for time, _ in rows])
