"""predictions.csv: what the best weights said of each held-out row.

| column | what |
|---|---|
| `row` | the row of the data, counted from 0 |
| `label`, `prediction` | by name for classes, in the target's own unit for quantities |
| `p_<class>` | the probability of each class, where the model gives some |

A text that a spreadsheet would take for a formula has an apostrophe before it (`safe`), in this and in every other table
that people open; `unsafe` takes it away again.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

FILE = "predictions.csv"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with; the last ones are the wide forms of the first."""


def write_predictions(
    path: Path, columns: dict[str, np.ndarray], rows: np.ndarray, classes: Sequence[str] | None
) -> None:
    """Write the table. `columns` is what `Task.predictions` gives, of all samples: `label` and `prediction` ([samples],
    class numbers where `classes` are given) and perhaps `probabilities` ([samples, classes]); `rows` is [samples].

    The numbers are as short as they can be and still read back as the same bits.
    """
    header = ["row", "label", "prediction"]
    kept: list[Iterable[Any]] = [rows.tolist()]
    for name in ("label", "prediction"):
        values = columns[name].tolist()
        kept.append(values if classes is None else [classes[number] for number in values])
    if classes is not None and "probabilities" in columns:
        header += [f"p_{name}" for name in classes]
        # A float32's own shortest text: the float64 of the same value takes twice as many digits.
        kept += [map(str, column) for column in columns["probabilities"].T]
    write_table(path, header, zip(*kept, strict=True))


def write_table(path: Path, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """A CSV file, written beside and renamed, so that whoever reads finds it whole or not at all."""
    beside = path.with_name(f".{path.name}")
    with beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(safe, header))
        writer.writerows(map(safe, line) for line in lines)
    beside.replace(path)


def safe(cell: Any) -> Any:
    """A cell as a table holds it: a text that a spreadsheet would run, or that begins as such a one is written, with an
    apostrophe before it. Numbers stay, also as texts."""
    if not isinstance(cell, str) or not cell.lstrip(" ").startswith((*_FORMULA, "'")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def unsafe(cell: str) -> str:
    """The text that `safe` was given."""
    return cell[1:] if cell.startswith("'") else cell


def read_table(path: Path) -> tuple[list[str], Iterator[list[str]]]:
    """The header and the lines of a CSV file, as text."""

    def lines() -> Iterator[list[str]]:
        with path.open(encoding="utf-8", newline="") as file:
            yield from ([unsafe(cell) for cell in line] for line in csv.reader(file))

    all_lines = lines()
    return next(all_lines), all_lines
