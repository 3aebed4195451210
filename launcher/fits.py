"""Whether the parts of a config go together: task, model and data, metric, schedule and length, batch and ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

from . import CONF
from .bindings import LENGTHS
from .errors import did_you_mean
from .signatures import Signature, signature, table

Where = Callable[[str], str]


def fits(config: dict[str, Any], where: Where) -> Iterator[str]:
    """One line a problem. Every node is known to have a signature, and its arguments to be right."""
    task, model = signature(config["task"]["_target_"]), signature(config["model"]["_target_"])
    estimator = bool(model.facts.get("estimator"))
    yield from _parts(config, task, model, where)
    yield from _metrics(config, task, estimator, where)
    yield from _packages(config, where)
    yield from _action(config, where)
    if not estimator:
        yield from _length(config, where)
        yield from _batch(config, where)


def _parts(config: dict[str, Any], task: Signature, model: Signature, where: Where) -> Iterator[str]:
    kinds, provided = set(task.facts.get("kinds", ())), set(task.facts.get("provides", ()))
    own = _kinds(signature(config["data"]["_target_"]))
    named, data, target = (_name(config[group]["_target_"]) for group in ("task", "data", "model"))
    if kinds and own and not kinds & own:
        fit = _entries("data", lambda each, node: bool(kinds & _kinds(each)))
        yield f"data: {named} learns from {' or '.join(sorted(kinds))}, and {data} is {' or '.join(sorted(own))}. Of conf/data these fit: {fit}"

    def fit_model(each: Signature, node: dict[str, Any]) -> bool:
        return (
            bool(task.facts.get("estimators"))
            if each.facts.get("estimator")
            else set(each.required) <= provided | set(node)
        )

    missing = [name for name in model.required if name not in config["model"] and name not in provided]
    if model.facts.get("estimator"):
        if not task.facts.get("estimators"):
            yield f"model: {target} is a scikit-learn estimator, and {named} trains torch modules. Of conf/model these fit: {_entries('model', fit_model)}"
        if config["parallel"].get("num_processes", 1) != 1:
            yield f"{where('parallel.num_processes')}: {target} is fitted in one process; parallel=single does that"
    elif missing:
        yield f"model: {target} needs {', '.join(missing)}, which {named} does not provide. Of conf/model these fit: {_entries('model', fit_model)}"


def _kinds(data: Signature) -> set[str]:
    kind = data.facts.get("kind", ())
    return {kind} if isinstance(kind, str) else set(kind)


def _name(target: str) -> str:
    return target.rpartition(".")[2]


def _entries(group: str, fit: Callable[[Signature, dict[str, Any]], bool]) -> str:
    """The shipped entries of a group that fit, by name."""
    import yaml

    from .resolvers import alternatives

    found = []
    for path in sorted((CONF / group).glob("*.yaml")):
        node = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if any(
            target in table() and fit(table()[target], node) for target in alternatives(str(node.get("_target_", "")))
        ):
            found.append(path.stem)
    return ", ".join(found) or "none"


def _metrics(config: dict[str, Any], task: Signature, estimator: bool, where: Where) -> Iterator[str]:
    known = task.facts.get("metric_names", ["loss"])
    names = [f"val/{name}" for name in known] + ([f"train/{name}" for name in known] if estimator else ["train/loss"])
    asked = {"objective.metric": config["objective"]["metric"]}
    asked |= {
        f"stopping.{name}.metric": node["metric"]
        for name, node in (config["stopping"] or {}).items()
        if "metric" in node
    }
    for key, metric in asked.items():
        if metric not in names:
            near = did_you_mean(metric, names).partition(" There are")[0]
            yield f"{where(key)}: {_name(config['task']['_target_'])} has no metric {metric!r}.{near} It has: {', '.join(names)}"


def _packages(config: dict[str, Any], where: Where) -> Iterator[str]:
    """What an entry needs installed, by its class's own word."""
    from importlib.util import find_spec

    for name, node in (config["tracker"] or {}).items():
        needed = signature(node["_target_"]).facts.get("packages", {})
        missing = [package for module, package in needed.items() if find_spec(module) is None]
        if missing:
            yield f"tracker={name} needs {' and '.join(missing)}, which is not installed: pip install {' '.join(missing)}, or leave it out with tracker=[]"
    for group in ("task", "model", "data"):
        target = config[group]["_target_"]
        needed = signature(target).facts.get("packages", {})
        missing = [package for module, package in needed.items() if find_spec(module) is None]
        if missing:
            yield f"{group}: {_name(target)} needs {' and '.join(missing)}, which is not installed: pip install {' '.join(missing)}"


def _action(config: dict[str, Any], where: Where) -> Iterator[str]:
    if config["action"] == "train" and config["run"] is not None:
        yield f"{where('run')}: run=<folder> goes with action=evaluate, export or report; to go on training: resume={config['run']}"
    if config["action"] != "train" and config["run"] is None:
        yield f"{where('action')}: of which run? run=<its folder> says so"


def _length(config: dict[str, Any], where: Where) -> Iterator[str]:
    training, scheduler = config["training"], config["scheduler"]
    warmup = scheduler.get("warmup", 0)
    share = isinstance(warmup, float) and 0 < warmup < 1
    shape = scheduler.get("warmup_shape", "linear")
    if (
        isinstance(warmup, bool)
        or not isinstance(warmup, int | float)
        or warmup < 0
        or (not share and warmup != int(warmup))
    ):
        yield f"{where('scheduler.warmup')}: expected a share of the run below 1, or a whole number of steps"
        return
    if shape not in ("linear", "cosine"):
        yield f"{where('scheduler.warmup_shape')}: expected linear or cosine"
    steps = training["max_steps"]
    if training["max_epochs"] is None and steps is None:
        if training["max_time"] is None:
            yield "training: nothing says how long: give training.max_epochs, training.max_steps or training.max_time"
            return
        for key, value in scheduler.items():
            if value in LENGTHS[:2] or (key == "warmup" and share):
                yield f"{where(f'scheduler.{key}')}: depends on the run's length in steps, which training.max_time does not tell: give training.max_epochs or training.max_steps too"
    elif steps is not None and not share and warmup >= steps > 1:
        yield f"{where('scheduler.warmup')}: {int(warmup)} steps of warm-up in a run of training.max_steps={steps}"


def _batch(config: dict[str, Any], where: Where) -> Iterator[str]:
    batch, accumulate = config["training"]["batch_size"], config["training"]["accumulate"]
    ranks = config["parallel"].get("num_processes", 1)
    cut = accumulate * ranks if isinstance(ranks, int) else 1
    if batch % cut:
        near = sorted({max(1, batch // cut) * cut, ceil(batch / cut) * cut})
        key = "training.batch_size" if accumulate == 1 else "training.accumulate"
        yield (
            f"{where(key)}: a step of training.batch_size={batch} samples can not be cut into training.accumulate={accumulate} "
            f"x {ranks} process(es); training.batch_size={' or '.join(map(str, near))} can"
        )
