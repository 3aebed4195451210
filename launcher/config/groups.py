"""What `build.py` hands to the objects of a config beside the arguments that stand in it.

The one place that says so: `build.py` binds these, and `check.py` takes them off the list of what is missing. A
group's file leaves them out, and a config that sets one of them is refused.
"""

from __future__ import annotations

import re
from typing import Any

PROVIDED: dict[str, frozenset[str]] = {
    "task": frozenset({"data", "model", "validation", "seed"}),
    "optimizer": frozenset({"params"}),
    "scheduler": frozenset({"optimizer"}),
    "parallel": frozenset({"precision", "communication"}),
}
"""By group; a model is given the facts that its task `provides`, as far as it has parameters of their names."""

CONSUMED: dict[str, frozenset[str]] = {
    "parallel": frozenset({"max_restarts", "device_memory_gb"}),
    "optimizer": frozenset({"groups"}),
    "scheduler": frozenset({"warmup", "warmup_shape"}),
}
"""Keys of a node that `build.py` takes for itself; the target never sees them."""

LENGTHS = ("decay_steps", "total_steps", "steps_per_epoch", "warmup_steps")
"""Words that a scheduler's number of steps may be given as: the steps after the warm-up, all steps, those of an epoch, the warm-up's.

Also a part or a multiple of one: `decay_steps/3`, `10*steps_per_epoch`."""

WORDS: dict[str, dict[str, str]] = {"optimizer": {"lr": "auto"}}
"""By group and argument, a word that stands for a value which is found out first: the rate, by a range test."""

RANGES: dict[str, dict[str, str]] = {
    "optimizer": {
        "lr": "float(0,inf)",
        "weight_decay": "float[0,inf)",
        "momentum": "float[0,1)",
        "eps": "float(0,inf)",
        "betas": "float[0,1)",
        "adamw_betas": "float[0,1)",
        "clip_threshold": "float(0,inf)",
        "decay_rate": "float(0,1]",
        "num_iterations": "int[1,100]",
        "min_8bit_size": "int[0,inf)",
    },
    "scheduler": {
        "step_size": "int[1,inf)",
        "T_max": "int[1,inf)",
        "T_0": "int[1,inf)",
        "T_mult": "int[1,inf)",
        "total_iters": "int[0,inf)",
        "num_steps": "int[1,inf)",
        "eta_min": "float[0,inf)",
        "min_lr": "float[0,inf)",
        "gamma": "float(0,inf)",
        "factor": "float(0,1]",
        "start_factor": "float(0,1]",
        "end_factor": "float[0,1]",
        "base_factor": "float(0,1]",
        "final_factor": "float[0,1]",
        "power": "float(0,inf)",
        "cooldown": "float[0,inf)",
        "patience": "int[1,inf)",
        "min_delta": "float[0,inf)",
        "div_factor": "float[1,inf)",
        "final_div_factor": "float[1,inf)",
        "base_momentum": "float[0,1)",
        "max_momentum": "float[0,1)",
    },
    "model": {"dropout": "float[0,1)", "width": "int[1,inf)", "depth": "int[1,inf)"},
    "validation": {
        "fraction": "float(0,1)",
        "gap": "int[0,inf)",
        "max_train_size": "int[1,inf)",
        "n_splits": "int[1,inf)",
        "n_repeats": "int[1,inf)",
        "random_state": "int[0,4294967295]",
        "test_size": "float(0,inf)",
    },
    "procedure": {"confidence": "float(0,1)", "fold": "int[0,inf)", "inner_fold": "int[0,inf)"},
    "parallel": {
        "num_processes": "int[1,inf)",
        "timeout_s": "float(0,inf)",
        "max_restarts": "int[0,inf)",
        "shard_size": "int[1,inf)",
        "replicate_size": "int[1,inf)",
        "tensor_size": "int[1,inf)",
        "num_stages": "int[1,inf)",
        "num_microbatches": "int[1,inf)",
        "stages_per_process": "int[1,inf)",
        "device_memory_gb": "float(0,inf)",
    },
    "communication": {
        "rank": "int[1,inf)",
        "start_step": "int[0,inf)",
        "period": "int[1,inf)",
        "max_staleness": "int[0,inf)",
        "outer_lr": "float(0,inf)",
        "momentum": "float[0,1)",
    },
    "regularization": {
        "smoothing": "float[0,1)",
        "decay": "float(0,1)",
        "rho": "float(0,inf)",
        "rate": "float[0,1)",
    },
    "augment": {"alpha": "float(0,inf)", "probability": "float(0,1]"},
    "stopping": {"patience": "int[1,inf)", "min_delta": "float[0,inf)"},
    "cluster": {
        "nodes": "int[1,inf)",
        "tasks_per_node": "int[1,inf)",
        "gpus_per_node": "int[0,inf)",
        "cpus_per_task": "int[1,inf)",
        "mem_gb": "float(0,inf)",
        "timeout_min": "float(0,inf)",
        "signal_delay_s": "int[0,inf)",
        "max_num_timeout": "int[0,inf)",
        "array_parallelism": "int[1,inf)",
        "grace_s": "int[0,inf)",
    },
    "monitor": {"threshold": "float(0,inf)", "window": "int[2,inf)", "warmup": "int[2,inf)"},
}
"""Bounds of numbers, by group and argument, where the target itself would complain only once it is called."""

ALGORITHM_GROUPS = ("regularization", "augment", "stopping", "monitor")
"""The groups whose nodes are algorithms, in the order their hooks run."""

PARTIAL = frozenset({"model", "optimizer", "scheduler", "parallel"})
"""The groups whose nodes are called later, with what is PROVIDED: these say `_partial_: true`, and no others do."""

_LENGTH = re.compile(rf"(?:(\d+(?:\.\d+)?)\*)?({'|'.join(LENGTHS)})(?:/(\d+(?:\.\d+)?))?")


def length(value: Any) -> tuple[float, str] | None:
    """A length in words as (times, word): `decay_steps/4` is (0.25, "decay_steps"). None for what is none."""
    match = _LENGTH.fullmatch(value.replace(" ", "")) if isinstance(value, str) else None
    if match is None or float(match[3] or 1) == 0:
        return None
    return float(match[1] or 1) / float(match[3] or 1), match[2]


def num_splits(node: dict[str, Any]) -> int | None:
    """How many splits a node of conf/validation makes, by its arguments alone; None where they do not say."""
    for inside in ("outer", "folds"):
        if inside in node:
            return num_splits(node[inside])
    splits = node.get("n_splits")
    if splits is None:
        return 1 if str(node.get("_target_", "")).startswith("launcher.data.splits.") else None
    return int(splits) * int(node.get("n_repeats", 1))
