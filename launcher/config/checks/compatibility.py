"""Whether the parts of a config go together: task, model and data, metric, schedule and length, batch and ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil, inf
from typing import Any

from launcher import CONF
from launcher.config.counts import num_splits
from launcher.config.groups import GROUPS, algorithms
from launcher.config.signatures import Signature, signature, table
from launcher.errors import did_you_mean

from .batch import portions
from .packages import missing_packages
from .schedule import rates

Where = Callable[[str], str]

NO_SAVING = "launcher.memory.activations.Memory"
"""`memory=none`: what goes with a model that has no steps."""


def fits(config: dict[str, Any], where: Where) -> Iterator[str]:
    """One line a problem. Every node is known to have a signature, and its arguments to be right."""
    task, model = signature(config["task"]["_target_"]), signature(config["model"]["_target_"])
    estimator = bool(model.facts.get("estimator"))
    yield from _parts(config, task, model, where)
    yield from _metrics(config, task, estimator, where)
    yield from _algorithms(config, task, model, where)
    yield from _communication(config, where)
    yield from _folds(config, where)
    yield from missing_packages(config)
    yield from _action(config, where)
    yield from _cluster(config, where)
    yield from _memory(config, estimator, where)
    if not estimator:
        yield from _optimizer(config)
        yield from rates(config, where)
        yield from portions(config, where)


def _memory(config: dict[str, Any], estimator: bool, where: Where) -> Iterator[str]:
    stated = config["parallel"].get("device_memory_gb")
    if stated is not None and (isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 < stated < inf):
        yield f"{where('parallel.device_memory_gb')}: expected a number above 0 (GiB of a rank's device)"
    if config["training"]["find_batch_size"]:
        if estimator:
            yield f"{where('training.find_batch_size')}: {_name(config['model']['_target_'])} is fitted in one call, without batches"
        elif config["parallel"].get("num_processes", 1) != 1:
            yield f"{where('training.find_batch_size')}: a size is tried in one process; find it with parallel=single, and give training.batch_size as many times that as there are processes with samples of their own"


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
    problem = config["data"].get("problem")
    if model.facts.get("estimator"):
        if not task.facts.get("estimators"):
            yield f"model: {target} is a scikit-learn estimator, and {named} trains torch modules. Of conf/model these fit: {_entries('model', fit_model, problem)}"
        if config["parallel"].get("num_processes", 1) != 1:
            yield f"{where('parallel.num_processes')}: {target} is fitted in one process; parallel=single does that"
    elif missing:
        yield f"model: {target} needs {', '.join(missing)}, which {named} does not provide. Of conf/model these fit: {_entries('model', fit_model, problem)}"


def _algorithms(config: dict[str, Any], task: Signature, model: Signature, where: Where) -> Iterator[str]:
    """What an algorithm needs of the run's other parts, by the words of both."""
    having: dict[str, tuple[str, Signature, str]] = {
        "needs": ("parallel", signature(config["parallel"]["_target_"]), "capabilities"),
        "needs_task": ("task", task, "offers"),
        "needs_model": ("model", model, "offers"),
    }
    asking = [
        (f"{group}=[{name}]", name, node, GROUPS[group].effect != "watches")
        for group in algorithms()
        for name, node in (config[group] or {}).items()
    ]
    memory = config["memory"]
    if memory["_target_"] != NO_SAVING:
        asking.append((where("memory"), "it", memory, True))
    spread = config["parallel"]
    if signature(spread["_target_"]).facts.get("needs_model") and not model.facts.get("estimator"):
        asking.append((where("parallel"), _name(spread["_target_"]), spread, True))
    sent = config["communication"]["_target_"]
    lacks = set(signature(sent).facts.get("lacks", ()))
    for key, name, node, steps in asking:
        if model.facts.get("estimator") and steps:
            yield f"{key}: {_name(config['model']['_target_'])} is fitted in one call; there are no steps that {name} could change"
            continue
        facts = signature(node["_target_"]).facts
        for kind, (other, found, fact) in having.items():
            for word in sorted(set(facts.get(kind, ())) & lacks if kind == "needs" else ()):
                yield f"{key}: {name} needs {word.replace('_', ' ')}, which no rank has with {_name(sent)}; communication=allreduce leaves it to each"
            for word in sorted(set(facts.get(kind, ())) - set(found.facts.get(fact, ()))):
                fit = _entries(other, lambda each, _, word=word, fact=fact: word in each.facts.get(fact, ()))  # type: ignore[misc]  # mypy infers no type for a lambda's default
                what, whose = word.replace("_", " "), _name(config[other]["_target_"])
                yield f"{key}: {name} needs {what}, and {whose} has none. Of conf/{other} these have: {fit}"


