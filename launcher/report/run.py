"""The page of a run, made from its folder alone."""

from __future__ import annotations

import json
import math
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher.errors import ConfigError
from launcher.evidence import read as read_evidence
from launcher.figures import count, number, rate, size, span, things
from launcher.flat import flat
from launcher.provenance import read as read_provenance
from launcher.trackers.jsonl import FILE, decode
from launcher.wording import COMMAND, SPEEDS, commands, override, relative

from . import sections
from .curves import Point, Series, chart
from .page import LINES, card, code, folded, heading, link, page, table, tiles

NAME = "report.html"
SPLITS = ("train", "val", "test")


def write(folder: Path) -> Path:
    """Write `report.html` into a run's folder; returns its path.

    What is not there is left out: a run that still goes on has no result, an estimator no curves, a run of several
    fits none of its own. Raises ConfigError for a folder that holds no run, and for a config that is no YAML.
    """
    path = folder / NAME
    beside = folder / f".{NAME}.{threading.get_native_id()}"  # two threads of a run may write it
    beside.write_text(compose(folder), encoding="utf-8")
    beside.replace(path)
    return path


def compose(folder: Path) -> str:
    """The page as text."""
    config, result = _config(folder), _result(folder)
    curves = _curves(folder)
    title = _title(config)
    body = [
        *_head(title, config, result, curves, folder),
        *_fits(folder, result or {}),
    ]
    learned = {name: points for name, points in curves.items() if not name.startswith(sections.WATCHED)}
    if drawn := _charts(learned, config, result or {}):
        body += [heading("Curves over steps"), drawn]
    evidence = read_evidence(folder)
    body += [*sections.classified(evidence), *sections.continued(evidence), *sections.step_time(curves)]
    watched = {name: points for name, points in curves.items() if name not in learned}
    if drawn := _charts(watched, config, result or {}):
        body += [
            heading("The machine"),
            folded(f"{things(len(watched), 'curve')} of time, memory, work and energy", drawn),
        ]
    body += [*_values(curves, result or {}), *_details(config, result or {}, read_provenance(folder))]
    return page(title, body)


def _config(folder: Path) -> dict[str, Any]:
    import yaml

    try:
        text = (folder / "config.yaml").read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: no run is here (config.yaml: {error.strerror})") from None
    try:
        config = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ConfigError(f"{folder / 'config.yaml'}: {error}") from error
    return config if isinstance(config, dict) else {}


def _result(folder: Path) -> dict[str, Any] | None:
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def _curves(folder: Path) -> dict[str, list[Point]]:
    """The logged values by name, as (step, value). A line that is no record is passed over: the page shows the rest."""
    curves: dict[str, list[Point]] = {}
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except OSError:
        return curves
    for line in lines:
        try:
            record = decode(line)
            step = float(record.pop("step"))
        except (ValueError, KeyError, TypeError):
            continue
        for name, value in record.items():
            if name not in ("epoch", "time_s") and isinstance(value, int | float):
                curves.setdefault(name, []).append((step, float(value)))
    return curves


def _title(config: dict[str, Any]) -> str:
    if config.get("name"):
        return str(config["name"])
    task, model, data = (
        str((config.get(group) or {}).get("_target_", "")).rpartition(".")[2] for group in ("task", "model", "data")
    )
    return f"{task}: {model} on {data}" if task and model and data else "A run"


def _metric(config: dict[str, Any]) -> str:
    return str((config.get("objective") or {}).get("metric") or "objective")


