"""The frame of every page, and the pieces it is made of. Whatever was typed or read is escaped here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from .stylesheet import STYLE

LINES = 6
"""Colours for the lines of one drawing."""
_COLOURS = "".join(
    f".line.s{n}{{stroke:var(--s{n})}}.dot.s{n},i.s{n}{{fill:var(--s{n});background:var(--s{n})}}\n"
    for n in range(LINES)
)


def page(title: str, body: Iterable[str]) -> str:
    """A whole page that refers to nothing outside itself."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{_COLOURS}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numeric: frozenset[int] = frozenset()) -> str:
    """A table; the columns in `numeric` are set to the right. An entry that `link` made is taken as it is."""

    def cell(tag: str, index: int, text: str) -> str:
        inner = text if isinstance(text, Html) else escape(text)
        return f'<{tag} class="n">{inner}</{tag}>' if index in numeric else f"<{tag}>{inner}</{tag}>"

    lines = ["<tr>" + "".join(cell("td", index, text) for index, text in enumerate(row)) + "</tr>" for row in rows]
    top = (
        "<thead><tr>" + "".join(cell("th", index, text) for index, text in enumerate(head)) + "</tr></thead>"
        if head
        else ""
    )
    return f'<div class="scroll"><table>{top}<tbody>{"".join(lines)}</tbody></table></div>'


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def link(text: str, path: str) -> Html:
    """A link to another file of the same folder."""
    from urllib.parse import quote

    return Html(f'<a href="{escape(quote(path), quote=True)}">{escape(text)}</a>')


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def folded(title: str, inner: str) -> str:
    """A section that opens on a click."""
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"


def code(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def commands(entries: Iterable[tuple[str, str]]) -> str:
    """Commands to be copied (what each does, the command)."""
    return f'<dl class="commands">{"".join(f"<dt>{escape(said)}</dt><dd>{code(line)}</dd>" for said, line in entries)}</dl>'


def about(rows: Iterable[tuple[str, str]]) -> str:
    """A table of labels and what they say, in a card."""
    inner = table((), rows).replace("<table>", '<table class="about">')
    return f'<div class="card">{inner}</div>'


def tiles(entries: Iterable[tuple[str, str]], beside: str = "") -> str:
    """Short facts (label, value) side by side, the first of them large and with `beside` (HTML) next to it."""
    inner = [_tile(label, value, beside if index == 0 else None) for index, (label, value) in enumerate(entries)]
    return f'<div class="tiles">{"".join(inner)}</div>'


def _tile(label: str, value: str, beside: str | None) -> str:
    said = f"<b>{escape(value)}</b><span>{escape(label)}</span>"
    return (
        f'<div class="tile">{said}</div>'
        if beside is None
        else f'<div class="tile main"><div>{said}</div>{beside}</div>'
    )


def against(rows: Sequence[tuple[str, float, str]], said: str) -> str:
    """Bars from zero to compare values by (label, value, value in words), the first of them ours; `said` stands below."""
    most = max((abs(value) for _, value, _ in rows), default=0.0) or 1.0
    lines = "".join(
        f'<span>{escape(label)}</span><i class="{"base" if index else ""}" style="width:{100 * abs(value) / most:.1f}%"></i><span>{escape(words)}</span>'
        for index, (label, value, words) in enumerate(rows)
    )
    return f'<div class="against">{lines}<p>{escape(said)}</p></div>'


def card(title: str, legend: Iterable[tuple[str, str]], drawing: str, key: str = "", dashed: str = "") -> str:
    """A drawing with its title, its lines' names and last values, `key` (its name in metrics.jsonl) and what `dashed` lines are."""
    keys = "".join(
        f'<span><i class="s{index}"></i>{escape(name)} {escape(value)}</span>'
        for index, (name, value) in enumerate(legend)
    )
    keys += f'<span><i class="dash"></i>{escape(dashed)}</span>' if dashed else ""
    own = f"<code>{escape(key)}</code>" if key else ""
    return f'<div class="chart"><h3>{escape(title)}{own}</h3><p class="legend">{keys}</p>{drawing}</div>'
