"""The page of a sweep, made from its study and its folder."""

from __future__ import annotations

import csv
import os
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.artifacts.files import damaged, object_of, text_of
from launcher.artifacts.folder import MODEL
from launcher.artifacts.log_file import FILE as LOG
from launcher.artifacts.page import FILE as PAGE
from launcher.artifacts.predictions import unsafe
from launcher.artifacts.result import RESULT, read_result
from launcher.artifacts.sweep import ENSEMBLE, FACTS, TRIALS
from launcher.console.numbers import count, number, share, span, things
from launcher.console.summary import COMMAND, override, relative

from . import optuna_plots, timeline
from .html import Html, against, folded, heading, link, page, table, tiles
from .html import commands as command_list

if TYPE_CHECKING:
    from optuna.study import Study

"""What makes the sweep the one that it is."""
"""What the model is made of that a search has put together of its best trials."""
"""What a trial printed, which is where its number leads to when it has no page."""
SHOWN = 100
"""So many trials are listed, the best first."""

Row = dict[str, str]


def write(study: Study, folder: Path, facts: Mapping[str, Any], rungs: Sequence[int] = ()) -> Path:
    """Write `report.html` into a sweep's folder, which has its trials.csv; returns its path.

    `facts` are those of sweep.json; `rungs` where trials are judged, in the pruner's unit.
    """
    path = folder / PAGE
    beside = folder / f".{PAGE}.{os.getpid()}"  # two drivers may write it
    beside.write_text(compose(study, folder, facts, rungs), encoding="utf-8")
    beside.replace(path)
    return path


def compose(study: Study, folder: Path, facts: Mapping[str, Any], rungs: Sequence[int]) -> str:
    """The page as text."""
    rows = _rows(folder)
    states = {int(row["number"]): row["state"] for row in rows}
    found = timeline.stints(folder, study.get_trials(deepcopy=False), states)
    names = list(study.metric_names or ["value"])
    columns = ["value"] if len(names) == 1 else names
    ordered = _ordered(rows, columns[0], study.directions[0].name == "MAXIMIZE")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's drawings call themselves experimental
        drawn = list(optuna_plots.section(list(optuna_plots.drawings(study, rungs, found))))
    best = _best(study) if "completed" in states.values() else []
    body = [
        *_head(folder, names, ordered, columns, best, found),
        *_ensemble(folder),
        *drawn,
        *_trials(folder, ordered, columns, names, best, found),
        *_details(facts),
    ]
    return page(f"Sweep {folder.name}", body)


def _best(study: Study) -> list[int]:
    """The best trials, or those on the front: first the one that the command calls the best, by the first objective."""
    sign = -1 if study.directions[0].name == "MAXIMIZE" else 1
    return [each.number for each in sorted(study.best_trials, key=lambda each: (sign * each.values[0], each.number))]


def facts_of(folder: Path) -> dict[str, Any] | None:
    """What sweep.json says of the sweep in a folder; None where there is none. Raises ConfigError for one that is damaged."""
    then = "take it away, and the sweep's own command writes it anew"
    facts = object_of(folder / FACTS, then)
    if facts is None:
        return None
    for key, kind in _FORM.items():
        if key not in facts or not isinstance(facts[key], kind):
            raise damaged(folder / FACTS, f"{key!r} is {'of another kind' if key in facts else 'missing'}", then)
    return facts


_FORM: dict[str, Any] = {"space": dict, "config": dict, "metrics": list, "storage": (str, type(None))}
"""What every sweep.json has, and of what kind it is."""


def _rows(folder: Path) -> list[Row]:
    then = "take it away, and the sweep's own command writes it anew"
    text = text_of(folder / TRIALS, then)
    if text is None:
        return []
    rows = list(csv.DictReader(text.splitlines()))
    whole = all((row.get("number") or "").isdecimal() and row.get("state") for row in rows)
    if not rows or not whole or any(None in row or None in row.values() for row in rows):
        raise damaged(folder / TRIALS, "no table of trials", then)
    return [{unsafe(name): unsafe(cell) for name, cell in row.items()} for row in rows]


