"""A drawing as a file of its own: an SVG that any browser and any page shows, in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .line_chart import HEIGHT, LEFT, TOP, WIDTH, Point, Series, chart

COLOURS = ("#2f6fdf", "#d9822b", "#2f9e5f", "#b3469c", "#7a6a4f", "#c2413b")
STYLE = (
    "text{fill:#737373;font:11px system-ui,sans-serif}.grid{stroke:#8884;stroke-width:1}"
    ".line{fill:none;stroke-width:1.6;stroke-linejoin:round}.raw{opacity:.3;stroke-width:1}"
    ".mark{fill:none;stroke:#737373;stroke-width:1.5}.axis{text-anchor:middle}"
    + "".join(f".line.s{n}{{stroke:{colour}}}.dot.s{n}{{fill:{colour}}}" for n, colour in enumerate(COLOURS))
)


def picture(
    series: Sequence[Series],
    across: str,
    mark: Point | None = None,
    mark_title: str = "",
    log_across: bool = False,
    log_up: bool = True,
) -> str:
    """The lines with their names, `across` below the horizontal axis and `mark_title` beside the mark; axes as `chart` has them."""
    drawn = chart(series, mark, mark_title=mark_title, across=across, log_across=log_across, log_up=log_up)
    names = [
        f'<tspan fill="{COLOURS[index]}">{escape(line.name)}</tspan>{"&#160; " if index < len(series) - 1 else ""}'
        for index, line in enumerate(series)
    ]
    named = "".join(names) + (f"&#160; ○ {escape(mark_title)}" if mark is not None and mark_title else "")
    top = f'<text x="{LEFT}" y="-6">{named}</text>'
    box = f'viewBox="0 {-2 * TOP} {WIDTH} {HEIGHT + 2 * TOP}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" {box}'
    start = drawn.index(">")
    opening = drawn[:start].replace(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}"', head)
    return f"{opening}><style>{STYLE}</style>{top}{drawn[start + 1 :]}\n"
