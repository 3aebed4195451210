"""The curves of a run as cards: a drawing for each quantity, its splits together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from launcher.console.numbers import number

from .html import LINES, card
from .line_chart import Point, Series, chart
from .quantities import KNOWN, Group, grouped, is_machine

Curves = Mapping[str, Sequence[Point]]


def scaled(points: Sequence[Point], scale: float) -> list[Point]:
    return [(step, value * scale) for step, value in points] if scale != 1 else list(points)


def is_constant(name: str, points: Sequence[Point]) -> bool:
    """Whether a curve has nothing to show that a number would not: of the machine, one that moves by less than a hundredth."""
    values = [value for _, value in points if math.isfinite(value)]
    if not is_machine(name) or not values:
        return len({value for _, value in points}) == 1
    return max(values) - min(values) <= 0.01 * max(map(abs, values))


def charts(
    curves: Curves, objective: str = "", best_step: float | None = None, baseline: Mapping[str, Any] | None = None
) -> str:
    """The drawings, the loss and the objective first. Left out are curves of less than two points and those that never
    move; a `baseline` of the objective is a dashed line."""
    cards = []
    for group in sorted(grouped(curves), key=lambda each: _order(each, objective)):
        names = list(group.names)[:LINES]
        if all(len(curves[name]) < 2 or is_constant(name, curves[name]) for name in names):
            continue
        mark = None
        if objective in names and best_step is not None:
            mark = next((point for point in curves[objective] if point[0] == best_step), None)
        cards.append(_card(group, names, curves, mark, baseline if objective in names else None))
    return f'<div class="charts">{"".join(cards)}</div>' if cards else ""


def _order(group: Group, objective: str) -> tuple[int, int]:
    kinds = (
        group.key == "loss",
        objective in group.names,
        any(name.startswith(("val/", "test/")) for name in group.names),
        group.key == "lr",
        "norm" in group.key,
    )
    known = list(KNOWN)
    return (
        kinds.index(True) if True in kinds else len(kinds),
        known.index(group.key) if group.key in known else len(known),
    )


def _card(
    group: Group, names: Sequence[str], curves: Curves, mark: Point | None, baseline: Mapping[str, Any] | None
) -> str:
    quantity = group.quantity
    series = [Series(name, scaled(curves[name], quantity.scale)) for name in names]
    legend = [(group.names[line.name], number(line.points[-1][1])) for line in series]
    dashed = ""
    if baseline is not None:
        steps = [step for name in names for step, value in curves[name] if math.isfinite(value)]
        if steps:
            level = float(baseline["value"]) * quantity.scale
            series.append(Series(str(baseline["what"]), [(min(steps), level), (max(steps), level)], "dashed"))
            dashed = f"{baseline['what']} {number(level)}"
    key = names[0] if len(names) == 1 else ""
    drawing = chart(series, mark, unit=quantity.unit, title=quantity.title)
    return card(
        quantity.title if quantity.title != key else key, legend, drawing, key if quantity.title != key else "", dashed
    )
