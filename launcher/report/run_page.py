"""The page of a run, made from its folder alone."""

from __future__ import annotations

import json
import math
import shlex
import threading
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from launcher.artifacts.evidence import read as read_evidence
from launcher.artifacts.files import mapping_of
from launcher.artifacts.folder import CONFIG
from launcher.artifacts.metrics_file import FILE, content, decode
from launcher.artifacts.page import FILE as PAGE
from launcher.artifacts.provenance import read as read_provenance
from launcher.artifacts.result import checked_result
from launcher.config.flatten import flat
from launcher.console.numbers import count, number, rate, size, span, things
from launcher.console.summary import COMMAND, SPEEDS, commands, override, relative
from launcher.errors import ConfigError

from . import fit_section, sections
from .html import about, against, folded, heading, page, table, tiles
from .html import commands as command_list
from .line_chart import Point
from .metric_cards import charts
from .quantities import learned, title_of
from .run_facts import about_run, class_of, data_of, reason_of, spaced


def write(folder: Path) -> Path:
    """Write `report.html` into a run's folder; returns its path.

    What is not there is left out: a run that still goes on has no result, an estimator no curves, a run of several
    fits none of its own. Raises ConfigError for a folder that holds no run, and for a config that is no YAML.
    """
    path = folder / PAGE
    beside = folder / f".{PAGE}.{threading.get_native_id()}"  # two threads of a run may write it
    beside.write_text(compose(folder), encoding="utf-8")
    beside.replace(path)
    return path


def compose(folder: Path) -> str:
    """The page as text."""
    config, result = _config(folder), checked_result(folder)
    curves, provenance, evidence = _curves(folder), read_provenance(folder), read_evidence(folder)
    title, ended = _title(config), result or {}
    objective = (ended.get("objective") or {}).get("name") or _metric(config)
    known = learned(curves)
    fitted = fit_section.fitted(folder, ended)
    rows = [(label, said) for label, said in about_run(config, ended, provenance, fitted) if said]
    body = [
        *_head(title, config, result, folder),
        _tiles(config, ended, curves, folder, fitted),
        '<div class="sides"><div>' + heading("What was run") + about(rows) + "</div><div>",
        *_again(config, result, folder, provenance),
        "</div></div>",
        *fit_section.section(folder, ended, _curves),
    ]
    if drawn := charts(
        {name: curves[name] for name in known}, objective, ended.get("best_step"), ended.get("baseline")
    ):
        body += [heading("How it learned"), drawn]
    body += [*sections.classified(evidence), *sections.foretold(evidence), *sections.continued(evidence)]
    body += sections.attended(evidence)
    body += [*sections.step_time(curves), *sections.machine(curves), *sections.energy(curves)]
    body += [*_values(curves, ended), *_details(config, ended, provenance)]
    return page(title, body)


def _config(folder: Path) -> dict[str, Any]:
    config = mapping_of(folder / CONFIG)
    if config is None:
        raise ConfigError(f"{folder}: no run is here (there is no config.yaml)")
    return config


def _curves(folder: Path) -> dict[str, list[Point]]:
    """The logged values by name, as (step, value). A line that is no record is passed over: the page shows the rest."""
    curves: dict[str, list[Point]] = {}
    try:
        lines = content(folder / FILE).splitlines()
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
    task, model, data = class_of(config.get("task")), class_of(config.get("model")), data_of(config.get("data"))
    return f"{spaced(task)}: {model} on {data}" if task and model and data else "A run"


def _metric(config: dict[str, Any]) -> str:
    return str((config.get("objective") or {}).get("metric") or "objective")


def _head(title: str, config: dict[str, Any], result: dict[str, Any] | None, folder: Path) -> Iterator[str]:
    """What was run, and how it ended."""
    status = str((result or {}).get("status", "no result"))
    tone = {"completed": "good", "stopped": "good", "failed": "bad"}.get(status, "warn")
    yield f'<header><h1>{escape(title)}</h1><p><span class="pill {tone}">{escape(status)}</span>'
    yield f'<span class="faint">{escape(reason_of(result))}</span></p>'
    if config.get("notes"):
        yield f'<p class="lead">{escape(str(config["notes"]))}</p>'
    tags = "".join(f'<span class="tag">{escape(str(tag))}</span>' for tag in config.get("tags") or [])
    yield f'<p class="faint">{tags}{escape(relative(folder))}</p></header>'


