"""Draws which rows each entry of conf/validation holds out: `python docs/images/folds.py`. See `draw.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from launcher import CONF
from launcher.config.instantiate import instantiate
from launcher.data.splits import Fold, split_rows
from launcher.report.svg_file import STYLE

FOLDER = Path(__file__).parent

ROWS, CELL, LABELS = 24, 12, 66
CLASSES = np.array([0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1])
GROUPS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3, 3, 4, 4, 5, 5, 5, 6, 6, 7, 7, 7])
KINDS = {
    "learned": ("learned from", "#2f6fdf"),
    "held": ("held out", "#d9822b"),
    "apart": ("judges in the end", "#b3469c"),
}
Line = tuple[str, Mapping[str, np.ndarray]]


def splitter_of(name: str, **settings: Any) -> Any:
    """The splitter of an entry of conf/validation, with the seed 0."""
    content = OmegaConf.load(CONF / "validation" / f"{name}.yaml")
    node = OmegaConf.create({"seed": 0, "validation": content.get("validation", content)})
    return instantiate(OmegaConf.merge(node, {"validation": settings}).validation)


def cells(lines: Sequence[Line], above: Sequence[str] = ()) -> str:
    """A line a fit: its name, and a cell for each of its rows in the colour of what they are for; `above` names the rows."""
    used = [kind for kind in KINDS if any(kind in rows for _, rows in lines)]
    width, height = LABELS + ROWS * CELL + 8, CELL * len(lines) + (14 if above else 0) + 26
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * width}" viewBox="0 0 {width} {height}" role="img">'
        f"<style>{STYLE}</style>"
    ]
    legend = "&#160; ".join(f'<tspan fill="{KINDS[kind][1]}">■ {KINDS[kind][0]}</tspan>' for kind in used)
    out.append(f'<text x="{LABELS}" y="14">{legend}</text>')
    top = 22
    for column, letter in enumerate(above):
        out.append(
            f'<text x="{LABELS + (column + 0.5) * CELL:g}" y="{top + 8}" text-anchor="middle">{escape(letter)}</text>'
        )
    top += 14 if above else 0
    for number, (name, rows) in enumerate(lines):
        y = top + CELL * number
        out.append(f'<text x="{LABELS - 6}" y="{y + 9.5:g}" text-anchor="end">{escape(name)}</text>')
        filled = {int(row): kind for kind, each in rows.items() for row in each}
        for row in range(ROWS):
            colour = KINDS[filled[row]][1] if row in filled else "#8883"
            out.append(
                f'<rect x="{LABELS + row * CELL + 0.5:g}" y="{y + 0.5:g}" width="{CELL - 1.5:g}" height="{CELL - 1.5:g}" rx="1.5" fill="{colour}"/>'
            )
    return "".join(out) + "</svg>\n"


def splits(
    name: str, num: int, labels: bool = False, groups: bool = False, said: str = "fold", **settings: object
) -> list[Line]:
    """What an entry of conf/validation makes of 24 rows."""
    splitter = splitter_of(name, **settings)
    found = []
    for fold in range(num):
        train, val = split_rows(Fold(splitter, fold), ROWS, CLASSES if labels else None, GROUPS if groups else None)
        found.append((f"{said} {fold}" if num > 1 else said, {"learned": train, "held": val}))
    return found


def windows() -> str:
    """Forward through time: a window that expands, one with a gap, one that slides."""
    kinds: dict[str, dict[str, object]] = {"": {}, "gap=2": {"gap": 2}, "size=8": {"max_train_size": 8}}
    return cells(
        [
            line
            for said, given in kinds.items()
            for line in splits("time_series", 3, said=said or "fold", n_splits=3, **given)
        ]
    )


def nested() -> str:
    """Two of four outer folds, each with its inner ones."""
    splitter = splitter_of("nested", outer={"n_splits": 4}, inner={"n_splits": 2})
    lines: list[Line] = []
    for fold in (0, 1):
        _, judged = split_rows(Fold(splitter, fold), ROWS)
        for inner in (0, 1):
            train, val = split_rows(Fold(splitter, fold, inner), ROWS)
            lines.append((f"inner {fold}.{inner}", {"learned": train, "held": val}))
        learned, _ = split_rows(Fold(splitter, fold), ROWS)
        lines.append((f"outer {fold}", {"learned": learned, "apart": judged}))
    return cells(lines)


def reserved() -> str:
    lines = splits("reserved", 3, folds={"_target_": "sklearn.model_selection.KFold", "n_splits": 3})
    chosen = [np.concatenate([rows["learned"], rows["held"]]) for _, rows in lines]
    left = np.setdiff1d(np.arange(ROWS), chosen[0])
    return cells([*lines, ("refit", {"learned": chosen[0], "apart": left})])


def named(values: np.ndarray) -> list[str]:
    return ["abcdefgh"[value] for value in values]


PICTURES: dict[str, Callable[[], str]] = {
    "validation_holdout": lambda: cells(splits("holdout", 1, said="holdout")),
    "validation_stratified_holdout": lambda: cells(
        splits("stratified_holdout", 1, labels=True, said="holdout"), named(CLASSES)
    ),
    "validation_temporal_holdout": lambda: cells(
        splits("temporal_holdout", 1, said="holdout")
        + splits("temporal_holdout", 1, said="gap=2", gap=2)
        + splits("temporal_holdout", 1, said="size=8", max_train_size=8)
    ),
    "validation_kfold": lambda: cells(splits("kfold", 4, n_splits=4)),
    "validation_stratified_kfold": lambda: cells(
        splits("stratified_kfold", 4, labels=True, n_splits=4), named(CLASSES)
    ),
    "validation_group_kfold": lambda: cells(splits("group_kfold", 4, groups=True, n_splits=4), named(GROUPS)),
    "validation_repeated_kfold": lambda: cells(splits("repeated_kfold", 6, n_splits=3, n_repeats=2)),
    "validation_time_series": windows,
    "validation_nested": nested,
    "validation_reserved": reserved,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw(), encoding="utf-8")
