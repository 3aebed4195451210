"""A comparison of runs as lines for a terminal: a column a run where there is room for that, else a line a run."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.console.numbers import things

from .comparison_page import Rows, Seen, differing, judged_alike, results, starred

GAP = "  "
WIDEST, NARROWEST = 40, 16
"""Signs that a cell has at most, and that its column must have room for where cells are cut."""


def told(runs: Sequence[Seen], width: int) -> list[str]:
    """Results, then what differs, in lines of at most `width` signs."""
    found = [["", *(run.name for run in runs)], *results(runs)]
    parts = [("config", [run.config for run in runs]), ("origin", [run.origin for run in runs])]
    differences = [(title, differing(columns)) for title, columns in parts]
    tables = [found, *(rows for _, rows in differences)]
    names = max(len(row[0]) for rows in tables for row in _cut(rows))
    room = (width - names) // len(runs) - len(GAP)
    if room >= NARROWEST or all(_width(rows) <= width for rows in tables):
        widest = min(WIDEST, max(room, NARROWEST))
        lines = _aligned(found, widest)
        for title, rows in differences:
            lines += ["", f"{title}: {'what differs' if rows else 'nothing differs'}", *_aligned(rows, widest)]
    else:
        lines = _by_run(runs, found, differences, width)
    return lines if judged_alike(runs) else [*lines, "", starred(runs)]


def _by_run(runs: Sequence[Seen], found: Rows, differences: list[tuple[str, Rows]], width: int) -> list[str]:
    """A line a run: how it ended, its objectives, and of the config what differs, as far as the width goes; what it does
    not go as far as is named below."""
    metrics = {str((run.result.get("objective") or {}).get("name")) for run in runs}
    first = [row for row in found if row[0] in {"", "status", *metrics}]
    rest = [row for row in found if row not in first]
    (_, config), *others = differences
    shown, left = list(first), []
    for row in [*config, *rest]:
        if len(row[0]) <= WIDEST and _width(_turned([*shown, row])) <= width:
            shown.append(row)
        else:
            left.append(row[0])
    lines = [line[:width].rstrip() for line in _aligned(_turned(shown))]
    if left:
        lines += ["", *_wrapped(f"{things(len(left), 'more row')} on the page: {', '.join(left)}", width)]
    for title, rows in others:
        told_of = f"{title}: {'differs in ' + ', '.join(row[0] for row in rows) if rows else 'nothing differs'}"
        lines += ["", *_wrapped(told_of, width)]
    return lines


def _turned(rows: Rows) -> Rows:
    return [list(line) for line in zip(*rows, strict=True)]


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, max(20, width), subsequent_indent=GAP, break_on_hyphens=False)


def _cut(rows: Rows, widest: int = WIDEST) -> Rows:
    """Rows whose cells have at most so many signs, their names WIDEST."""
    return [
        [
            cell if len(cell) <= most else f"{cell[: most - 1]}…"
            for cell, most in zip(row, _most(row, widest), strict=True)
        ]
        for row in rows
    ]


def _most(row: list[str], widest: int) -> list[int]:
    return [WIDEST, *[widest] * (len(row) - 1)]


def _widths(cut: Rows) -> list[int]:
    return [max(map(len, column)) for column in zip(*cut, strict=True)]


def _width(rows: Rows) -> int:
    widths = _widths(_cut(rows))
    return sum(widths) + len(GAP) * max(0, len(widths) - 1)


def _aligned(rows: Rows, widest: int = WIDEST) -> list[str]:
    cut = _cut(rows, widest)
    widths = _widths(cut)
    return [GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cut]