def _head(
    title: str, config: dict[str, Any], result: dict[str, Any] | None, curves: dict[str, list[Point]], folder: Path
) -> Iterator[str]:
    """What was run, how it ended, what it reached, and the commands."""
    from html import escape

    status = str((result or {}).get("status", "no result"))
    reason = str((result or {}).get("reason") or ("" if result else "the run goes on, or was killed"))
    tone = {"completed": "good", "stopped": "good", "failed": "bad"}.get(status, "warn")
    yield f'<header><h1>{escape(title)}</h1><p><span class="pill {tone}">{escape(status)}</span><span class="faint">{escape(reason)}</span></p>'
    tags = ", ".join(map(str, config.get("tags") or []))
    yield f'<p class="faint">{escape(relative(folder))}{" · " + escape(tags) if tags else ""}</p></header>'
    yield tiles(_facts(config, result, curves))
    again = f"{COMMAND} --config-dir {shlex.quote(relative(folder))}" + (" resume=null" if config.get("resume") else "")
    following = commands(result, folder) if result else {"go on": f"{COMMAND} {override('resume', folder)}"}
    following.pop("page", None)
    lines = {"the same again": again} | following
    yield heading("Commands") + code("\n".join(f"{command}  # {label}" for label, command in lines.items()))


def _facts(
    config: dict[str, Any], result: dict[str, Any] | None, curves: dict[str, list[Point]]
) -> Iterator[tuple[str, str]]:
    """The tiles: the objective first, then length, time, size."""
    result = result or {}
    wanted = config.get("objective") or {}
    objective = result.get("objective") or {}
    name = objective.get("name") or _metric(config)
    value, spread = objective.get("value"), (result.get("std") or {}).get(name)
    if value is None and name in curves:
        pick = max if wanted.get("direction") == "maximize" else min
        value = pick((y for _, y in curves[name] if math.isfinite(y)), default=None)
    best = result.get("best_step")
    label = f"{name}, best at step {count(best)}" if best is not None and (result.get("steps") or 0) > 1 else str(name)
    if "fits" in result:
        label = f"{name}, mean of {things(len(result['fits']), 'fit')}"
    yield label, "–" if value is None else number(value) + (f" ± {number(spread)}" if spread is not None else "")
    last = max((points[-1][0] for points in curves.values()), default=None)
    steps = result.get("steps", last)
    if steps is not None:
        yield ("step" if steps == 1 else "steps"), count(steps)
    if result.get("epochs") is not None:
        yield ("epoch" if result["epochs"] == 1 else "epochs"), count(round(result["epochs"], 2))
    if result.get("wall_s") is not None:
        yield "of training", span(result["wall_s"])
    for key, one in SPEEDS.items():
        if result.get(key):
            words = rate(result[key], one)
            yield words.partition(" ")[2], words.partition(" ")[0]
    if result.get("parameters") is not None:
        trainable = result.get("trainable_parameters")
        part = f", {count(trainable)} trainable" if trainable not in (None, result["parameters"]) else ""
        yield f"parameters{part}", count(result["parameters"])
    if result.get("peak_memory_bytes"):
        yield "of memory at most", size(result["peak_memory_bytes"])
    if curves.get("carbon/energy_wh"):
        carbon = curves.get("carbon/co2_g")
        label = f"of energy, {number(carbon[-1][1])} g of CO2" if carbon else "of energy"
        yield label, f"{number(curves['carbon/energy_wh'][-1][1])} Wh"
    if result.get("world_size", 1) > 1:
        yield "ranks", str(result["world_size"])
    yield "seed", str(config.get("seed", result.get("seed", "–")))


