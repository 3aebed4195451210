"""What differs between runs: in their configs, their origins, their curves and their results."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.artifacts.files import mapping_of
from launcher.artifacts.folder import CONFIG
from launcher.artifacts.metrics_file import FILE, read
from launcher.artifacts.page import FILE as PAGE
from launcher.artifacts.provenance import read as read_provenance
from launcher.artifacts.result import checked_result
from launcher.config.flatten import flat
from launcher.console.numbers import count, number, size, span, things
from launcher.errors import ConfigError

from .html import LINES, Html, card, folded, heading, link, page, table
from .line_chart import Point, Series, chart
from .metric_cards import is_constant, scaled
from .quantities import learned, quantity_of, title_of, unit_of

NAME = "comparison.html"
IGNORED = ("format", "action", "run", "runs", "resume")
"""Keys of a config that say nothing of the run."""

Rows = list[list[str]]


@dataclass
class Seen:
    """A run as its folder has it."""

    name: str
    folder: Path
    config: dict[str, str]
    result: dict[str, Any]
    origin: dict[str, str]
    curves: dict[str, list[Point]]


def folders_of(named: Sequence[str]) -> list[Path]:
    """The folders of runs, and in place of a sweep's folder those of its trials. Raises ConfigError."""
    found: list[Path] = []
    for name in named:
        folder = Path(name)
        if (folder / CONFIG).is_file():
            found.append(folder)
            continue
        inside = [path.parent for path in folder.glob(f"*/{CONFIG}")]
        if not inside:
            raise ConfigError(f"runs: {folder}: no run is here, and no sweep (there is no config.yaml)")
        found += sorted(inside, key=lambda path: (len(path.name), path.name))
    if len(found) < 2:
        raise ConfigError(f"runs: {len(found)} run to compare; at least two are wanted, as in runs=[a,b]")
    return found


def look(folders: Sequence[Path]) -> list[Seen]:
    """Read the runs; each gets the shortest end of its path that tells it from the others."""
    depth = 1
    while depth < 6 and len({folder.absolute().parts[-depth:] for folder in folders}) < len(folders):
        depth += 1
    return [_look(folder, "/".join(folder.absolute().parts[-depth:])) for folder in folders]


def _look(folder: Path, name: str) -> Seen:
    config = mapping_of(folder / CONFIG) or {}
    plain = {key: _text(value) for key, value in flat(config) if key.split(".")[0] not in IGNORED}
    result = checked_result(folder) or {}
    try:
        records = read(folder / FILE)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    curves: dict[str, list[Point]] = {}
    for record in records:
        for key, value in record.items():
            if key not in ("step", "epoch", "time_s"):
                curves.setdefault(key, []).append((float(record["step"]), float(value)))
    return Seen(name, folder, plain, result, _origin(folder, result), curves)