def _ordered(rows: Sequence[Row], column: str, maximize: bool) -> list[Row]:
    """Those that came to their end first, then those with a value, of each the best first; the rest by number."""

    def key(row: Row) -> tuple[bool, bool, float, int]:
        value = row.get(column)
        whole = row["state"] in ("completed", "stopped")
        return (
            not whole,
            not value,
            (-float(value) if maximize else float(value)) if value else 0.0,
            int(row["number"]),
        )

    return sorted(rows, key=key)


def _head(
    folder: Path,
    names: Sequence[str],
    ordered: Sequence[Row],
    columns: Sequence[str],
    best: Sequence[int],
    found: Sequence[timeline.Stint],
) -> Iterator[str]:
    """What was searched, how far it came, what came out, and the commands."""
    states = [row["state"] for row in ordered]
    ended = sum(state in ("completed", "stopped", "pruned", "failed") for state in states)
    tone, status = ("good", "completed") if ended == len(states) else ("warn", f"{ended} of {len(states)} ended")
    yield f'<header><h1>Sweep {escape(folder.name)}</h1><p><span class="pill {tone}">{escape(status)}</span>'
    yield f'<span class="faint">{escape(relative(folder))}</span></p></header>'
    yield tiles(_facts(names, ordered, columns, best, found), _beside(folder, best) if len(names) == 1 else "")
    lines = {}
    if best:
        own = folder / str(best[0])
        lines["the best again"] = f"{COMMAND} --config-dir {shlex.quote(relative(own))}"
        if (own / MODEL).is_dir():
            lines["evaluate the best"] = f"{COMMAND} action=evaluate {override('run', own)}"
    lines["this page"] = f"{COMMAND} action=report {override('run', folder)}"
    yield heading("Run it again") + command_list(lines.items())


def _beside(folder: Path, best: Sequence[int]) -> str:
    """The best trial beside the baseline."""
    result = (read_result(folder / str(best[0])) if best else None) or {}
    baseline, objective = result.get("baseline"), result.get("objective") or {}
    if not baseline or objective.get("value") is None:
        return ""
    rows = [("the best trial", objective["value"]), ("baseline", baseline["value"])]
    better = "more" if objective.get("direction") == "maximize" else "less"
    said = f"baseline: {baseline['what']}; {better} is better"
    return against([(label, value, number(value)) for label, value in rows], said)


def _facts(
    names: Sequence[str],
    ordered: Sequence[Row],
    columns: Sequence[str],
    best: Sequence[int],
    found: Sequence[timeline.Stint],
) -> Iterator[tuple[str, str]]:
    if len(names) > 1:
        yield f"on the front of {' and '.join(names)}", things(len(best), "trial")
    elif best:
        row = next(row for row in ordered if int(row["number"]) == best[0])
        yield f"{names[0]}, best: trial {best[0]}", number(float(row[columns[0]]))
    yield ("trial" if len(ordered) == 1 else "trials"), count(len(ordered))
    for state in ("completed", "stopped", "pruned", "failed"):
        num = sum(row["state"] == state for row in ordered)
        if num:
            yield state, count(num)
    open_ = sum(row["state"] not in ("completed", "stopped", "pruned", "failed") for row in ordered)
    if open_:
        yield "still to end", count(open_)
    spent = sum(float(row["wall_s"]) for row in ordered if row.get("wall_s"))
    yield "of training", span(spent)
    steps = sum(int(row["steps"]) for row in ordered if row.get("steps"))
    yield "steps", count(steps)
    if found:
        whole = max(each.end for each in found) - min(each.start for each in found)
        yield f"on {things(len({(each.host, each.slot) for each in found}), 'slot')}", span(whole)
        part = timeline.busy(found)
        if part is not None:
            yield "of it busy", share(part)


