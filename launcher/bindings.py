"""What `build.py` hands to the objects of a config beside the arguments that stand in it.

The one place that says so: `build.py` binds these, and `check.py` takes them off the list of what is missing. A
group's file leaves them out, and a config that sets one of them is refused.
"""

from __future__ import annotations

PROVIDED: dict[str, frozenset[str]] = {
    "task": frozenset({"data", "model", "validation", "seed"}),
    "optimizer": frozenset({"params"}),
    "scheduler": frozenset({"optimizer"}),
    "parallel": frozenset({"precision"}),
}
"""By group; a model is given the facts that its task `provides`, as far as it has parameters of their names."""

CONSUMED: dict[str, frozenset[str]] = {"scheduler": frozenset({"warmup", "warmup_shape"})}
"""Keys of a node that `build.py` takes for itself; the target never sees them."""

LENGTHS = ("decay_steps", "total_steps", "steps_per_epoch", "warmup_steps")
"""Words that a scheduler's number of steps may be given as: the steps after the warm-up, all steps, those of an epoch, the warm-up's."""

RANGES: dict[str, dict[str, str]] = {
    "optimizer": {
        "lr": "float(0,inf)",
        "weight_decay": "float[0,inf)",
        "momentum": "float[0,1)",
        "eps": "float(0,inf)",
    },
    "scheduler": {"step_size": "int[1,inf)", "T_max": "int[1,inf)", "eta_min": "float[0,inf)"},
    "model": {"dropout": "float[0,1)", "width": "int[1,inf)", "depth": "int[1,inf)"},
    "validation": {"fraction": "float(0,1)"},
    "parallel": {"num_processes": "int[1,inf)", "timeout_s": "float(0,inf)"},
    "regularization": {"smoothing": "float[0,1)"},
    "stopping": {"patience": "int[1,inf)", "min_delta": "float[0,inf)"},
}
"""Bounds of numbers, by group and argument, where the target itself would complain only once it is called."""

PARTIAL = frozenset({"model", "optimizer", "scheduler", "parallel"})
"""The groups whose nodes are called later, with what is PROVIDED: these say `_partial_: true`, and no others do."""
