"""Search spaces whose parameters depend on each other, named in a config as `tests.search.spaces.X`."""

from __future__ import annotations

from omegaconf import DictConfig
from optuna.trial import Trial


def sizes(config: DictConfig, trial: Trial) -> None:
    """A width for the network that has one, a number of blocks for the other, by the config's own measure."""
    if trial.params["model"] == "mlp":
        trial.suggest_int("model.width", 8, config.training.batch_size)
    else:
        trial.suggest_int("model.depth", 1, 2)


def configure(config: DictConfig, trial: Trial) -> None:
    """A norm to clip to, by a parameter that was drawn before."""
    trial.suggest_float("training.clip_norm", 1, 1 + 100 * trial.params.get("optimizer.lr", 0.01))
