"""What the processes of a pool import before a fit asks for it."""

from __future__ import annotations

from omegaconf import DictConfig

from .signatures import signature


def trains(config: DictConfig) -> bool:
    """Whether the model is trained step by step, and not fitted by scikit-learn."""
    return not signature(str(config.model._target_)).facts.get("estimator")


def modules(config: DictConfig) -> tuple[str, ...]:
    """The modules of what every fit of a run builds; of scikit-learn also those around an estimator."""
    nodes = [config[group] for group in ("task", "model", "data", "validation")]
    found = {str(node._target_).rpartition(".")[0] for node in nodes}
    if str(config.model._target_).startswith("sklearn."):
        found |= {"pandas", "skops.io", *(f"sklearn.{name}" for name in ("compose", "impute", "metrics", "pipeline"))}
    return tuple(sorted(found))
