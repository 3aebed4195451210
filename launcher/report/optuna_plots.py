"""The drawings of a sweep's page, by Optuna's own visualisation, set into the page's look.

They are plotly's: a reader may point at a trial and is told its number and its parameters. plotly.js lies in the page as
it is (4.8 MB, once): packed it would be a third of that, but a page has to unpack such a thing after it is loaded, and
what prints, mails or pictures it would find it empty.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from . import timeline
from .html import heading
from .trial_reports import reports

if TYPE_CHECKING:
    from optuna.study import Study

STYLE = """<style>
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,28rem),1fr));gap:.8rem}
.plots .chart{max-width:none;min-width:0}.plots .wide{grid-column:1/-1}
.plot{height:21rem}
@media(prefers-color-scheme:dark){.plot{filter:invert(1) hue-rotate(180deg)}}
@media print{.plot{filter:none}}
</style>"""
"""The drawings are made for a light page; in the dark their lightness is turned around and their hues stay."""
SCRIPT = """<script>
for (const place of document.querySelectorAll(".plot")) {
  const {data, layout} = JSON.parse(place.nextElementSibling.textContent);
  if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
  Plotly.newPlot(place, data, layout, {responsive: true, displayModeBar: false});
}
document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true");  // its own, to measure letters with
</script>"""
INK, FAINT, RULE, BLUE = "#18202c", "#5b6677", "#dfe5ee", "#2463d6"
REM = 16
LONGEST, SHOWN = 30, 12
"""Signs of a parameter's name beside its importance, and how many parameters have one."""
SCORE = "launcher:score"
"""A trial's attribute: what was found out of a candidate before it was trained."""


@dataclass(frozen=True)
class Drawing:
    """A figure with its title; `wide` takes a row of its own, and is at least `rem` wide where the page is narrower."""

    title: str
    figure: Any
    note: str = ""
    wide: bool = False
    rem: float = 0.0


def drawings(study: Study, rungs: Sequence[int], found: Sequence[timeline.Stint]) -> Iterator[Drawing]:
    """What there is to be seen of a study, the most telling first; what needs more trials than there are is left out."""
    from optuna import visualization as draw

    logging.getLogger("optuna").setLevel(logging.ERROR)  # a study that is too small for a drawing is no news
    study = _shortly(study)
    names = study.metric_names or ["objective"]
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.values is not None and trial.state.name == "COMPLETE"]
    params = list(dict.fromkeys(key for trial in trials for key in trial.params))
    if complete:
        for index, name in enumerate(names):
            target = partial(_value, index=index)
            made = draw.plot_optimization_history(study, target=target if len(names) > 1 else None, target_name=name)
            made.update_layout(xaxis_title="trial")
            if index == 0 and len(names) == 1:
                _add_pruned(made, trials)
            yield Drawing(f"History of {name}", made)
        for other in range(1, len(names)):
            pair = [names[0], names[other]]
            made = draw.plot_pareto_front(study, targets=partial(_pair, other=other), target_names=pair)
            for trace, colour in zip(made.data, (FAINT, BLUE), strict=True):
                trace.marker = {"color": colour, "size": 8}  # and not by number, which leaves the first ones pale
            if _spread([trial.values[other] for trial in complete]):
                made.update_yaxes(type="log")
            yield Drawing(f"Pareto front of {pair[0]} and {pair[1]}", made)
    scored = [(trial.user_attrs[SCORE]["proxy"], trial.values[0]) for trial in complete if SCORE in trial.user_attrs]
    scored = [each for each in scored if all(map(math.isfinite, each))]
    if len(scored) > 1:
        yield _scores(scored, names[0])
    if len(complete) > 1 and params:
        made = _tried(lambda: draw.plot_param_importances(study, target_name=names[0]))
        if made is not None and any(len(trace.x or ()) for trace in made.data):
            yield _importances(made)
        whole, note = _with_pruned(study) if len(names) == 1 else (study, "")
        shared = [
            key for key in params if 2 * sum(key in trial.params for trial in complete) >= len(complete)
        ] or params
        if shared != params:
            note = "; ".join(filter(None, [note, "what half of the trials have at least"]))
        made = draw.plot_parallel_coordinate(whole, params=shared, target_name=names[0])
        made.update_layout(margin={"l": 48, "r": 8}, xaxis_showline=False)
        width = 6.0 * (len(shared) + len(names) + 1)
        yield Drawing("Parameters, a line a trial", made, note, wide=True, rem=width)
    yield from _on_the_way(study, rungs)
    if found:
        lanes = len({(each.host, each.slot) for each in found})
        made = timeline.figure(found)
        made.update_layout(height=110 + 40 * lanes)
        yield Drawing("Slots over time", made, wide=True)
    elif trials:
        yield Drawing("Trials over time", draw.plot_timeline(study), wide=True)