def _origin(folder: Path, result: dict[str, Any]) -> dict[str, str]:
    provenance = read_provenance(folder) or {}
    git = provenance.get("git") or result.get("git") or {}
    commit = f"{git['commit'][:12]}{' with changes' if git.get('dirty') else ''}" if git.get("commit") else "–"
    found = {"git": commit, "host": str(provenance.get("host", "–")), "python": str(provenance.get("python", "–"))}
    for split, entry in (provenance.get("data") or {}).items():
        found[f"{split} data"] = f"{entry['samples']} samples, {entry['hash']}"
    found |= {f"package {name}": str(version) for name, version in (provenance.get("packages") or {}).items()}
    return found | {f"${name}": str(value) for name, value in (provenance.get("environment") or {}).items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def differing(columns: Sequence[dict[str, str]]) -> Rows:
    """The keys whose values are not all the same, each with its values; one that a run lacks is "–".

    An object that some have and others lack is one row, which says what it is.
    """
    keys = dict.fromkeys(key for column in columns for key in column)
    rows = [[key, *(column.get(key, "–") for column in columns)] for key in keys]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    targets = [row for row in rows if row[0].endswith("._target_") and "–" in row[1:]]
    nodes = {row[0].removesuffix("._target_"): row for row in targets}
    kept = []
    for row in rows:
        node = next((each for each in nodes if row[0].startswith(f"{each}.")), None)
        if node is None:
            # An empty group is not worth a row beside those of what others have in it.
            if not (set(row[1:]) == {"–", "{}"} and any(each.startswith(f"{row[0]}.") for each in nodes)):
                kept.append(row)
        elif row is nodes[node]:
            kept.append([node, *(cell.rpartition(".")[2] for cell in row[1:])])
    return kept


def results(runs: Sequence[Seen]) -> Rows:
    """How each run ended and what it reached: the objective first, its best value marked where they were judged on the same samples, then what they measured."""
    rows = [["status", *(str(run.result.get("status", "no result")) for run in runs)]]
    objectives = [run.result.get("objective") or {} for run in runs]
    metrics = list(dict.fromkeys(str(each["name"]) for each in objectives if each.get("name")))
    found = dict.fromkeys(key for run in runs for key in run.result.get("metrics") or {})
    others = [key for key in found if key.startswith(("val/", "test/", "train/"))]
    for name in [
        *metrics,
        *(key for key in sorted(others, key=lambda key: key.startswith("train/")) if key not in metrics),
    ]:
        values = [
            (own.get("value") if own.get("name") == name else (run.result.get("metrics") or {}).get(name))
            for run, own in zip(runs, objectives, strict=True)
        ]
        texts = ["–" if value is None else number(float(value)) for value in values]
        finite = [float(value) for value in values if value is not None and math.isfinite(float(value))]
        directions = {str(own.get("direction")) for own in objectives if own.get("name") == name}
        judged = [run for run, value in zip(runs, values, strict=True) if value is not None]
        if len(directions) == 1 and finite and judged_alike(judged):
            best = (max if directions == {"maximize"} else min)(finite)
            texts = [f"{text} *" if value == best else text for text, value in zip(texts, values, strict=True)]
        rows.append([name, *texts])
        baselines = [
            run.result.get("baseline") if own.get("name") == name else None
            for run, own in zip(runs, objectives, strict=True)
        ]
        if any(baselines):
            rows.append(["baseline", *("–" if each is None else number(float(each["value"])) for each in baselines)])
    for key, told in (
        ("best_step", count),
        ("steps", count),
        ("wall_s", span),
        ("steps_per_s", number),
        ("parameters", count),
        ("peak_memory_bytes", size),
    ):
        own_values = [run.result.get(key) for run in runs]
        if any(value is not None for value in own_values):
            rows.append([key, *("–" if value is None else told(float(value)) for value in own_values)])
    return rows


def judged_alike(runs: Sequence[Seen]) -> bool:
    """Whether values of the runs can be held against each other: whether they are of the same held-out samples.

    Of a run whose folder does not know the hash of these, as one of several fits, it is where its data come from.
    """
    hashes = [run.origin.get("val data") for run in runs]
    if all(hashes):
        return len(set(hashes)) == 1
    return len({tuple((key, run.config[key]) for key in sorted(run.config) if _of_data(key)) for run in runs}) == 1


def _of_data(key: str) -> bool:
    return key.split(".")[0] in ("data", "validation") or key == "task._target_"


def starred(runs: Sequence[Seen]) -> str:
    """What the star of the results means, or why there is none."""
    alike = judged_alike(runs)
    return (
        "* the best of them"
        if alike
        else "none is marked as the best: they were not judged on the same held-out samples"
    )


def taken(runs: Sequence[Seen]) -> Rows:
    """What the machine did for each run, and what monitors saw, at their last lines."""
    names = dict.fromkeys(
        name for run in runs for name in run.curves if not name.startswith(("val/", "train/", "test/"))
    )
    rows = []
    for name in names:
        unit = unit_of(name)
        values = [
            scaled(run.curves[name][-1:], quantity_of(name).scale)[0][1] if run.curves.get(name) else None
            for run in runs
        ]
        rows.append(
            [
                title_of(name) + (f", {unit}" if unit else ""),
                *("–" if value is None else number(value) for value in values),
            ]
        )
    return rows


def charts(runs: Sequence[Seen]) -> Iterator[str]:
    """A drawing for each quantity that at least two of the first six runs logged, a line a run: of the machine none."""
    shown = runs[:LINES]
    names = dict.fromkeys(name for run in shown for name in run.curves)
    for name in sorted(learned(names), key=lambda each: (not each.startswith(("val/", "train/")), each)):
        having = [run for run in shown if len(run.curves.get(name, ())) > 1]
        if len(having) > 1 and not all(is_constant(name, run.curves[name]) for run in having):
            lines = [Series(run.name, run.curves.get(name, [])) for run in shown]
            legend = [(run.name, number(run.curves[name][-1][1]) if run.curves.get(name) else "–") for run in shown]
            title = title_of(name)
            yield card(title, legend, chart(lines, title=title), name if title != name else "")


def write(runs: Sequence[Seen], path: Path) -> Path:
    """Write the page of a comparison; returns its path."""
    import os

    head = ["", *(run.name for run in runs)]
    numeric = frozenset(range(1, len(head)))
    pages = [(run, run.folder / PAGE) for run in runs]
    links: list[str | Html] = [
        link(run.name, os.path.relpath(report, path.parent)) if report.is_file() else run.name for run, report in pages
    ]
    body = [f"<header><h1>{len(runs)} runs compared</h1></header>", heading("Results")]
    body.append(table(["", *links], [_spoken(row) for row in results(runs)], numeric=numeric))
    body.append(f'<p class="faint">{starred(runs)}</p>')
    config, origin = differing([run.config for run in runs]), differing([run.origin for run in runs])
    body.append(heading("What differs in their configs"))
    body.append(table(head, config) if config else '<p class="faint">nothing</p>')
    body.append(heading("What differs in where they come from"))
    packages = [row for row in origin if row[0].startswith("package ")]
    others = [row for row in origin if row not in packages]
    body.append(table(head, others) if others else "" if packages else '<p class="faint">nothing</p>')
    if packages:
        body.append(folded(f"{things(len(packages), 'package')} of other versions", table(head, packages)))
    drawn = list(charts(runs))
    if drawn:
        left = f'<p class="faint">the first {LINES} of {len(runs)} runs</p>' if len(runs) > LINES else ""
        body.append(heading("How they learned") + left + f'<div class="charts">{"".join(drawn)}</div>')
    if rows := taken(runs):
        body.append(
            heading("Details")
            + folded("What they logged besides, at their last lines", table(head, rows, numeric=numeric))
        )
    path.write_text(page(f"{len(runs)} runs compared", body), encoding="utf-8")
    return path


SPOKEN = {
    "best_step": "best at step",
    "wall_s": "time of training",
    "steps_per_s": "steps a second",
    "peak_memory_bytes": "peak memory",
}


def _spoken(row: list[str]) -> list[str]:
    """A row of results with its name in words."""
    name = row[0]
    return [SPOKEN.get(name, title_of(name) if "/" in name else name), *row[1:]]
