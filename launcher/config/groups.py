"""The one table of the groups: what a group of conf/ holds, whose classes its entries may name, and what is done with them.

Everything else that goes through the groups derives from it: the schema's keys, the checks of a config, which targets
are allowed, what is built of a config, what a resumed run may change. A new group is an entry here and a folder in
conf/. Nothing that it names is imported.
"""

from __future__ import annotations

from collections.abc import Iterator

from .group import Group
from .library_targets import SAMPLERS, SCHEDULES, SKLEARN

_ALGORITHM = ("launcher.core.algorithm.Algorithm",)


GROUPS: dict[str, Group] = {
    "task": Group(
        "one",
        ("launcher.tasks.*",),
        bases=("launcher.core.task.Task",),
        provided=frozenset({"data", "model", "validation", "seed"}),
    ),
    "model": Group(
        "one",
        ("launcher.tasks.*", "torch.nn.*", *SKLEARN),
        bases=("torch.nn.modules.module.Module", "sklearn.base.BaseEstimator"),
        inside=("validation",),
        partial=True,  # what its task `provides` is given to it, as far as it has parameters of these names
        ranges={
            "dropout": "float[0,1)",
            "width": "int[1,inf)",
            "depth": "int[1,inf)",
        },
    ),
    "data": Group(
        "one",
        ("launcher.tasks.*",),
        has=("kind",),
    ),
    "validation": Group(
        "one",
        ("launcher.data.splits.*", "sklearn.model_selection.*"),
        has=("split",),
        ranges={
            "fraction": "float(0,1)",
            "gap": "int[0,inf)",
            "max_train_size": "int[1,inf)",
            "n_splits": "int[1,inf)",
            "n_repeats": "int[1,inf)",
            "random_state": "int[0,4294967295]",
            "test_size": "float(0,inf)",
        },
    ),
    "optimizer": Group(
        "one",
        ("launcher.optim.*", "torch.optim.*", "transformers.optimization.*"),
        bases=("torch.optim.optimizer.Optimizer",),
        partial=True,
        provided=frozenset({"params"}),
        consumed=frozenset({"groups"}),
        words={"lr": "auto"},  # found out by a range test
        ranges={
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
    ),
    "scheduler": Group(
        "one",
        ("launcher.optim.schedulers.*", "torch.optim.*", "transformers.optimization.*"),
        bases=("torch.optim.lr_scheduler.LRScheduler",),
        factories=SCHEDULES,
        partial=True,
        provided=frozenset({"optimizer"}),
        consumed=frozenset({"warmup", "warmup_shape"}),
        ranges={
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
    ),
    "precision": Group(
        "one",
        ("launcher.memory.precision.*",),
        bases=("launcher.memory.precision.Precision",),
    ),
    "memory": Group(
        "one",
        ("launcher.memory.activations.*",),
        bases=("launcher.memory.activations.Memory",),
        resumable=True,
    ),
    "parallel": Group(
        "one",
        ("launcher.parallel.*",),
        bases=("launcher.core.parallel.Parallel",),
        partial=True,
        provided=frozenset({"precision", "communication"}),
        consumed=frozenset({"max_restarts", "device_memory_gb"}),
        keys={"device_memory_gb": None},  # GiB; null: what is found
        resumable=True,
        ranges={
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
    ),
    "communication": Group(
        "one",
        ("launcher.parallel.communication.*",),
        bases=("launcher.core.communication.Communication",),
        resumable=True,
        ranges={
            "rank": "int[1,inf)",
            "start_step": "int[0,inf)",
            "period": "int[1,inf)",
            "max_staleness": "int[0,inf)",
            "outer_lr": "float(0,inf)",
            "momentum": "float[0,1)",
        },
    ),
    "procedure": Group(
        "one",
        ("launcher.procedures.*",),
        bases=("launcher.core.procedure.Procedure",),
        ranges={
            "confidence": "float(0,1)",
            "fold": "int[0,inf)",
            "inner_fold": "int[0,inf)",
        },
    ),
    "cluster": Group(
        "perhaps",
        # Not the room: what is beside them runs commands and asks the network.
        ("launcher.cluster.kubernetes.Kubernetes", "launcher.cluster.slurm.Slurm"),
        has=("pool", "script"),
        resumable=True,
        preloaded=False,
        ranges={
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
    ),
    "start": Group(
        "perhaps", ("launcher.launch.start.carbon_aware.CarbonAware",), has=("choose", "told"), preloaded=False
    ),
    "tracker": Group(
        "many", ("launcher.trackers.*",), bases=("launcher.trackers.base.Tracker",), resumable=True, preloaded=False
    ),
    "regularization": Group(
        "many",
        ("launcher.algorithms.regularization.*",),
        bases=_ALGORITHM,
        effect="changes",
        ranges={
            "smoothing": "float[0,1)",
            "decay": "float(0,1)",
            "rho": "float(0,inf)",
            "rate": "float[0,1)",
        },
    ),
    "augment": Group(
        "many",
        ("launcher.algorithms.augment.*",),
        bases=_ALGORITHM,
        effect="changes",
        ranges={
            "alpha": "float(0,inf)",
            "probability": "float(0,1]",
        },
    ),
    "stopping": Group(
        "many",
        ("launcher.monitors.stopping.*",),
        bases=_ALGORITHM,
        effect="stops",
        ranges={
            "patience": "int[1,inf)",
            "min_delta": "float[0,inf)",
        },
    ),
    "monitor": Group(
        "many",
        ("launcher.monitors.*",),
        bases=_ALGORITHM,
        effect="watches",
        ranges={
            "threshold": "float(0,inf)",
            "window": "int[2,inf)",
            "warmup": "int[2,inf)",
        },
    ),
}
"""By name. The order is that of the keys of a config, and of the hooks of its algorithms."""

SWEEPER: dict[str, Group] = {
    "hydra.sweeper": Group(
        "perhaps", ("launcher.search.settings.Settings",), bases=("launcher.search.settings.Settings",)
    ),
    "hydra.sweeper.sampler": Group(
        "perhaps",
        ("optuna.samplers.*", "launcher.search.space.samplers.*", "launcher.search.space.bohb.Bohb", *SAMPLERS),
        bases=("optuna.samplers._base.BaseSampler", "optuna.samplers.nsgaii._crossovers._base.BaseCrossover"),
        factories=SAMPLERS,
    ),
    "hydra.sweeper.pruner": Group("perhaps", ("optuna.pruners.*",), bases=("optuna.pruners._base.BasePruner",)),
    "hydra.sweeper.proxy": Group("perhaps", ("launcher.search.early.proxies.*",), called=True),
    "hydra.sweeper.custom_search_space": Group("perhaps", (), called=True),
}
"""The nodes of a sweep that have a `_target_`, by their keys."""


def holding(*kinds: str) -> Iterator[str]:
    """The groups that hold so many objects: "one", "perhaps", "many"."""
    return (name for name, group in GROUPS.items() if group.holds in kinds)


def algorithms(*effects: str) -> Iterator[str]:
    """The groups whose entries are algorithms, in the order in which their hooks run; of those effects, or of all."""
    return (name for name, group in GROUPS.items() if group.effect and (not effects or group.effect in effects))