def _ensemble(folder: Path) -> Iterator[str]:
    """The model made of the best trials: who is in it, and what rows that chose nothing say of it."""
    then = "take it away, and the sweep's own command builds the ensemble anew"
    told = object_of(folder / ENSEMBLE, then)
    if told is None:
        return
    missing = [key for key in ("out_of_fold", "held_out", "members") if key not in told]
    if missing:
        raise damaged(folder / ENSEMBLE, f"{missing[0]!r} is missing", then)
    best, out_of_fold, alone = told["out_of_fold"]["best_trial"], told["out_of_fold"], told.get("best_held_out", {})
    yield heading("The ensemble")
    rows = [("loss, out of fold", number(out_of_fold["loss"]), number(out_of_fold["best_loss"]))]
    for name, value in told["held_out"].items():
        other = alone.get(name)
        rows.append((f"{name}, rows put aside", number(value), "–" if other is None else number(other)))
    yield table(("", "ensemble", f"trial {best} alone"), rows, numeric=frozenset((1, 2)))
    members = [
        (
            link(str(each["trial"]), f"{each['trial']}/{PAGE}"),
            f"{each['weight']:.2f}",
            " ".join(f"{key}={value}" for key, value in each["params"].items()),
        )
        for each in told["members"]
    ]
    yield table(("trial", "weight", "parameters"), members, numeric=frozenset((1,)))


def _trials(
    folder: Path,
    ordered: Sequence[Row],
    columns: Sequence[str],
    names: Sequence[str],
    best: Sequence[int],
    found: Sequence[timeline.Stint],
) -> Iterator[str]:
    """The table, each trial with its own page; what stands on the front, or is the best, is marked. Where not all ran on
    the machine of their driver, it says where each ran last."""
    if not ordered:
        return
    away = any(each.node != each.host.partition("/")[0] for each in found)
    nodes = {each.number: each.node for each in found}
    params = [key for key in ordered[0] if key not in ("number", "state", *columns, "steps", "wall_s")]
    failed = [row["number"] for row in ordered[:SHOWN] if row["state"] == "failed"]
    reasons = {number: _reason(folder / number) for number in failed}
    rows = []
    for row in ordered[:SHOWN]:
        name = row["number"] + (" *" if int(row["number"]) in best else "")
        found_at = next((each for each in (PAGE, LOG, RESULT) if (folder / row["number"] / each).is_file()), None)
        first: str | Html = name if found_at is None else link(name, f"{row['number']}/{found_at}")
        values = [_short(row.get(column)) for column in columns]
        rows.append(
            [
                first,
                row["state"],
                *values,
                *(_short(row.get(key)) for key in params),
                _short(row.get("steps")),
                _short(row.get("wall_s")),
                *([nodes.get(int(row["number"]), "–")] if away else []),
                *([reasons.get(row["number"], "")] if reasons else []),
            ]
        )
    last = 4 + len(columns) + len(params)
    numeric = frozenset(range(2, 2 + len(columns))) | {last - 2, last - 1}
    said = f'<p class="faint">the first {SHOWN} of {count(len(ordered))}</p>' if len(ordered) > SHOWN else ""
    yield heading("Trials") + said
    more = [*(["node"] if away else []), *(["why"] if reasons else [])]
    headings = ("trial", "state", *names, *params, "steps", "seconds", *more)
    yield table(headings, rows, numeric=numeric)


def _reason(own: Path) -> str:
    """Why a trial failed, in a line."""
    return str((read_result(own) or {}).get("reason") or "").partition("\n")[0]


def _short(text: str | None) -> str:
    """A cell of the table in few digits."""
    try:
        value = float(text or "")
    except ValueError:
        return text or "–"
    return count(value) if value.is_integer() and abs(value) < 1e15 else number(value)


def _details(facts: Mapping[str, Any]) -> Iterator[str]:
    rows = [(f"space: {key}", _plain(value)) for key, value in facts.get("space", {}).items()]
    rows += [(key, _plain(facts[key])) for key in ("sampler", "pruner", "storage") if facts.get(key)]
    if rows:
        yield heading("Details") + folded("The search", table((), rows))
    config = facts.get("config")
    if config:
        yield folded("Config that all trials share", table((), [(key, str(value)) for key, value in config.items()]))


def _plain(value: Any) -> str:
    """A distribution, a sampler or a pruner as words."""
    if not isinstance(value, dict):
        return str(value)
    inner: Any = value.get("attributes", value.get("node", value))
    said = ", ".join(f"{key}={each}" for key, each in inner.items() if each is not None and key != "_target_")
    name = value.get("name") or str(inner.get("_target_", "")).rpartition(".")[2]
    return f"{name}: {said}" if said else str(name)
