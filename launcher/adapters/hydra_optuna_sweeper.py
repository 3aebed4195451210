"""Private names of hydra-optuna-sweeper, whose words for search spaces are the launcher's."""

from __future__ import annotations

from hydra_plugins.hydra_optuna_sweeper._impl import (  # hydra-optuna-sweeper 1.4.0rc3
    create_optuna_distribution_from_override as distribution_of,
)

__all__ = ["distribution_of"]
