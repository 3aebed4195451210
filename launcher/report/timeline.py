"""Who ran what when: the stints of a sweep's trials on the slots of its drivers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.artifacts.provenance import read as read_provenance

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STINTS = "launcher:stints"
"""The trial's attribute that keeps [driver's host, slot, began, ended] of each time it ran; seconds since the epoch, the last
one None while it runs and for ever where its driver was killed."""
COLOURS = {"completed": "#2f6fde", "pruned": "#d9730d", "failed": "#c0392b"}
OTHER = "#667085"
"""Stints after which a trial was not over, and those of which nobody took down the end."""


@dataclass(frozen=True)
class Stint:
    """One process of a trial: on which slot of which driver, on which node, from when to when."""

    number: int
    host: str
    slot: int
    node: str
    start: float
    end: float
    state: str


def stints(folder: Path, trials: Sequence[FrozenTrial], states: Mapping[int, str]) -> list[Stint]:
    """Every stint that the study remembers, in order of time; one without an end lasts until the next on its slot."""
    raw: list[tuple[FrozenTrial, int, list[Any]]] = []
    for trial in trials:
        known = trial.user_attrs.get(STINTS, [])
        raw += [(trial, index, each) for index, each in enumerate(known)]
    raw.sort(key=lambda entry: entry[2][2])
    latest = max((value for _, _, entry in raw for value in entry[2:] if value is not None), default=0.0)
    found = []
    for place, (trial, index, (host, slot, start, end)) in enumerate(raw):
        if end is None:
            later = [entry[2] for _, _, entry in raw[place + 1 :] if entry[:2] == [host, slot]]
            end = min(later, default=latest)
        is_last = index == len(trial.user_attrs[STINTS]) - 1
        node = (is_last and _nodes(folder / str(trial.number))) or host.partition("/")[0]
        state = states.get(trial.number, "running") if is_last else "went on later"
        found.append(Stint(trial.number, host, int(slot), node, start, end, state))
    return found


def _nodes(folder: Path) -> str:
    """Where a trial ran last: the nodes of its job, or its host; nothing where it has not said so."""
    known = read_provenance(folder) or {}
    return str(known.get("environment", {}).get("SLURM_JOB_NODELIST") or known.get("host", ""))


def busy(found: Sequence[Stint]) -> float | None:
    """The share of the slots' time, from the first start to the last end on any, in which they had a trial."""
    if not found:
        return None
    lanes = {(each.host, each.slot) for each in found}
    whole = (max(each.end for each in found) - min(each.start for each in found)) * len(lanes)
    return sum(each.end - each.start for each in found) / whole if whole > 0 else None


def figure(found: Sequence[Stint]) -> Any:
    """A lane a slot, a bar a stint; plotly's figure."""
    import plotly.graph_objects as go

    several = len({each.host for each in found}) > 1
    made = go.Figure()
    for state in dict.fromkeys(each.state for each in sorted(found, key=lambda each: each.state)):
        own = [each for each in found if each.state == state]
        made.add_bar(
            orientation="h",
            name=state,
            y=[f"{each.host} slot {each.slot}" if several else f"slot {each.slot}" for each in own],
            base=[datetime.fromtimestamp(each.start, UTC).isoformat() for each in own],
            x=[1000 * (each.end - each.start) for each in own],
            text=[str(each.number) for each in own],
            hovertext=[
                f"trial {each.number}, {each.state}<br>{each.end - each.start:.1f} s on {each.node}" for each in own
            ],
            hoverinfo="text",
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            marker={"color": COLOURS.get(state, OTHER), "line": {"color": "#fff", "width": 1}},
        )
    made.update_xaxes(type="date", title="UTC")
    made.update_yaxes(autorange="reversed", type="category", categoryorder="category ascending")
    made.update_layout(barmode="overlay", uniformtext={"minsize": 8, "mode": "hide"})
    return made
