"""The parts of a run's page that show what it did with its time and its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from launcher.console.numbers import count, number, things
from launcher.functional.images import data_uri, heat

from .html import Html, about, card, heading, table
from .line_chart import Point, Series, chart
from .metric_cards import charts
from .quantities import ENERGY, is_machine

PARTS = ("data", "forward", "backward", "communication", "optimizer")
WIDE = 1080
"""Of a drawing that takes a row of its own."""
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
    said = [(part, f"{number(value)} ms", f"{100 * value / whole:.1f}%") for part, value in means.items()]
    drawn = f'<div class="split" role="img" aria-label="{escape("; ".join(" ".join(row) for row in said), quote=True)}">{bars}</div>'
    rows = [
        (Html(f'<i class="key s{index}"></i>{escape(part)}'), SPOKEN.get(part, ""), mean, part_of)
        for index, (part, mean, part_of) in enumerate(said)
    ]
    told = table(("", "", "mean", "share"), [*rows, ("step", "", f"{number(whole)} ms", "")], numeric=frozenset({2, 3}))
    yield heading("Where a step's time goes") + f'<div class="card">{drawn}{told}</div>'


SPOKEN = {
    "data": "waiting for the next batch, and its way to the device",
    "communication": "exchange of gradients that the backward pass does not hide",
    "optimizer": "with clipping and the schedule",
}


def _late_mean(points: Sequence[Point]) -> float:
    late = [value for _, value in points[len(points) // 2 :]]
    return sum(late) / len(late)


def machine(curves: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    """What the run took of its machine, and what its processes sent each other."""
    if drawn := charts({name: points for name, points in curves.items() if is_machine(name)}):
        yield heading("The machine") + drawn


def energy(curves: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    """Energy and CO2 of the whole run and of a sample."""
    last = {name: points[-1][1] for name, points in curves.items() if name.startswith(ENERGY) and points}
    if "carbon/energy_wh" not in last:
        return
    rows = [("energy", f"{number(last['carbon/energy_wh'])} Wh")]
    if "carbon/co2_g" in last:
        rows.append(("CO₂ equivalent", f"{number(last['carbon/co2_g'])} g"))
    if last.get("carbon/mwh_per_sample"):
        rows.append(("a training sample", f"{number(last['carbon/mwh_per_sample'])} mWh"))
    if "carbon/measured" in last:
        counter = last["carbon/measured"]
        rows.append(("how it is known", "read from the processor's own counters" if counter else ESTIMATED))
    names = ("carbon/energy_wh", "carbon/co2_g", "carbon/mwh_per_sample")
    drawn = charts({name: curves[name] for name in names if name in curves})
    yield heading("Energy") + about(rows) + (f'<div class="gap"></div>{drawn}' if drawn else "")


ESTIMATED = "estimated from the load and the maker's number for the processor: no counter can be read here"


def classified(evidence: Mapping[str, Any]) -> Iterator[str]:
    """A classifier's confusion, calibration and worst samples."""
    confusion, classes = evidence.get("confusion"), evidence.get("classes") or []
    cards = []
    if confusion and len(classes) > SHOWN_CLASSES:
        source = data_uri(heat(confusion, cell=4))
        picture = f'<img class="heat" alt="Labels and predictions: confusion matrix of {len(classes)} classes" src="{source}">'
        said = '<p class="legend">a row a label, a column a prediction; darker is more</p>'
        cards.append(f'<div class="chart"><h3>Labels and predictions</h3>{said}{picture}</div>')
    elif confusion:
        cards.append(_confusion(confusion, classes))
    if evidence.get("calibration"):
        cards.append(_calibration(evidence["calibration"]))
    if cards:
        looked = f"{count(evidence['samples'])} held-out samples, seen by {_weights(evidence)}"
        yield heading("What it predicts") + f'<p class="faint">{looked}</p><div class="charts">{"".join(cards)}</div>'
    if evidence.get("worst"):
        texts = " texts" if any(entry.get("text") for entry in evidence["worst"]) else ""
        yield heading("What it is most wrong about")
        yield f'<div class="worst{texts}">{"".join(map(_worst, evidence["worst"]))}</div>'


def _weights(evidence: Mapping[str, Any]) -> str:
    return f"the weights of step {count(evidence['step'])}" if "step" in evidence else "the best weights"


def _confusion(confusion: list[list[int]], classes: list[str]) -> str:
    """Counts as a table, each cell as dark as its share of the label's samples; mistakes in another colour."""
    axis = f'<tr><th></th><th class="axis" colspan="{len(classes)}">predicted →</th></tr>'
    head = axis + "<tr><th>label ↓</th>" + "".join(map(_class_above, classes)) + "</tr>"
    lines = []
    for row, (name, counts) in enumerate(zip(classes, confusion, strict=True)):
        total = sum(counts) or 1
        cells = "".join(
            f'<td{_off(row, column, each)} style="--share:{each / total:.3f}">{each or ""}</td>'
            for column, each in enumerate(counts)
        )
        lines.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    inner = f'<table class="confusion"><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table>'
    return f'<div class="chart"><h3>Labels and predictions</h3><div class="scroll">{inner}</div></div>'


def _class_above(name: str) -> str:
    """A class's name above its column; a long one stands upright."""
    return f"<th>{escape(name)}</th>" if len(name) <= 3 else f'<th class="tall"><span>{escape(name)}</span></th>'