def _charts(curves: dict[str, list[Point]], config: dict[str, Any], result: dict[str, Any]) -> str:
    """A drawing for each quantity, the splits of one together: loss, the objective, what is validated, the rest."""
    objective = (result.get("objective") or {}).get("name") or _metric(config)
    groups: dict[str, list[str]] = {}
    for name in curves:
        split, slash, rest = name.partition("/")
        groups.setdefault(rest if slash and split in SPLITS else name, []).append(name)

    def order(group: str) -> tuple[int, str]:
        names = groups[group]
        kinds = (
            group == "loss",
            objective in names,
            any(name.startswith(("val/", "test/")) for name in names),
            group == "lr",
            "norm" in group,
        )
        return (kinds.index(True) if True in kinds else len(kinds), group)

    cards = []
    for group in sorted(groups, key=order):
        names = sorted(
            groups[group], key=lambda name: name.partition("/")[0] not in SPLITS or SPLITS.index(name.partition("/")[0])
        )[:LINES]
        if all(len(curves[name]) < 2 for name in names):
            continue
        mark = None
        if objective in names and result.get("best_step") is not None:
            mark = next((point for point in curves[objective] if point[0] == result["best_step"]), None)
        legend = [(name.partition("/")[0] if len(names) > 1 else "last", number(curves[name][-1][1])) for name in names]
        cards.append(
            card(
                names[0] if len(names) == 1 else group,
                legend,
                chart([Series(name, curves[name]) for name in names], mark),
            )
        )
    return f'<div class="charts">{"".join(cards)}</div>' if cards else ""


def _values(curves: dict[str, list[Point]], result: dict[str, Any]) -> Iterator[str]:
    """Every value: where it ended and its extremes; without curves, what the result holds."""
    std = result.get("std") or {}
    if not any(len(points) > 1 for points in curves.values()):
        metrics = result.get("metrics") or {name: points[-1][1] for name, points in curves.items()}
        rows = [
            (name, number(value) + (f" ± {number(std[name])}" if name in std else ""))
            for name, value in sorted(metrics.items())
            if isinstance(value, int | float)
        ]
        if rows:
            yield heading("Values") + table(("", "value"), rows, numeric=frozenset({1}))
        return
    lines = []
    for name, points in sorted(curves.items()):
        finite = [point for point in points if math.isfinite(point[1])]
        if finite:
            low, high = min(finite, key=lambda point: point[1]), max(finite, key=lambda point: point[1])
            lines.append((name, number(points[-1][1]), number(low[1]), count(low[0]), number(high[1]), count(high[0])))
        else:
            lines.append((name, number(points[-1][1]), "–", "–", "–", "–"))
    yield heading("Values") + table(
        ("", "last", "lowest", "at step", "highest", "at step"), lines, numeric=frozenset(range(1, 6))
    )


def _fits(folder: Path, result: dict[str, Any]) -> Iterator[str]:
    """The fits of a procedure, each with its own page where it has one."""
    fits = result.get("fits")
    if not isinstance(fits, list):
        return
    rows = []
    for fit in fits:
        name, value = str(fit.get("name", "")), fit.get("objective")
        has_page = (folder / name / NAME).is_file()
        rows.append(
            (
                link(name, f"{name}/{NAME}") if has_page else name,
                "–" if value is None else number(value),
                str(fit.get("status", "")),
                str(fit.get("seed", "")),
            )
        )
    objective = (result.get("objective") or {}).get("name", "objective")
    yield heading("Fits") + table(("fit", str(objective), "status", "seed"), rows, numeric=frozenset({1}))


def _details(config: dict[str, Any], result: dict[str, Any], provenance: dict[str, Any] | None) -> Iterator[str]:
    """What most readers leave folded: the config, and what it ran on."""
    yield heading("Details") + folded("Config", table((), list(_flat(config))))
    git = result.get("git") or {}
    ran = [(name, str(version)) for name, version in (result.get("versions") or {}).items()]
    if git.get("commit"):
        ran.append(("git", f"{git['commit']}{' with changes' if git.get('dirty') else ''}"))
    if ran:
        yield folded("Versions", table((), ran))
    origin = sections.origin(provenance)
    if origin:
        yield folded("Where it comes from", table((), origin))
    packages = (provenance or {}).get("packages")
    if packages:
        yield folded("Packages", table((), [(name, str(number)) for name, number in packages.items()]))


def _flat(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A nested config as (dotted key, value as YAML has it)."""
    for key, value in flat(config):
        yield key, value if isinstance(value, str) else json.dumps(value, default=str)
