"""The learning rate of every group of parameters."""

from __future__ import annotations

from launcher.core.algorithm import Monitor
from launcher.core.run import Run


class LearningRate(Monitor):
    """Logs `lr/<group>` for each of the optimizer's groups at every log line: by its name, else by its number.

    `lr`, the first group's, is always logged; here a single group is not logged twice.
    """

    def log(self, run: Run) -> dict[str, float]:
        groups = run.main.optimizer.param_groups
        if len(groups) == 1:
            return {}
        return {f"lr/{group.get('name', number)}": float(group["lr"]) for number, group in enumerate(groups)}
