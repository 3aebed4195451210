"""The fits of a procedure on its page: their results, and their curves over each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher.artifacts.page import FILE as PAGE
from launcher.artifacts.result import read_result
from launcher.console.numbers import number

from .html import LINES, Html, card, heading, link, table
from .line_chart import Point, Series, chart
from .quantities import title_of


def section(
    folder: Path, result: Mapping[str, Any], curves_of: Callable[[Path], Mapping[str, list[Point]]]
) -> Iterator[str]:
    """A row a fit, each with its own page where it has one, and a drawing of the objective and the loss over steps."""
    fits = result.get("fits")
    if not isinstance(fits, list):
        return
    values = [fit.get("objective") for fit in fits]
    most = max((abs(value) for value in values if value is not None), default=0.0) or 1.0
    rows = []
    for fit, value in zip(fits, values, strict=True):
        name = str(fit.get("name", ""))
        width = 100 * abs(value) / most if value is not None else 0
        rows.append(
            (
                link(name, f"{name}/{PAGE}") if (folder / name / PAGE).is_file() else name,
                "–" if value is None else number(value),
                Html(f'<div class="bar"><i style="width:{width:.1f}%"></i></div>'),
                str(fit.get("status", "")),
                str(fit.get("seed", "")),
            )
        )
    objective = str((result.get("objective") or {}).get("name", "objective"))
    yield heading("Fits") + table(("fit", objective, "", "status", "seed"), rows, numeric=frozenset({1}))
    names = [str(fit.get("name", "")) for fit in fits[:LINES]]
    curves = [curves_of(folder / name) for name in names]
    cards = []
    for metric in dict.fromkeys((objective, "val/loss", "train/loss")):
        if sum(len(each.get(metric, ())) > 1 for each in curves) > 1:
            lines = [Series(name, each.get(metric, [])) for name, each in zip(names, curves, strict=True)]
            legend = [(line.name, number(line.points[-1][1]) if line.points else "–") for line in lines]
            cards.append(card(title_of(metric), legend, chart(lines, title=title_of(metric)), metric))
    if cards:
        yield heading("How they learned") + f'<div class="charts">{"".join(cards)}</div>'


def fitted(folder: Path, result: Mapping[str, Any]) -> bool:
    """Whether a run, or each fit of it that has a result, is an estimator's: one call, without steps, rates or batches."""
    reasons = [(read_result(folder / str(fit.get("name"))) or {}).get("reason") for fit in result.get("fits") or ()]
    known = [reason for reason in (*reasons, *(() if reasons else (result.get("reason"),))) if reason is not None]
    return bool(known) and all(reason == "fitted" for reason in known)


def baseline(folder: Path, result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The baseline, the mean over the fits; None where not all of them know it."""
    fits = result.get("fits") or []
    found = [(read_result(folder / str(fit.get("name"))) or {}).get("baseline") for fit in fits]
    known = [each for each in found if each]
    if not known or len(known) < len(found):
        return None
    return {"value": sum(each["value"] for each in known) / len(known), "what": known[0]["what"]}
