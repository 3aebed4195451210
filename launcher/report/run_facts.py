"""What was run, in the words of its config, its result and its origin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from launcher.config.groups import algorithms
from launcher.console.numbers import count, span, things

SPOKEN = {"lr": "rate"}
LEFT_OUT = ("fused", "groups", "eps", "betas", "random_state", "seed", "n_jobs", "T_max", "warmup_shape")
"""Arguments that say little of what a run was."""
LONGEST = 40


def spaced(name: str) -> str:
    """A class's name as words: PretrainCLM is "Pretrain CLM"."""
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+", name)
    return " ".join(words[:1] + [word if word.isupper() else word.lower() for word in words[1:]])


def class_of(node: Any) -> str:
    """The name of what a node of a config makes."""
    return str((node if isinstance(node, dict) else {}).get("_target_", "")).rpartition(".")[2]


def data_of(node: Any) -> str:
    """What data are called: by their own name, where they are one of several of a class, else by the class."""
    name = (node if isinstance(node, dict) else {}).get("name")
    return str(name) if isinstance(name, str) and name else class_of(node)


def _told(node: Any) -> str:
    """A node of a config as its class and the plain arguments that it was given."""
    if not isinstance(node, dict):
        return ""
    said = [
        f"{SPOKEN.get(key, key.replace('_', ' '))} {value}"
        for key, value in node.items()
        if not key.startswith("_") and key not in LEFT_OUT and isinstance(value, str | int | float)
        if not isinstance(value, bool) and value not in (0, "none") and len(str(value)) <= LONGEST
    ]
    return ", ".join([word for word in (class_of(node),) if word] + said)


def about_run(
    config: Mapping[str, Any], result: Mapping[str, Any], provenance: Mapping[str, Any] | None, fitted: bool = False
) -> Iterator[tuple[str, str]]:
    """The rows of "What was run"; what is not known is left out, and what an estimator that is `fitted` in a call has not."""
    training = config.get("training") or {}
    yield "task", spaced(class_of(config.get("task")))
    sizes = [f"{count(result['train_samples'])} samples to learn from"] if result.get("train_samples") else []
    sizes += [f"{count(result['val_samples'])} held out"] if result.get("val_samples") else []
    yield "data", ", ".join([_told(config.get("data")), *sizes])
    yield "held out by", _told(config.get("validation"))
    weights = [things(result["parameters"], "weight")] if result.get("parameters") else []
    if result.get("trainable_parameters") not in (None, result.get("parameters")):
        weights.append(f"{count(result['trainable_parameters'])} trained")
    yield "model", ", ".join([_told(config.get("model")), *weights])
    if not fitted:
        yield "optimizer", _told(config.get("optimizer"))
        yield "schedule", _told(config.get("scheduler")).replace("LR,", ",")
        accumulate = training.get("accumulate", 1)
        cut = f", in {count(accumulate)} parts" if accumulate not in (None, 1) else ""
        yield "batch", f"{things(training['batch_size'], 'sample')} a step{cut}" if training.get("batch_size") else ""
        yield "length", _length(training)
    for group in algorithms("changes", "stops"):
        yield group, "; ".join(_entry(name, node) for name, node in (config.get(group) or {}).items())
    precision = str((config.get("precision") or {}).get("dtype", ""))
    yield "precision", precision if precision != "float32" else ""
    parallel = class_of(config.get("parallel"))
    ranks = result.get("world_size", 1)
    yield "processes", f"{count(ranks)}, {parallel}" if ranks > 1 else ""
    yield "seed", str(config.get("seed", result.get("seed", "")))
    origin = provenance or {}
    where = [str(origin[key]) for key in ("host", "platform") if origin.get(key)]
    yield "machine", ", ".join(where + ([f"{things(origin['cores'], 'core')}"] if origin.get("cores") else []))
    yield "begun", str(origin.get("started", "")).replace("T", " ").replace("+00:00", " UTC")
    git = origin.get("git") or result.get("git") or {}
    yield (
        "code",
        f"commit {git['commit'][:12]}{', with changes' if git.get('dirty') else ''}" if git.get("commit") else "",
    )


def _entry(name: str, node: Any) -> str:
    said = _told(node).partition(", ")[2]
    return name.replace("_", " ") + (f" ({said})" if said else "")


def _length(training: Mapping[str, Any]) -> str:
    said = []
    if training.get("max_epochs") is not None:
        said.append(things(training["max_epochs"], "epoch"))
    if training.get("max_steps") is not None:
        said.append(things(training["max_steps"], "step"))
    if training.get("max_time") is not None:
        limit = training["max_time"]
        said.append(span(limit) if isinstance(limit, int | float) else str(limit))
    return " or ".join(said) + (" at most" if len(said) > 1 else "")


REASONS = {
    "max_epochs": "all its epochs are done",
    "max_steps": "all its steps are done",
    "stop_after": "training.stop_after has come",
    "max_time": "its time was up",
    "fitted": "",
    "preempted": "it was interrupted, and can go on",
}


def reason_of(result: Mapping[str, Any] | None) -> str:
    """Why a run ended, in words."""
    if result is None:
        return "the run goes on, or was killed"
    reason = str(result.get("reason") or "")
    return REASONS.get(reason, reason)
