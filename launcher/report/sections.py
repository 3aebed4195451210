"""The parts of a run's page that show what it did with its time and its data."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from launcher.evidence import heat, png
from launcher.figures import count, number

from .curves import Point, Series, chart
from .page import Html, card, heading, table

PARTS = ("data", "forward", "backward", "communication", "optimizer")
WATCHED = ("carbon/", "communication/", "flops/", "gpu/", "system/", "time/")
"""How the names begin of what is told of the machine, and not of what is learned."""
SHOWN_CLASSES = 15
"""Classes up to which the confusion is a table; of more it is a picture."""


def step_time(curves: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    """Where a step's time goes: means over the second half of the lines, when caches are warm and kernels chosen."""
    means = {part: _late_mean(curves[f"time/{part}_ms"]) for part in PARTS if curves.get(f"time/{part}_ms")}
    whole = sum(means.values())
    if not whole:
        return
    bars = "".join(
        f'<i class="s{index}" style="width:{100 * value / whole:.2f}%" title="{escape(part)}"></i>'
        for index, (part, value) in enumerate(means.items())
    )
    rows = [(part, f"{number(value)} ms", f"{100 * value / whole:.1f}%") for part, value in means.items()]
    drawn = f'<div class="split" role="img" aria-label="{escape("; ".join(" ".join(row) for row in rows), quote=True)}">{bars}</div>'
    keys = "".join(f'<span><i class="s{index}"></i>{escape(part)}</span>' for index, part in enumerate(means))
    yield heading("A step's time") + drawn + f'<p class="legend">{keys}</p>'
    yield table(("", "mean", "share"), [*rows, ("step", f"{number(whole)} ms", "")], numeric=frozenset({1, 2}))


def _late_mean(points: Sequence[Point]) -> float:
    late = [value for _, value in points[len(points) // 2 :]]
    return sum(late) / len(late)


def classified(evidence: Mapping[str, Any]) -> Iterator[str]:
    """A classifier's confusion, calibration and worst samples."""
    confusion, classes = evidence.get("confusion"), evidence.get("classes") or []
    cards = []
    if confusion and len(classes) > SHOWN_CLASSES:
        source = "data:image/png;base64," + base64.b64encode(png(heat(confusion, cell=4))).decode()
        picture = f'<img class="heat" alt="confusion matrix of {len(classes)} classes" src="{source}">'
        cards.append(f'<div class="chart"><h3>Confusion: labels down, predictions across</h3>{picture}</div>')
    elif confusion:
        cards.append(_confusion(confusion, classes))
    if evidence.get("calibration"):
        cards.append(_calibration(evidence["calibration"]))
    if cards:
        looked = f"{count(evidence['samples'])} held-out samples, the best weights"
        yield heading("Predictions") + f'<p class="faint">{looked}</p><div class="charts">{"".join(cards)}</div>'
    if evidence.get("worst"):
        yield (
            heading("The samples it is most wrong about")
            + f'<div class="worst">{"".join(map(_worst, evidence["worst"]))}</div>'
        )


def _confusion(confusion: list[list[int]], classes: list[str]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in classes)
    lines = []
    for name, counts in zip(classes, confusion, strict=True):
        total = max(1, sum(counts))
        cells = "".join(f'<td style="--share:{each / total:.3f}">{each if each else ""}</td>' for each in counts)
        lines.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    inner = f'<table class="confusion"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    return (
        f'<div class="chart"><h3>Confusion: labels down, predictions across</h3><div class="scroll">{inner}</div></div>'
    )


def _calibration(bins: list[list[float]]) -> str:
    """Accuracy over confidence, in per cent, beside the line on which both agree."""
    points = [(100 * confidence, 100 * accuracy) for confidence, accuracy, _ in bins]
    total = sum(each[2] for each in bins)
    error = sum(abs(confidence - accuracy) * num for confidence, accuracy, num in bins) / total
    drawn = chart([Series("accuracy", points), Series("as it should be", [(0, 0), (100, 100)])])
    return card(
        "Calibration: accuracy over confidence, %",
        [("calibration error", number(error)), ("as it should be", "")],
        drawn,
    )


def _worst(entry: Mapping[str, Any]) -> str:
    shown = ""
    if entry.get("picture"):
        shown = f'<img alt="sample {entry["sample"]}" src="{escape(entry["picture"], quote=True)}">'
    elif entry.get("text"):
        shown = f"<p>{escape(str(entry['text'])[:300])}</p>"
    row = f"row {count(entry['row'])}" if "row" in entry else f"sample {count(entry['sample'])}"
    return (
        f"<figure>{shown}<figcaption><b>{escape(str(entry['label']))}</b> {number(entry['p_label'])}, taken for "
        f'<b>{escape(str(entry["prediction"]))}</b> {number(entry["p_prediction"])}<br><span class="faint">{row}</span></figcaption></figure>'
    )


def continued(evidence: Mapping[str, Any]) -> Iterator[str]:
    """How a language model goes on with held-out text."""
    texts = evidence.get("texts") or []
    if texts:
        inner = "".join(
            f'<pre><span class="faint">{escape(each["given"])}</span>{escape(each["made"])}</pre>' for each in texts
        )
        yield heading("Held-out text, and how the model goes on") + inner


def origin(provenance: Mapping[str, Any] | None) -> list[tuple[str, str | Html]]:
    """Where a run comes from, as rows of a table."""
    if not provenance:
        return []
    rows: list[tuple[str, str | Html]] = [
        (name, str(provenance[name]))
        for name in ("command", "started", "host", "platform", "cores")
        if provenance.get(name)
    ]
    for split, entry in (provenance.get("data") or {}).items():
        rows.append((f"{split} data", f"{count(entry['samples'])} samples, hash {entry['hash'] or 'not taken'}"))
    rows += [(name, str(value)) for name, value in (provenance.get("environment") or {}).items()]
    return rows
