"""The frame of every page, and the pieces it is made of. Whatever was typed or read is escaped here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root{color-scheme:light dark;--back:#fff;--card:#f6f7f9;--text:#1c2330;--faint:#5c6675;--rule:#d9dee6;
--good:#12703d;--bad:#b3261e;--warn:#8a5a00;--s0:#2f6fde;--s1:#d9730d;--s2:#12805c;--s3:#8e44ad;--s4:#c0392b;--s5:#667085}
@media(prefers-color-scheme:dark){:root{--back:#12161d;--card:#1b212b;--text:#e6eaf0;--faint:#9aa5b5;--rule:#323b49;
--good:#5ed19a;--bad:#ff8a80;--warn:#f0b849;--s0:#6ea8fe;--s1:#ffa94d;--s2:#4fd1a5;--s3:#c89bff;--s4:#ff8a80;--s5:#a9b4c4}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:75rem;padding:1.2rem 1rem 3rem;background:var(--back);color:var(--text);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:break-word}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .3rem}
h2{font-size:1.1rem;margin:2rem 0 .6rem}
h3{font-size:.95rem;margin:0 0 .3rem;font-weight:600;overflow-wrap:anywhere}
p{margin:.3rem 0}
.faint{color:var(--faint)}
.pill{display:inline-block;border:1px solid currentColor;border-radius:1rem;padding:0 .7rem;font-size:.85rem;font-weight:600;margin-right:.5rem}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.6rem;margin:1rem 0 0}
.tile,.chart{background:var(--card);border:1px solid var(--rule);border-radius:.5rem;padding:.6rem .8rem}
.tile b{display:block;font-size:1.25rem;line-height:1.3;font-weight:600}
.tile span{color:var(--faint);font-size:.85rem}
.tile.main{grid-column:span 2}.tile.main b{font-size:1.9rem}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:.8rem}
.chart{break-inside:avoid;max-width:34rem}
.legend{font-size:.8rem;color:var(--faint);margin:0;display:flex;flex-wrap:wrap;gap:0 .9rem}
.legend i{display:inline-block;width:.9rem;height:3px;border-radius:2px;margin-right:.35rem;vertical-align:middle}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--faint);font-size:11px}
.grid{stroke:var(--rule);stroke-width:1}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round;vector-effect:non-scaling-stroke}
.raw{opacity:.3;stroke-width:1}
.mark{fill:none;stroke:var(--text);stroke-width:1.5}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;min-width:min(100%,24rem)}
th,td{text-align:left;vertical-align:top;padding:.25rem 1.2rem .25rem 0;border-bottom:1px solid var(--rule)}
th{font-weight:600;color:var(--faint);font-size:.85rem;white-space:nowrap}
td:first-child{white-space:nowrap}
td.n{text-align:right;white-space:nowrap}th.n{text-align:right}
a{color:var(--s0)}
details{border-top:1px solid var(--rule);padding:.5rem 0}
details:last-of-type{border-bottom:1px solid var(--rule)}
summary{cursor:pointer;font-weight:600}
pre{background:var(--card);border:1px solid var(--rule);border-radius:.5rem;padding:.6rem .8rem;margin:.3rem 0 .8rem;
font:.85rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.split{display:flex;height:1.4rem;border-radius:.3rem;overflow:hidden;max-width:44rem;margin:.3rem 0}
.split i{display:block;height:100%;print-color-adjust:exact}
.confusion{font-size:.8rem;min-width:0;border-spacing:0}
.confusion td,.confusion th{border:1px solid var(--rule);padding:.15rem .3rem;text-align:center;min-width:1.7rem;white-space:nowrap}
.confusion td{background:color-mix(in srgb,var(--s0) calc(var(--share)*75%),transparent);print-color-adjust:exact}
.heat{width:100%;max-width:24rem;image-rendering:pixelated}
.worst{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.6rem}
.worst figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:.5rem;padding:.6rem;break-inside:avoid;font-size:.85rem}
.worst img{width:6rem;height:6rem;object-fit:contain;image-rendering:pixelated;display:block;margin-bottom:.3rem}
.worst p{overflow-wrap:anywhere;max-height:9rem;overflow:hidden}
@media print{:root{--back:#fff;--card:#fff;--text:#000;--faint:#444;--rule:#bbb;--good:#0a5c30;--bad:#a01010;--warn:#704800;
--s0:#1f5fce;--s1:#c05f00;--s2:#0f6f50;--s3:#7d3c98;--s4:#a93226;--s5:#555}
body{max-width:none;padding:0;font-size:11pt}.charts{grid-template-columns:1fr 1fr}details::details-content{content-visibility:visible}}
"""

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


def tiles(entries: Iterable[tuple[str, str]]) -> str:
    """Short facts (label, value) side by side, the first of them large."""
    inner = [
        f'<div class="tile{" main" if index == 0 else ""}"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
        for index, (label, value) in enumerate(entries)
    ]
    return f'<div class="tiles">{"".join(inner)}</div>'


def card(title: str, legend: Iterable[tuple[str, str]], drawing: str) -> str:
    """A drawing with its title and its lines' names and last values."""
    keys = "".join(
        f'<span><i class="s{index}"></i>{escape(name)} {escape(value)}</span>'
        for index, (name, value) in enumerate(legend)
    )
    return f'<div class="chart"><h3>{escape(title)}</h3><p class="legend">{keys}</p>{drawing}</div>'
