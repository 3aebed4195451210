"""Tables that come with scikit-learn."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from launcher.errors import ConfigError, did_you_mean

from .columns import refuse_problem
from .kinds import Table

PROBLEM_OF = {"breast_cancer": "classification", "wine": "classification", "diabetes": "regression"}


class Bundled:
    """A table of `sklearn.datasets` that needs no download: `name` is one of `PROBLEM_OF`.

    `problem` says the same in the config, where a model's entry can follow it. Raises ConfigError for another name,
    and for classification of a table whose target is a quantity, or the reverse.
    """

    kind: ClassVar[str] = "table"

    def __init__(self, name: str, problem: str) -> None:
        if name not in PROBLEM_OF:
            raise ConfigError(f"data.name={name}: scikit-learn brings no such table.{did_you_mean(name, PROBLEM_OF)}")
        refuse_problem(problem)
        if problem != PROBLEM_OF[name]:
            raise ConfigError(f"data.problem={problem}: the target of {name} is for {PROBLEM_OF[name]}")
        self.name = name

    def table(self) -> Table:
        from sklearn import datasets

        found = getattr(datasets, f"load_{self.name}")()
        columns = [str(name) for name in found.feature_names]
        if PROBLEM_OF[self.name] == "regression":
            return Table(found.data, found.target.astype(np.float64), columns, [])
        return Table(found.data, found.target.astype(np.int64), columns, [], [str(name) for name in found.target_names])
