"""What the server that trials are forked from imports beforehand: the modules that every one of them would import by itself."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig

from .arguments import families
from .space import Dimension


def modules_of(config: DictConfig, dimensions: Sequence[Dimension]) -> tuple[str, ...]:
    """Modules that every trial will need beside those that every fit does."""
    nodes = [config.get(group) for group in ("task", "model", "data")]
    targets = [str(node.get("_target_")) for node in nodes if isinstance(node, DictConfig)]
    own = [target.rpartition(".")[0] for target in targets if target.startswith("launcher.")]
    return (
        *own,
        *families(config, dimensions),
        *([] if config.hydra.sweeper.get("pruner") is None else ["optuna", "launcher.search.pruning"]),
        *([] if config.hydra.sweeper.get("proxy") is None else ["optuna", "launcher.search.scoring"]),
    )
