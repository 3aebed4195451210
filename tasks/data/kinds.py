"""What data hands to a task: one class a kind.

A data class states its kinds in `kind` and has a method of that name for each: `images()`, `texts()`, `corpus()`, `table()`.
What it says in `notes`, a list of lines, is told when a run starts: what was read, and what was left out and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from pandas import DataFrame


class Pictures(Protocol):
    """Pictures that are decoded when they are asked for."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Samples, channels, height, width."""

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The pictures at `rows` (int64): float32, [rows, channels, height, width], 0 to 1."""


@dataclass
class Images:
    """Pictures with a label each."""

    pixels: np.ndarray | Pictures  # float32, [samples, channels, height, width], 0 to 1
    labels: np.ndarray  # int64, [samples]
    classes: list[str]


@dataclass
class Texts:
    """Texts with a label each."""

    texts: list[str]
    labels: np.ndarray  # int64, [samples]
    classes: list[str]
    groups: np.ndarray | None = None  # int64, [samples]: rows of a group stay on one side of a split


class Documents(Protocol):
    """Texts that need not be in memory."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> list[str]:
        """The documents at `rows` (int64), in that order."""


@dataclass
class Corpus:
    """Documents to learn a language from."""

    documents: Documents
    fingerprint: str  # changes with the content


@dataclass
class Table:
    """Rows of features with a target."""

    X: DataFrame | np.ndarray  # [rows, columns]
    y: np.ndarray  # int64 class numbers or float64 values, [rows]
    columns: list[str]
    categorical: list[int]  # the columns that hold categories, by position; the others hold numbers
    classes: list[str] | None = None  # None for regression
    target: str = "target"
    groups: np.ndarray | None = None  # int64, [rows]: rows of a group stay on one side of a split


@dataclass
class Series:
    """Numbers in the order of time, a step apart."""

    values: np.ndarray  # float64, [steps]
    name: str
    times: list[str] | None = None  # what each step is called
