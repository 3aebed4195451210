"""Curves as inline SVG, drawn here: no script, no library, nothing fetched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Literal

from launcher.console.numbers import count, number

Point = tuple[float, float]

LIMIT = 2000
"""Points a line; of more, the smallest and largest of each stretch are kept, so that no spike is lost."""
DENSE = 400
"""Of a line with more points, the means of stretches are drawn over the points themselves, which are made faint."""
WIDTH, HEIGHT = 360, 222
LEFT, RIGHT, TOP, BOTTOM = 46, 16, 10, 36
UNIT = 12
"""More room at the top where the vertical axis has a unit."""
"""A drawing fits a phone in its own size, so that its letters stay readable; a wide page puts several side by side."""


@dataclass(frozen=True)
class Series:
    """A line with its name: (step, value) in the order of steps. Values may be NaN or infinite: the line has a gap there.

    `dots` are points without a line, as large as `sizes` says (a radius each); `dashed` is a line to hold others against.
    """

    name: str
    points: Sequence[Point]
    style: Literal["line", "dashed", "dots"] = "line"
    sizes: Sequence[float] = ()


def chart(
    series: Sequence[Series],
    mark: Point | None = None,
    *,
    mark_title: str | None = None,
    across: str = "step",
    unit: str = "",
    log_across: bool = False,
    log_up: bool = True,
    width: int = WIDTH,
    title: str = "",
) -> str:
    """One drawing of up to six lines over the same axes; `mark` puts a dot on a point worth seeing. `across` says what the
    horizontal axis is of, `unit` what the vertical one is in; `width` is for one that takes a row of its own. `title` begins
    the drawing's name for those who do not see it; what its lines do follows.

    The vertical axis is logarithmic where the values are positive and spread over a factor of more than 50, unless
    `log_up` is false; the horizontal one (steps, else) with `log_across`.
    """
    series = [_placeable(line) for line in series]
    finite = [(x, y) for line in series for x, y in line.points if math.isfinite(y)]
    if not any(math.isfinite(y) for line in series if line.style != "dashed" for _, y in line.points):
        return '<p class="faint">no finite values</p>'
    is_log = log_up and min(y for _, y in finite) > 0 and max(y for _, y in finite) > 50 * min(y for _, y in finite)
    along = _Axis([x for x, _ in finite], LEFT, width - RIGHT, is_log=log_across, whole=not log_across)
    up = _Axis([y for _, y in finite], HEIGHT - BOTTOM, TOP + (UNIT if unit else 0), is_log=is_log)
    name = escape(": ".join(filter(None, (title, _described(series)))), quote=True)
    drawn = [f'<svg viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{name}">']
    for value, label in up.ticks():
        y = up.place(value)
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{label}</text>')
    for value, label in along.ticks():
        x = along.place(value)
        drawn.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 3}"/>'
        )
        drawn.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{label}</text>')
    drawn.append(f'<text class="axis" x="{(LEFT + width - RIGHT) / 2:.0f}" y="{HEIGHT - 4}">{escape(across)}</text>')
    if unit:
        drawn.append(f'<text x="{LEFT - 40}" y="{TOP + 2}">{escape(unit)}</text>')
    over: list[str] = []
    for index, line in enumerate(series):
        said = f"<title>{escape(line.name)}</title>"
        if line.style == "dots":
            sizes = line.sizes or [2.5] * len(line.points)
            for (x, y), size in zip(line.points, sizes, strict=True):
                place = f'cx="{along.place(x):.1f}" cy="{up.place(y):.1f}" r="{size:.1f}"'
                over.append(f'<circle class="dot s{index}" {place}>{said}</circle>')
            continue
        if line.style == "dashed":
            placed = [f"{along.place(x):.1f},{up.place(y):.1f}" for x, y in line.points]
            drawn.append(f'<polyline class="dashed" points="{" ".join(placed)}">{said}</polyline>')
            continue
        is_dense = len(line.points) > DENSE
        if is_dense:
            placed = [f"{along.place(x):.1f},{up.place(y):.1f}" for x, y in means(line.points)]
            over.append(f'<polyline class="line s{index}" points="{" ".join(placed)}">{said}</polyline>')
        for stretch in _stretches(decimate(line.points)):
            placed = [f"{along.place(x):.1f},{up.place(y):.1f}" for x, y in stretch]
            if len(placed) == 1:
                left, high = placed[0].split(",")
                drawn.append(f'<circle class="dot s{index}" cx="{left}" cy="{high}" r="2.5">{said}</circle>')
            else:
                faint = " raw" if is_dense else ""
                drawn.append(f'<polyline class="line s{index}{faint}" points="{" ".join(placed)}">{said}</polyline>')
    drawn += over
    if mark is not None and math.isfinite(mark[1]):
        best = mark_title or f"best: {number(mark[1])} at step {count(mark[0])}"
        said = f"<title>{escape(best)}</title>"
        drawn.append(
            f'<circle class="mark" cx="{along.place(mark[0]):.1f}" cy="{up.place(mark[1]):.1f}" r="4">{said}</circle>'
        )
    drawn.append("</svg>")
    return "".join(drawn)


def _placeable(line: Series) -> Series:
    """The series without points that have no place: a line may have a gap along its way, dots may not."""
    kept = [
        index
        for index, (x, y) in enumerate(line.points)
        if math.isfinite(x) and (line.style == "line" or math.isfinite(y))
    ]
    if len(kept) == len(line.points):
        return line
    sizes = [line.sizes[index] for index in kept] if line.sizes else ()
    return replace(line, points=[line.points[index] for index in kept], sizes=sizes)


def decimate(points: Sequence[Point], limit: int = LIMIT) -> list[Point]:
    """At most `limit` of the points, in their order: first and last, and each stretch's smallest and largest value."""
    if len(points) <= limit:
        return list(points)
    num = (limit - 2) // 2
    inner = len(points) - 2
    kept = [points[0]]
    for part in range(num):
        stretch = range(1 + part * inner // num, 1 + (part + 1) * inner // num)
        ends = [index for index in stretch if math.isfinite(points[index][1])] or list(stretch)
        low, high = min(ends, key=lambda index: points[index][1]), max(ends, key=lambda index: points[index][1])
        kept += [points[index] for index in sorted({low, high})]
    return [*kept, points[-1]]


def means(points: Sequence[Point], num: int = 120) -> list[Point]:
    """The mean step and the mean value of `num` stretches of equal length; what is not finite is left out."""
    found = []
    for part in range(num):
        stretch = points[part * len(points) // num : (part + 1) * len(points) // num]
        finite = [point for point in stretch if math.isfinite(point[1])]
        if finite:
            found.append((math.fsum(x for x, _ in finite) / len(finite), math.fsum(y for _, y in finite) / len(finite)))
    return found


def _stretches(points: Sequence[Point]) -> list[list[Point]]:
    """The points between gaps."""
    stretches: list[list[Point]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            stretches[-1].append(point)
        elif stretches[-1]:
            stretches.append([])
    return [stretch for stretch in stretches if stretch]


def _described(series: Sequence[Series]) -> str:
    """The drawing in words, for those who do not see it."""
    said = []
    for line in series:
        values = [y for _, y in line.points if math.isfinite(y)]
        if values:
            said.append(
                f"{line.name}: from {number(values[0])} to {number(values[-1])}, between {number(min(values))} and {number(max(values))}"
            )
    return "; ".join(said)


class _Axis:
    """From values to places on the page, and the values worth a label."""

    def __init__(self, values: Sequence[float], start: float, end: float, *, is_log: bool, whole: bool = False) -> None:
        self._start, self._end, self._log, self._whole = start, end, is_log, whole
        low, high = self._scale(min(values)), self._scale(max(values))
        if low == high:
            # A constant line lies in the middle of a span that its size suggests.
            half = 0.5 if is_log or low == 0 else abs(low) / 2
            low, high = low - half, high + half
        elif not whole:
            low, high = low - (high - low) / 20, high + (high - low) / 20
        self._low, self._high = low, high

    def place(self, value: float) -> float:
        """The coordinate of a value."""
        return self._start + (self._scale(value) - self._low) / (self._high - self._low) * (self._end - self._start)

    def ticks(self) -> list[tuple[float, str]]:
        """The values to label, each with its label."""
        if self._log:
            return self._log_ticks()
        rough = (self._high - self._low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
        if self._whole:
            step = max(1.0, step) if step != 2.5 else 5.0
        first, last = math.ceil(self._low / step - 1e-9), math.floor(self._high / step + 1e-9)
        values = [index * step for index in range(first, last + 1)]
        top = max((abs(value) for value in values), default=0.0)
        return [(value, _label(value, step, top)) for value in values]

    def _log_ticks(self) -> list[tuple[float, str]]:
        decades = range(math.floor(self._low), math.ceil(self._high) + 1)
        factors = (1, 2, 5) if self._high - self._low < 2.5 else (1,)
        every = max(1, math.ceil((self._high - self._low) / 6))
        values = [factor * 10.0**decade for decade in decades if decade % every == 0 for factor in factors]
        inside = [value for value in values if self._low <= math.log10(value) <= self._high]
        return [(value, _label(value, value, value)) for value in inside]

    def _scale(self, value: float) -> float:
        return math.log10(value) if self._log else value


def _label(value: float, step: float, top: float) -> str:
    """As many digits as tell two ticks apart; powers of ten where the largest tick, `top`, is very large or small."""
    if value == 0:
        return "0"
    if top >= 1e6 or top < 0.01:
        exponent = math.floor(math.log10(abs(value)) + 1e-12)
        digits = 2 + max(0, exponent - math.floor(math.log10(step) + 1e-12))
        return f"{value / 10**exponent:.{digits}g}e{exponent}".replace("-", "−")
    if top >= 10_000 and step >= 1000:
        return f"{value / 1000:g}k".replace("-", "−")
    digits = 0 if step >= 1 and step == int(step) else max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, digits) != round(step, digits + 1):
        digits += 1  # a step of 0.25 or 2.5
    return f"{value:,.{digits}f}".replace("-", "−")