def _optimizer(config: dict[str, Any]) -> Iterator[str]:
    """What an optimizer needs of the way of running in parallel."""
    optimizer, parallel = (str(config[group]["_target_"]) for group in ("optimizer", "parallel"))
    needs = set(signature(optimizer).facts.get("needs", ()))
    missing = needs - set(signature(parallel).facts.get("capabilities", ()))
    if missing:
        have = _entries("parallel", lambda each, _: needs <= set(each.facts.get("capabilities", ())))
        free = _entries("optimizer", lambda each, _: not each.facts.get("needs"))
        what = " and ".join(word.replace("_", " ") for word in sorted(missing))
        yield f"optimizer: {_name(optimizer)} needs {what}, which a rank of {_name(parallel)} does not have. It works with parallel={have}; any way of running in parallel with optimizer={free}"


def _kinds(data: Signature) -> set[str]:
    kind = data.facts.get("kind", ())
    return {kind} if isinstance(kind, str) else set(kind)


def _name(target: str) -> str:
    return target.rpartition(".")[2]


def _entries(group: str, fit: Callable[[Signature, dict[str, Any]], bool], problem: str | None = None) -> str:
    """The shipped entries of a group that fit, by name; of those that follow the data's problem, for that one."""
    import yaml

    from launcher.config.resolvers import alternatives

    found = []
    for path in sorted((CONF / group).glob("*.yaml")):
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        node: dict[str, Any] = content.get(group, content)  # a task's file sets other keys beside
        if any(
            target in table() and fit(table()[target], node)
            for target in alternatives(str(node.get("_target_", "")), problem)
        ):
            found.append(path.stem)
    return ", ".join(found) or "none"


def _metrics(config: dict[str, Any], task: Signature, estimator: bool, where: Where) -> Iterator[str]:
    known = task.facts.get("metric_names", ["loss"])
    unsure = estimator and _unsure(config["model"])
    if unsure:
        known = [name for name in known if name not in task.facts.get("probable_metrics", ())]
    names = [f"val/{name}" for name in known] + ([f"train/{name}" for name in known] if estimator else ["train/loss"])
    asked = [("objective.metric", config["objective"]["metric"])]
    for name, node in (config["stopping"] or {}).items():
        asked += [(f"stopping.{name}.metric", node["metric"])] if "metric" in node else []
        asked += [
            (f"stopping.{name}.{argument}", each)
            for argument in ("weights", "ranges")
            for each in node.get(argument) or ()
        ]
    if not estimator and "metric" in config["scheduler"]:
        asked.append(("scheduler.metric", config["scheduler"]["metric"]))
    for key, metric in asked:
        if metric not in names:
            near = did_you_mean(metric, names).partition(" There are")[0]
            whose = config["model" if unsure else "task"]["_target_"]
            yield f"{where(key)}: {_name(whose)} has no metric {metric!r}.{near} It has: {', '.join(names)}"


def _unsure(model: dict[str, Any]) -> bool:
    """Whether an estimator gives no probabilities: as it is made by default, and no option that may change it is set."""
    facts = signature(model["_target_"]).facts
    return facts.get("probabilities") is False and not {"probability", "loss"} & set(model)


def _communication(config: dict[str, Any], where: Where) -> Iterator[str]:
    """Another way of sending than the strategy's own needs a strategy that leaves the way open."""
    sent, spread, optimizer = (str(config[group]["_target_"]) for group in ("communication", "parallel", "optimizer"))
    if _name(sent) != "AllReduce" and "communication" not in signature(spread).parameters:
        fit = _entries("parallel", lambda each, _: "communication" in each.parameters)
        yield f"{where('communication')}: {_name(spread)} has nothing that {_name(sent)} could send. Of conf/parallel these have: {fit}"
    elif signature(sent).facts.get("replicas") and "full_state" not in signature(spread).facts["capabilities"]:
        yield f"{where('communication')}: with {_name(sent)} each rank moves all weights by itself, and with {_name(spread)} a part of them; parallel=ddp goes with it"
    if signature(sent).facts.get("replicas") and "full_state" in signature(optimizer).facts.get("needs", ()):
        yield f"optimizer: what {_name(optimizer)} judges is put together of weights and state, and with {_name(sent)} each rank has its own; communication=allreduce does not, optimizer=adamw needs no state for it"
    if signature(sent).facts.get("apart"):
        name = _name(sent)
        if "metric" in config["scheduler"]:
            yield f"{where('scheduler')}: {_name(config['scheduler']['_target_'])} cuts the rate after evaluations, and with {name} the main rank alone judges: the others would never hear of it; scheduler=cosine does without, communication=local_sgd tells all"
        if config["deterministic"]:
            yield f"{where('deterministic')}: with {name} the result follows from which rank comes first; communication=local_sgd sends as little and repeats bit for bit"


