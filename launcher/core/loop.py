"""Loop: how a task's model is trained, from a built run to the model that is exported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from launcher.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from omegaconf import DictConfig
    from torch import Tensor

    from launcher.console.console import Console
    from launcher.data.samples import Datasets
    from launcher.process.signals import Interrupt

    from .parallel import Parallel
    from .run import Run
    from .task import Task


class StepResult(NamedTuple):
    """What one training step gives back: this rank's part, which nothing has waited for yet."""

    loss: Tensor
    """The sum of the losses, detached (a scalar on the device)."""
    weight: int | Tensor
    """What that sum is to be divided by, as in `Loss`."""
    skipped: bool = False
    """Whether the weights were left as they are: then the loss does not count."""


class Loop(ABC):
    """How a model is trained. `Task.loop` names it, and a worker hands the whole fit to it: whatever differs between a
    network that takes steps and an estimator that is fitted in one call stands in a class below this one.

    A loop that takes steps extends `launcher.train.loops.base.Stepped`, which has what is due between two steps, and
    writes `step`. A constructor takes the console and nothing else.
    """

    can: ClassVar[frozenset[str]] = frozenset()
    """What is possible with it, by these words: "steps" (it goes on in steps, so that its progress is shown and its page
    renewed while it trains), "resume" (it saves checkpoints, from which a run goes on, is evaluated and exported),
    "rehearse" (its steps are those of `train/step.py` on batches of the training samples, so that some can be taken
    before the run begins: the range test, the search for a batch size, the plan, a proxy's score)."""

    name: str
    """The model's, by which a person knows it; there from `build` on."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @abstractmethod
    def build(
        self,
        config: DictConfig,
        folder: Path,
        task: Task,
        data: Datasets,
        model: Any,
        parallel: Parallel,
        interrupt: Interrupt,
    ) -> Run:
        """The run before its first step, with `model`, what the task made; nothing is restored and nothing is written."""

    @abstractmethod
    def header(self, run: Run) -> dict[str, Any]:
        """What the run's header says of how it trains, as `Console.header` knows it: at least `device` and `ranks`."""

    def sizes(self, run: Run) -> dict[str, int | None]:
        """How many `parameters` the model has, and `trainable_parameters`; None where it has no such thing."""
        return dict(run.sizes())

    @abstractmethod
    def fit(self, run: Run) -> dict[str, float]:
        """Train until the plan's end or `run.stop`; returns the metrics of the best evaluation.

        Where it ends early, `run.stop` says why; `run.progress`, `run.metrics` and `run.best` are what result.json tells.
        """

    def step(self, run: Run) -> StepResult:
        """Take one training step. Raises ConfigError for a loop that takes none."""
        raise ConfigError(f"{type(self).__name__} takes no steps: the model is fitted in one call")

    @abstractmethod
    def restore_best(self, run: Run, action: str) -> None:
        """Take up what the run's folder has of the best evaluation, in a run that was built anew; `action` is what asks.

        Raises ConfigError where the folder has nothing, or what it has is damaged.
        """

    @abstractmethod
    def evaluate(self, run: Run) -> dict[str, float]:
        """The metrics of the held-out samples, of which there are some, by their bare names."""

    @abstractmethod
    def best_model(self, run: Run) -> Any:
        """The model that the fit exports, after `fit`."""

    @abstractmethod
    def look(self, run: Run, model: Any, limit: int | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the exported `model` says of the held-out samples: the columns of `Task.predictions`, of the first `limit`
        ones (None: of all), and the content of evidence.json."""

    def state_dict(self) -> dict[str, Any]:
        """What the loop itself needs to go on bit for bit, for a checkpoint: nested dicts and lists of tensors and plain
        values. What a run has in any loop is in `Run.state`."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned. Raises ValueError for a state that this loop does not keep."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state of its own, and a loop's is there")