def _importances(made: Any) -> Drawing:
    """The parameters that matter most. Those of a conditional space have long names: what is cut off stands in the table."""
    names = [str(name) for name in made.data[0].y]  # the most important last
    said = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in names]
    made.update_traces(cliponaxis=False)
    made.update_layout(yaxis_title=None, xaxis_title="importance", margin_r=36)
    made.update_xaxes(nticks=4, tickangle=0)
    made.update_yaxes(tickvals=names, ticktext=said, range=[max(-0.5, len(names) - SHOWN - 0.5), len(names) - 0.5])
    return Drawing(
        "Importance of the parameters", made, f"the first {SHOWN} of {len(names)}" if len(names) > SHOWN else ""
    )


def _on_the_way(study: Study, rungs: Sequence[int]) -> Iterator[Drawing]:
    """What trials told before their end, a line a trial; of several objectives the first, and those that change."""
    from optuna.visualization import plot_intermediate_values

    names = study.metric_names or ["objective"]
    told = [reports(trial) for trial in study.get_trials(deepcopy=False)]
    for index, name in enumerate(names if any(told) else ()):
        lines = [{step: point[index] for step, point in sorted(each.items())} for each in told]
        if index and all(len(set(line.values())) < 2 for line in lines):
            continue
        made = plot_intermediate_values(study if len(names) == 1 else _of_one(lines))
        for rung in rungs:
            made.add_vline(x=rung, line_dash="dot", line_color=FAINT)
        made.update_layout(showlegend=False, xaxis_title="how far a trial had come", yaxis_title=name)
        if len(names) > 1 and _spread([value for line in lines for value in line.values()]):
            made.update_yaxes(type="log")
        yield Drawing(f"Rungs: {name} on the way", made, "dotted: where trials are judged" if rungs else "")


def _shortly(study: Study) -> Study:
    """A study whose parameters are called by their keys alone; where a key stands under several conditions, by the first
    word of each too, as `model.C (svm)`."""
    trials = study.get_trials(deepcopy=False)
    full = list(dict.fromkeys(key for trial in trials for key in trial.params))
    keys = [name.partition(" when ")[0].lstrip("+") for name in full]
    short = dict(zip(full, keys, strict=True))
    for name, key in short.items():
        if keys.count(key) > 1:
            short[name] = f"{key} ({name.partition('=')[2].partition(' ')[0].partition(',')[0]})"
    if list(short.values()) == full or len(set(short.values())) < len(full):
        return study
    import optuna

    made = optuna.create_study(directions=study.directions)
    if study.metric_names:
        made.set_metric_names(study.metric_names)
    for trial in study.get_trials():
        trial.params, trial.distributions = (
            {short[key]: value for key, value in each.items()} for each in (trial.params, trial.distributions)
        )
        made.add_trial(trial)
    return made


def _of_one(lines: Sequence[dict[int, float]]) -> Study:
    """A study of one objective whose trials told that much on their way: Optuna's drawing looks at no other."""
    import optuna

    made = optuna.create_study()
    pruned = optuna.trial.TrialState.PRUNED
    made.add_trials([optuna.create_trial(state=pruned, intermediate_values=line) for line in lines])
    return made


def _scores(points: Sequence[tuple[float, float]], name: str) -> Drawing:
    """The candidates that were trained: what their score foretold, and what came of it."""
    from plotly import graph_objects
    from scipy.stats import spearmanr

    scores, values = zip(*points, strict=True)
    made = graph_objects.Figure(
        graph_objects.Scatter(x=scores, y=values, mode="markers", marker={"color": BLUE, "size": 8})
    )
    made.update_layout(xaxis_title="score with fresh weights", yaxis_title=name, showlegend=False)
    rank = float(spearmanr(scores, values).statistic) if len(set(scores)) > 1 and len(set(values)) > 1 else None
    note = "" if rank is None else f"rank correlation {rank:.2f} over {len(points)} trained trials"
    return Drawing(f"Score and {name}", made, note)