def _again(
    config: dict[str, Any], result: dict[str, Any] | None, folder: Path, provenance: dict[str, Any] | None
) -> Iterator[str]:
    """The commands that run it again, and those that go on from it."""
    again = f"{COMMAND} --config-dir {shlex.quote(relative(folder))}" + (" resume=null" if config.get("resume") else "")
    following = commands(result, folder) if result else {"go on": f"{COMMAND} {override('resume', folder)}"}
    following.pop("page", None)
    typed = str((provenance or {}).get("command") or "")
    lines = {"the same again, from this folder": again} | ({"as it was typed": typed} if typed else {}) | following
    yield heading("Run it again") + command_list(lines.items())


def _tiles(
    config: dict[str, Any], result: dict[str, Any], curves: dict[str, list[Point]], folder: Path, fitted: bool
) -> str:
    """The objective, large and beside the baseline; then length, time, size."""
    baseline, value = (
        result.get("baseline") or fit_section.baseline(folder, result),
        (result.get("objective") or {}).get("value"),
    )
    beside = ""
    if baseline and value is not None:
        rows = [("this run", value, number(value)), ("baseline", baseline["value"], number(baseline["value"]))]
        better = "more" if (config.get("objective") or {}).get("direction") == "maximize" else "less"
        beside = against(rows, f"baseline: {baseline['what']}; {better} is better")
    return tiles(_facts(config, result, curves, fitted), beside)


def _facts(
    config: dict[str, Any], result: dict[str, Any], curves: dict[str, list[Point]], fitted: bool
) -> Iterator[tuple[str, str]]:
    wanted, objective = config.get("objective") or {}, result.get("objective") or {}
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
    if steps is not None and not fitted:
        yield ("step" if steps == 1 else "steps"), count(steps)
        if result.get("epochs") is not None:
            yield ("epoch" if result["epochs"] == 1 else "epochs"), count(round(result["epochs"], 2))
    if result.get("wall_s") is not None:
        yield "of training", span(result["wall_s"])
    for key, one in SPEEDS.items():
        if result.get(key) and (key != "steps_per_s" or not fitted):
            words = rate(result[key], one)
            yield words.partition(" ")[2], words.partition(" ")[0]
    if result.get("parameters") is not None:
        trainable = result.get("trainable_parameters")
        part = f", {count(trainable)} trainable" if trainable not in (None, result["parameters"]) else ""
        yield f"parameters{part}", count(result["parameters"])
    if result.get("peak_memory_bytes"):
        yield "of peak memory", size(result["peak_memory_bytes"])
    if curves.get("carbon/energy_wh"):
        yield "of energy", f"{number(curves['carbon/energy_wh'][-1][1])} Wh"
    if result.get("world_size", 1) > 1:
        yield "ranks", str(result["world_size"])


def _values(curves: dict[str, list[Point]], result: dict[str, Any]) -> Iterator[str]:
    """Every value: where it ended and its extremes; without curves, what the result holds. Those of the machine are folded."""
    std = result.get("std") or {}
    if not any(len(points) > 1 for points in curves.values()):
        metrics = result.get("metrics") or {name: points[-1][1] for name, points in curves.items()}
        rows = [
            (title_of(name), name, number(value) + (f" ± {number(std[name])}" if name in std else ""))
            for name, value in sorted(metrics.items(), key=lambda entry: (not entry[0].startswith("val/"), entry[0]))
            if isinstance(value, int | float)
        ]
        if rows:
            yield heading("Values") + table(("", "name", "value"), rows, numeric=frozenset({2}))
        return
    head = ("", "name", "last", "lowest", "at step", "highest", "at step")
    names, numeric = learned(curves), frozenset(range(2, 7))
    yield heading("Values") + table(head, [_extremes(name, curves[name]) for name in sorted(names)], numeric=numeric)
    others = [_extremes(name, curves[name]) for name in sorted(curves) if name not in names]
    if others:
        yield folded("Values of the machine", table(head, others, numeric=numeric))


def _extremes(name: str, points: list[Point]) -> tuple[str, ...]:
    finite = [point for point in points if math.isfinite(point[1])]
    if not finite:
        return (title_of(name), name, number(points[-1][1]), "–", "–", "–", "–")
    low, high = min(finite, key=lambda point: point[1]), max(finite, key=lambda point: point[1])
    return (
        title_of(name), name, number(points[-1][1]), number(low[1]), count(low[0]), number(high[1]), count(high[0])
    )  # fmt: skip


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
