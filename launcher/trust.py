"""Whose code a config may name, and what a config may not hold.

A `_target_` runs code, so a config can only name what is listed here, what an installed package declares, and what
the environment variable LAUNCHER_TRUST adds. Nothing that a config says widens the list. The patterns are Hydra's:
an exact name, or a package with `.*` behind it; Hydra checks where the object really comes from too, so that a
module that is merely imported inside a trusted one is not reached through it.
"""

from __future__ import annotations

import importlib
import os
import re
from typing import Any

from .errors import ConfigError

_ROOMS = (
    "algorithms",
    "data",
    "loops",
    "memory",
    "monitors",
    "optim",
    "parallel",
    "precision",
    "procedures",
    "schedule",
    "search",
    "splits",
    "tasks",
    "trackers",
)
# Whole packages of scikit-learn are not safe: sklearn.utils can start a process. These hold estimators and splitters.
_SKLEARN = (
    "calibration", "cluster", "compose", "cross_decomposition", "decomposition", "discriminant_analysis", "dummy", "ensemble",
    "feature_extraction", "feature_selection", "gaussian_process", "impute", "isotonic", "kernel_approximation", "kernel_ridge",
    "linear_model", "mixture", "model_selection", "multiclass", "naive_bayes", "neighbors", "neural_network", "pipeline",
    "preprocessing", "random_projection", "semi_supervised", "svm", "tree",
)  # fmt: skip

WHITELIST = (
    *(f"launcher.{room}.*" for room in _ROOMS),
    "launcher.cluster.kubernetes.Kubernetes",  # not the rooms: what is beside them runs commands and asks the network
    "launcher.cluster.slurm.Slurm",
    "launcher.start.carbon_aware.CarbonAware",
    *(f"sklearn.{package}.*" for package in _SKLEARN),
    "torch.optim.*",
    "torch.nn.*",
    "torchmetrics.*",
    "transformers.optimization.*",  # not transformers.*: from_pretrained can run code from the hub
)

_SECRET = re.compile(
    r"(.*_)?(api_?key|access_key|secret_key|password|passwd|secret|credentials?|(api|auth|access|bearer|hf|hub|refresh)_token)|token",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"\w+://[^/@\s:]*:[^/@\s]+@")


def whitelist() -> list[str]:
    """The patterns of what a `_target_` may name. Raises ConfigError for a pattern in LAUNCHER_TRUST that is none."""
    added = [entry.strip() for entry in os.environ.get("LAUNCHER_TRUST", "").split(",") if entry.strip()]
    for pattern in added:
        if not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*(\.\*)?", pattern):
            raise ConfigError(
                f"LAUNCHER_TRUST={pattern}: expected names such as my_package.* or my_package.models.Net, with commas between them"
            )
    registry = importlib.import_module("launcher.tasks.registry")
    return [*WHITELIST, *registry.trusted(), *added]


def allowed(target: str, patterns: list[str]) -> bool:
    """Whether a dotted name matches one of the patterns."""
    return any(target.startswith(pattern[:-1]) if pattern.endswith(".*") else target == pattern for pattern in patterns)


def home(target: Any) -> str:
    """Where a class or function really comes from, as a dotted name."""
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', '')}"


def secrets(node: Any, path: str = "") -> list[str]:
    """The keys of a config that hold what looks like a secret: a token, a password, a URL with a login in it."""
    if isinstance(node, dict):
        entries = [(str(key), value) for key, value in node.items()]
    elif isinstance(node, list):
        entries = [(str(index), value) for index, value in enumerate(node)]
    else:
        return []
    found = []
    for key, value in entries:
        full = f"{path}.{key}" if path else key
        if isinstance(value, dict | list):
            found += secrets(value, full)
        elif isinstance(value, str) and value and (_SECRET.fullmatch(key) or _LOGIN.match(value)):
            found.append(full)
    return found