def _off(row: int, column: int, each: int) -> str:
    return ' class="off"' if each and row != column else ""


def _calibration(bins: list[list[float]]) -> str:
    """Accuracy over confidence, in per cent, beside the line on which both agree; a dot is as large as its samples are many."""
    points = [(100 * confidence, 100 * accuracy) for confidence, accuracy, _ in bins]
    total = sum(each[2] for each in bins)
    error = sum(abs(confidence - accuracy) * num for confidence, accuracy, num in bins) / total
    sizes = [2 + 8 * (each[2] / total) ** 0.5 for each in bins]
    even = Series("as sure as it is right", [(0, 0), (100, 100)], "dashed")
    title = "How sure it is, and how often right"
    drawn = chart(
        [Series("right", points, "dots", sizes), even], across="how sure it is, %", unit="right, %", title=title
    )
    return card(title, [("calibration error", number(error))], drawn, dashed=even.name)


def _worst(entry: Mapping[str, Any]) -> str:
    shown = ""
    if entry.get("picture"):
        shown = f'<img alt="sample {entry["sample"]}" src="{escape(entry["picture"], quote=True)}">'
    elif entry.get("text"):
        shown = f"<pre>{escape(str(entry['text'])[:300])}</pre>"
    row = f"row {count(entry['row'])}" if "row" in entry else f"sample {count(entry['sample'])}"
    label, taken = escape(str(entry["label"])), escape(str(entry["prediction"]))
    sure, given = percent(entry["p_prediction"]), percent(entry["p_label"])
    if entry["label"] == entry["prediction"]:
        said = f'<span class="good">right</span>: <b>{label}</b>, but only {given} sure'
    else:
        said = f'<b>{label}</b> taken for <b class="bad">{taken}</b>: {sure} sure of it, {given} of {label}'
    return f'<figure>{shown}<figcaption>{said}<br><span class="faint">{row}</span></figcaption></figure>'


def foretold(evidence: Mapping[str, Any]) -> Iterator[str]:
    """Quantities beside what was predicted: over time where they have an order, else one over the other."""
    found = evidence.get("quantities")
    if not found:
        return
    label, prediction = found["label"], found["prediction"]
    if found.get("ordered"):
        first = found.get("first", 0)
        lines = [
            Series(name, [(float(first + index), value) for index, value in enumerate(values)])
            for name, values in (("what came", label), ("foretold", prediction))
        ]
        title = "Foretold and what came"
        drawing = chart(lines, across="held-out row", log_up=False, width=WIDE, title=title)
        drawing = f'<div class="scroll">{drawing}</div>'
        drawn = card(title, [(line.name, "") for line in lines], drawing)
        yield heading("What it predicts") + f'<div class="wide">{drawn}</div>'
        return
    points = list(zip(label, prediction, strict=True))
    low, high = min(*label, *prediction), max(*label, *prediction)
    even = Series("all would lie here", [(low, low), (high, high)], "dashed")
    title, said_up = "Predictions over truth", "what is predicted"
    dots = Series("prediction", points, "dots")
    drawn = chart([dots, even], across="what it is", unit=said_up, log_up=False, title=title)
    said = f"{count(len(points))} held-out samples, seen by {_weights(evidence)}"
    yield heading("What it predicts") + f'<p class="faint">{said}</p>'
    yield f'<div class="charts">{card(title, [("a held-out sample", "")], drawn, dashed=even.name)}</div>'


def continued(evidence: Mapping[str, Any]) -> Iterator[str]:
    """How a language model goes on with held-out text."""
    texts = evidence.get("texts") or []
    if texts:
        inner = "".join(
            f'<pre><span class="faint">{escape(each["given"])}</span><span class="made">{escape(_seen(each["made"]))}</span></pre>'
            for each in texts
        )
        said = '<p class="faint">Held-out text, and <span class="made">how the model goes on</span> with it, always taking the likeliest.</p>'
        yield heading("What it writes") + said + inner


def _seen(text: str) -> str:
    """Text that a reader sees: nothing but blanks is said in words."""
    return text if text.strip() else f"[{things(len(text), 'blank')}]" if text else "[nothing]"


def attended(evidence: Mapping[str, Any]) -> Iterator[str]:
    """What the model looks at: the weights of its attention on one held-out sample, a picture a layer."""
    layers = evidence.get("attention") or []
    if not layers:
        return
    cards = [
        f'<div class="chart"><h3>Layer {index} of {len(layers)}</h3><p class="legend">a row looks, a column is looked at; the mean over the heads</p>'
        f'<img class="heat" alt="Layer {index} of {len(layers)}: attention" src="{escape(picture, quote=True)}"></div>'
        for index, picture in enumerate(layers, start=1)
    ]
    yield (
        heading("What it looks at")
        + '<p class="faint">The attention over the first held-out sample; the largest weight of a row is dark, the smallest of the layer are pale, logarithms between; what is not looked at is white.</p>'
    )
    yield f'<div class="charts">{"".join(cards)}</div>'


def percent(part: float) -> str:
    """A probability as a person says it."""
    return f"{100 * part:.0f}%" if 0.005 <= part <= 0.995 or part in (0, 1) else ("<1%" if part < 0.5 else ">99%")


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
