"""Tasks, models and algorithms that go wrong, or differ in one way, for the tests that run whole fits with them.

Named in a config as `tests.support.odd.X`, which LAUNCHER_TRUST has to allow.
"""

from __future__ import annotations

import copy
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from launcher.core.algorithm import Algorithm, Monitor
from launcher.core.loss import Loss
from launcher.core.run import Run
from launcher.data.samples import Batch, Datasets
from launcher.parallel.dtensor_parts import local
from launcher.tasks.image_classification import ImageClassification

TRUST = {"LAUNCHER_TRUST": "tests.support.odd.*"}


class Raises(ImageClassification):
    """Digits; the forward pass of training step `step` raises on rank `rank`."""

    def __init__(self, *args: Any, step: int = 3, rank: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.step, self.rank, self.count = step, rank, 0

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        if model.training:
            self.count += 1
        if self.count == self.step and int(os.environ.get("RANK", "0")) == self.rank:
            raise ValueError("the third digit is one too many")
        return super().forward(model, batch)


class Once(Raises):
    """Raises, or is killed with `kill`, unless the file `mark` says that this happened before, and writes it."""

    def __init__(self, *args: Any, mark: str, kill: bool = False, only: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mark, self.kill, self.only = Path(mark), kill, only

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        if self.mark.exists() or self.only not in (None, self.seed):
            self.count = -1
        elif model.training and self.count + 1 == self.step and int(os.environ.get("RANK", "0")) == self.rank:
            self.mark.touch()
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(model, batch)


class Stuck(Raises):
    """Rank `rank` raises at training step `step` with `others`, which never come to that step's end; without, it is the
    one that never does."""

    def __init__(self, *args: Any, others: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.others = others

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        mine = int(os.environ.get("RANK", "0")) == self.rank
        if model.training and self.count + 1 == self.step and mine != self.others:
            time.sleep(1000)
        if not self.others:
            self.count += model.training
            return ImageClassification.forward(self, model, batch)
        return super().forward(model, batch)


class Greedy(ImageClassification):
    """Digits; the third step asks for more memory than there is room for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.count = 0

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        self.count += model.training
        if self.count == 3:
            torch.empty(1 << 34)  # 64 GiB, which the test's limit does not give
        return super().forward(model, batch)


class OneTooFew(ImageClassification):
    """Digits, with one class fewer than the labels have."""

    def datasets(self) -> Datasets:
        found = super().datasets()
        self.classes = self.classes[:-1]
        return found


class Unheld(ImageClassification):
    """Digits, of which nothing is held out."""

    def datasets(self) -> Datasets:
        found = super().datasets()
        return Datasets(train=found.train, facts=found.facts)


class Weighted(ImageClassification):
    """Digits, where a sample counts as often as its label says: a weight that only the data can tell."""

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        losses = nn.functional.cross_entropy(output, batch["labels"], reduction="none")
        counts = batch["labels"].to(output.dtype)
        return Loss((losses * counts).sum(), counts.sum())


class Counted(Weighted):
    """The same with the weight as a plain number, which other ranks have otherwise. With `ragged` the samples say that their
    batches have not all one shape, of which such a number may follow."""

    def __init__(self, *args: Any, ragged: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ragged = ragged

    def datasets(self) -> Datasets:
        found = super().datasets()
        found.train.alike = not self.ragged
        return found

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        found = super().loss(output, batch)
        return Loss(found.sum, int(found.weight))


class Weightless(Weighted):
    """Digits, of which none counts."""

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        found = super().loss(output, batch)
        return (
            found
            if torch.is_inference_mode_enabled() or not output.requires_grad
            else Loss(found.sum * 0, found.weight * 0)
        )


class AtStep(ImageClassification):
    """Digits, with something odd in training step `step`, counted from 1."""

    def __init__(self, *args: Any, step: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.step, self.count = step, 0

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        found = super().loss(output, batch)
        self.count += output.requires_grad
        return self.odd(found) if output.requires_grad and self.count == self.step else found

    def odd(self, loss: Loss) -> Loss:
        raise NotImplementedError


class Diverges(AtStep):
    """The loss is infinite."""

    def odd(self, loss: Loss) -> Loss:
        return Loss(loss.sum + torch.inf, loss.weight)


class Explodes(AtStep):
    """The loss is a number, its gradient is none."""

    def odd(self, loss: Loss) -> Loss:
        return Loss(loss.sum + (loss.sum - loss.sum.detach()).sqrt(), loss.weight)


class Loud(ImageClassification):
    """Digits, with a loss that is `times` as large."""

    def __init__(self, *args: Any, times: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.times = times

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        found = super().loss(output, batch)
        return Loss(found.sum * self.times, found.weight)


class LogOfZero(ImageClassification):
    """Digits; the loss takes a logarithm of zero, so that a gradient is NaN."""

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        found = super().loss(output, batch)
        zero = (output * 0).sum()
        return Loss(found.sum + zero.log() * zero, found.weight)


class Undecided(ImageClassification):
    """Digits; held-out pictures are never a number, so that the validation loss is NaN from evaluation `bad` on."""

    def __init__(self, *args: Any, bad: tuple[int, ...] = (1,), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bad, self.count, self.was_training = tuple(bad), 0, True

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        if self.was_training and not model.training:
            self.count += 1
        self.was_training = model.training
        output = super().forward(model, batch)
        return output * torch.nan if not model.training and self.count in self.bad else output


class Interrupts(Monitor):
    """What a signal in the middle of training step `step` does, to rank `rank`."""

    def __init__(self, step: int, rank: int = 0) -> None:
        self.step, self.rank = step, rank

    def after_step(self, run: Run) -> None:
        if run.progress.step + 1 == self.step and run.parallel.rank == self.rank:
            run.interrupt.signal = 15


class Drifts(Monitor):
    """Rank `rank` moves a weight of its own by `size` after training step `step`."""

    def __init__(self, step: int, rank: int = 1, size: float = 1e-3) -> None:
        self.step, self.rank, self.size = step, rank, size

    def after_step(self, run: Run) -> None:
        if run.progress.step + 1 == self.step and run.parallel.rank == self.rank:
            parts = [local(each.detach()) for each in run.parallel.unwrap(run.main.model).parameters()]
            [each for each in parts if each.numel()][-1].view(-1)[0] += self.size


class Stops(Monitor):
    """Rank 0 has enough after training step `step`."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, run: Run) -> None:
        if run.progress.step + 1 == self.step and run.parallel.is_main:
            run.stop = "enough"


class Loaded(Monitor):
    """Logs whether the package `name` is imported, 1 or 0."""

    def __init__(self, name: str) -> None:
        self.name = name

    def log(self, run: Run) -> dict[str, float]:
        return {"loaded": float(self.name in sys.modules)}


class Late(Algorithm):
    """Rank 1 comes to its first step when rank 0 has taken step `step`, which the file `mark` tells."""

    def __init__(self, step: int, mark: str) -> None:
        self.step, self.mark = step, Path(mark)

    def batch(self, run: Run, batch: Batch) -> Batch:
        patience = time.monotonic() + 200
        while run.parallel.rank == 1 and not self.mark.exists():
            if time.monotonic() > patience:
                raise TimeoutError(f"rank 0 has not come to step {self.step}")
            time.sleep(0.01)
        return batch

    def after_step(self, run: Run) -> None:
        if run.parallel.is_main and run.progress.step + 1 == self.step:
            self.mark.touch()


class Tells(Algorithm):
    """Keeps the name of every hook that is called, in the order they are called in."""

    told: ClassVar[list[str]] = []

    def model(self, run: Run, model: nn.Module) -> nn.Module:
        self.told.append("model")
        return model

    def frozen(self, run: Run) -> dict[str, nn.Module]:
        self.told.append("frozen")
        return {"teacher": nn.Linear(2, 2)}

    def param_groups(self, run: Run, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.told.append("param_groups")
        return groups

    def fit_start(self, run: Run) -> None:
        self.told.append("fit_start")

    def epoch_start(self, run: Run) -> None:
        self.told.append("epoch_start")

    def batch(self, run: Run, batch: Batch) -> Batch:
        self.told.append("batch")
        return batch

    def loss(self, run: Run, batch: Batch, output: Any, loss: Loss) -> Loss:
        self.told.append("loss")
        return loss

    def gradients(self, run: Run) -> None:
        self.told.append("gradients")

    def step(self, run: Run, batches: list[Batch], closure: Callable[[], Tensor]) -> None:
        self.told.append("step")
        run.parallel.step(run)

    def after_step(self, run: Run) -> None:
        self.told.append("after_step")

    def log(self, run: Run) -> dict[str, float]:
        self.told.append("log")
        return {"told": float(len(self.told))}

    def eval_model(self, run: Run, model: nn.Module) -> nn.Module:
        self.told.append("eval_model")
        return model

    def eval_end(self, run: Run, metrics: dict[str, float]) -> None:
        self.told.append("eval_end")

    def fit_end(self, run: Run) -> None:
        self.told.append("fit_end")


class TellsOfSteps(Tells):
    """The same, without a model beside the trained one."""

    frozen = Algorithm.frozen  # as if it were not overridden


class Weights(Algorithm):
    """Keeps the sum of each weight after every step."""

    seen: ClassVar[list[list[float]]] = []

    def after_step(self, run: Run) -> None:
        self.seen.append([float(each.detach().double().sum()) for each in run.main.model.parameters()])


class Sharpness(Algorithm):
    """Sharpness-aware minimisation (Foret et al., 2021), equation 2 and algorithm 1: the gradient at w + rho g / |g|."""

    def __init__(self, rho: float = 0.05) -> None:
        self.rho = rho

    def step(self, run: Run, batches: list[Batch], closure: Callable[[], Tensor]) -> None:
        parameters = [parameter for parameter in run.main.model.parameters() if parameter.grad is not None]
        scale = self.rho / run.parallel.grad_norm(run)
        moves = [parameter.grad * scale for parameter in parameters]
        with torch.no_grad():
            for parameter, move in zip(parameters, moves, strict=True):
                parameter.add_(move)
        closure()
        with torch.no_grad():
            for parameter, move in zip(parameters, moves, strict=True):
                parameter.sub_(move)
        run.parallel.step(run)


class Halves(Algorithm):
    """Judges and exports the model with its weights halved, by a factor that it keeps in its state."""

    def __init__(self) -> None:
        self.factor = 1.0

    def after_step(self, run: Run) -> None:
        self.factor = 0.5 + 0.01 * run.progress.step

    def eval_model(self, run: Run, model: nn.Module) -> nn.Module:
        scaled = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in scaled.parameters():
                parameter.mul_(self.factor)
        return scaled

    def state_dict(self) -> dict[str, Any]:
        return {"factor": self.factor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.factor = state["factor"]


class Empty(nn.Module):
    """A model without a parameter."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.num_outputs = num_outputs

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, : self.num_outputs]


class Blabs(ImageClassification):
    """Digits; what a library might print with a credential in it, in each way that Python has, and then raised."""

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        import logging
        import warnings

        key = os.environ["SOME_API_KEY"]
        print("asking with", key)
        print(f"key={key}", "at https://me:word-of-me@host/db", file=sys.stderr, flush=True)
        logging.getLogger("some.library").warning("refused: %s", key)
        warnings.warn(f"{key} is old", stacklevel=2)
        print("-----BEGIN RSA PRIVATE KEY-----")
        print("MIIEowIBAAKCAQEA")
        print("-----END RSA PRIVATE KEY-----")
        raise ValueError(f"no answer to {key} from https://me:word-of-me@host/db")