def _add_pruned(made: Any, trials: Sequence[Any]) -> None:
    """The trials that were pruned, at the last value that they told."""
    pruned = [trial for trial in trials if trial.state.name == "PRUNED" and trial.intermediate_values]
    if pruned:
        made.add_scatter(
            x=[trial.number for trial in pruned],
            y=[_last(trial) for trial in pruned],
            mode="markers",
            name="pruned, where it was",
            marker={"symbol": "circle-open", "color": FAINT},
        )


def _last(trial: Any) -> float:
    """The last value that a trial told on its way."""
    value: float = trial.intermediate_values[max(trial.intermediate_values)]
    return value


def _with_pruned(study: Study) -> tuple[Study, str]:
    """A study in which pruned trials count by the last value that they told, and what is to be said of that."""
    import optuna

    pruned = [trial for trial in study.get_trials() if trial.state.name == "PRUNED" and trial.intermediate_values]
    if not pruned:
        return study, ""
    whole = optuna.create_study(direction=study.direction)
    whole.add_trials([trial for trial in study.get_trials() if trial.state.name == "COMPLETE"])
    for trial in pruned:
        trial.value, trial.state = _last(trial), optuna.trial.TrialState.COMPLETE
    whole.add_trials(pruned)
    return whole, "those that were pruned at the last value that they told"


def _spread(values: Sequence[float]) -> bool:
    """Whether values are so far apart that only their logarithms can be told apart."""
    return min(values) > 0 and max(values) > 100 * min(values)


def _value(trial: Any, index: int) -> float:
    value: float = trial.values[index]
    return value


def _pair(trial: Any, other: int) -> tuple[float, float]:
    return trial.values[0], trial.values[other]


def _tried(make: Callable[[], Any]) -> Any:
    """Importances want at least two trials that differ, in parameters that all of them have."""
    try:
        return make()
    except (ValueError, RuntimeError):
        return None


def section(found: Sequence[Drawing]) -> Iterator[str]:
    """The drawings as pieces of a page, with the library that draws them."""
    if not found:
        return
    from plotly.offline import get_plotlyjs

    cards = []
    for each in found:
        wide = " wide" if each.wide else ""
        size = f' style="min-width:{each.rem:g}rem"' if each.rem else ""
        height = each.figure.layout.height
        size = f' style="height:{height / REM:g}rem"' if height else size
        note = f'<p class="legend">{escape(each.note)}</p>' if each.note else ""
        name = escape(": ".join(filter(None, (each.title, each.note))), quote=True)
        cards.append(
            f'<div class="chart{wide}"><h3>{escape(each.title)}</h3>{note}<div class="scroll" role="img" aria-label="{name}"><div class="plot" aria-hidden="true"{size}></div>'
            f'<script type="application/json">{_plain(each.figure)}</script></div></div>'
        )
    yield STYLE
    yield heading("The search") + "<noscript><p>The drawings are made by a script that this page holds.</p></noscript>"
    yield f'<div class="plots">{"".join(cards)}</div>'
    yield f"<script>{get_plotlyjs()}</script>{SCRIPT}"


def _plain(figure: Any) -> str:
    """A figure as JSON, in the page's look, that no reader takes for the end of a script."""
    figure.update_layout(
        template=None,
        title=None,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 8, "r": 8, "t": 8, "b": 8} | figure.layout.margin.to_plotly_json(),
        font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        colorway=[BLUE, "#d9730d", "#12805c", "#8e44ad", "#c0392b", "#667085"],
        autosize=True,
    )
    figure.update_xaxes(gridcolor=RULE, zerolinecolor=RULE, linecolor=FAINT, automargin=True)
    figure.update_yaxes(gridcolor=RULE, zerolinecolor=RULE, linecolor=FAINT, automargin=True)
    drawn = json.loads(figure.to_json())
    return json.dumps({"data": drawn["data"], "layout": drawn["layout"]}).replace("<", "\\u003c")