def _folds(config: dict[str, Any], where: Where) -> Iterator[str]:
    """Validation and procedure have to agree on how many fits there are."""
    validation, procedure = config["validation"], config["procedure"]
    nested, splits = "outer" in validation, num_splits(validation)
    crosses = "fold" in signature(procedure["_target_"]).parameters
    name = _name((validation["outer"] if nested else validation)["_target_"])
    if splits is None:
        if "n_splits" in signature(validation["_target_"]).parameters:
            yield f"validation: {name} needs n_splits: give validation.n_splits=..."
        elif crosses:
            yield f"validation: {name} does not say how many folds it makes, which procedure=cross_validation has to know"
    elif splits > 1 and not crosses:
        yield (
            f"{where('procedure')}: {name} makes {splits} folds and {_name(procedure['_target_'])} would fit the first alone; "
            "procedure=cross_validation fits them all (validation=kfold and its like choose it), and with procedure.fold=0 one of them"
        )
    elif splits == 1 and crosses and procedure.get("inner_fold") is None:
        said = where("validation.n_splits" if "n_splits" in validation else "procedure")
        yield f"{said}: cross-validation needs folds, and {name} holds rows out once: validation=kfold, stratified_kfold, group_kfold, repeated_kfold, time_series or nested"
    elif splits is not None and crosses:
        fold = procedure.get("fold")
        if fold is not None and not 0 <= fold < splits:
            yield f"{where('procedure.fold')}: {name} makes {splits} folds, counted from 0"
        if procedure.get("grid") is not None and not nested:
            yield f"{where('procedure.grid')}: a grid is searched by validation=nested; {name} has no inner folds"
    if nested and crosses and procedure.get("fold") is None and procedure.get("inner_fold") is None:
        if config["num_seeds"] > 1:
            yield f"{where('num_seeds')}: validation=nested fits each fold once; num_seeds goes with the other k-fold validations"
        if config["stopping"]:
            yield f"stopping: an outer fold of validation=nested is looked at once, at its end, so that its rows choose nothing; leave out stopping=[{', '.join(config['stopping'])}]"


def _action(config: dict[str, Any], where: Where) -> Iterator[str]:
    if config["action"] == "train" and config["run"] is not None:
        yield f"{where('run')}: run=<folder> goes with action=evaluate, export, report or replay; to go on training: resume={config['run']}"
    if config["action"] in ("plan", "lr_find") and config["run"] is not None:
        yield f"{where('run')}: action={config['action']} is of a run that has not begun; run=<folder> goes with evaluate, export, report and replay"
    if config["action"] == "compare":
        if not config["runs"]:
            yield f"{where('action')}: which runs? runs=[<folder>,<folder>] says so"
        return
    if config["runs"]:
        yield f"{where('runs')}: runs=[…] goes with action=compare"
    if config["action"] == "status" and (config["run"] is None) == (config["study"] is None):
        yield f"{where('action')}: of what? run=<its folder> or study=<its folder or name> says so"
    elif config["action"] not in ("train", "plan", "lr_find", "status") and config["run"] is None:
        yield f"{where('action')}: of which run? run=<its folder> says so"


def _cluster(config: dict[str, Any], where: Where) -> Iterator[str]:
    nodes, ranks = (config["cluster"] or {}).get("nodes", 1), config["parallel"].get("num_processes", 1)
    if isinstance(ranks, int) and ranks % nodes:
        yield (
            f"{where('cluster.nodes')}: parallel.num_processes={ranks} can not be cut into {nodes} nodes of as many "
            f"processes each; {'parallel=ddp or another one of several processes can' if ranks == 1 else f'parallel.num_processes={ceil(ranks / nodes) * nodes} can'}"
        )
