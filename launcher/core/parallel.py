"""Parallel: how a step's forward, backward and update are spread over processes and devices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from launcher.adapters.torch import foreach_clamp_, foreach_mul_, foreach_norm
from launcher.artifacts.checkpoint.pieces import whole
from launcher.data.samples import moved
from launcher.memory.precision import Precision

from .collectives import Ranks
from .loss import Loss
from .memory_shares import Shares

if TYPE_CHECKING:
    from launcher.core.run import Run
    from launcher.data.samples import Batch

    from .task import Task

LossHook = Callable[["Run", "Batch", Any, Loss], Loss]


class Parallel(Ranks):
    """One process with a whole model. What spreads further overrides what differs.

    `capabilities` are what an algorithm may ask for by the same words: "local_gradients" (each rank sees whole
    gradients in `.grad`), "grad_norm", "full_params" (each rank can see whole weights), "full_state" (and the whole
    state of the optimizer), "closure" (a step's gradients can be computed twice).
    """

    capabilities: ClassVar[frozenset[str]] = frozenset(
        ("local_gradients", "grad_norm", "full_params", "full_state", "closure")
    )
    saves_pieces = False
    """Whether each rank writes a part of a checkpoint."""
    whole_weights = True
    """Whether this rank's model has all weights; if not, what is exported is read from a checkpoint."""
    apart = False
    """Whether ranks do not wait for each other between the first step and the last: the main one alone judges and saves
    what all have brought in until then, and what ranks tell each other (`sum`, `agree`, …) a rank tells itself."""
    even_batches = False
    """Whether all batches have to have the same shapes."""
    forward_together = False
    """Whether ranks exchange something in a forward pass, so that all have to make as many."""

    def __init__(self, precision: Precision, device: torch.device, rank: int = 0, world_size: int = 1) -> None:
        self.precision, self.device = precision, device
        self.rank, self.world_size = rank, world_size
        self.data_rank, self.num_data_ranks = rank, world_size
        """Which share of a step's samples this rank takes, of how many; ranks that split a model take the same one."""
        self.data_group: Any = None
        """The process group of the ranks with other shares; None is all ranks."""
        self.scaler = precision.scaler(device)
        self.task: Task  # there before `prepare`, for a strategy that splits the model as the task says
        self._started: tuple[tuple[float, torch.dtype], Tensor] | None = None

    @classmethod
    def shares(cls, settings: Mapping[str, Any]) -> Shares:
        """How the memory of a run with these `settings` (the node of conf/parallel) is spread over its ranks."""
        return Shares()

    @property
    def engine(self) -> str | None:
        """What does the work between ranks, for the header; None where there is nothing to say."""
        return None

    @property
    def is_main(self) -> bool:
        """Whether this rank writes the run's folder."""
        return self.rank == 0

    @property
    def judges(self) -> bool:
        """Whether this rank takes part in evaluations and checkpoints."""
        return self.is_main or not self.apart

    # -- the model

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model as it is trained: on its device, wrapped where the strategy wraps. Before the optimizer is built."""
        return model.to(self.device)

    def unwrap(self, model: nn.Module) -> nn.Module:
        """The model as the task made it."""
        return model

    def judged(self, model: nn.Module) -> nn.Module:
        """The model that is evaluated, as the task made it. Every rank comes here."""
        return self.unwrap(model)

    def begin(self, run: Run) -> None:
        """Everything is built and restored, the first step of this process is next. Every rank comes here."""

    def bring_in(self, run: Run) -> None:
        """The last step of this process is taken: where ranks are apart, what they have moves into what is judged. Every
        rank comes here, and may more than once."""

    def finish(self, model: nn.Module) -> None:
        """The last step is taken: what ranks have apart is brought together. Every rank comes here."""

    def plain(self, model: nn.Module) -> nn.Module:
        """The model that is exported, its weights to be loaded if they are not `whole_weights` already."""
        return self.unwrap(model)

    def evaluated(self, model: nn.Module) -> None:
        """An evaluation is over: let go of what its forward passes have left."""

    @property
    def writer(self) -> tuple[int, int]:
        """Which of how many ranks that write a checkpoint this is."""
        return (self.rank, self.world_size) if self.saves_pieces else (0, 1)

    def build_optimizer(
        self, make: Callable[[list[dict[str, Any]]], Optimizer], groups: list[dict[str, Any]]
    ) -> Optimizer:
        """The optimizer of the prepared model's parameters."""
        return make(groups)

    def place(self, batch: Batch) -> Batch:
        """A batch on this rank's device."""
        return batch if self.device.type == "cpu" else moved(batch, self.device, non_blocking=True)

    def forward(self, task: Task, model: nn.Module, batch: Batch) -> Any:
        """The task's output for a batch; where ranks split the model, every one of them gets it."""
        return task.forward(model, batch)

    def numel(self, parameter: Tensor) -> int:
        """The elements of a whole parameter."""
        return parameter.numel()

    def weights(self, model: nn.Module) -> list[Tensor]:
        """This rank's part of the weights, in their own memory."""
        return self.local([parameter.detach() for parameter in model.parameters()])

    # -- a step

    def forward_backward(
        self, run: Run, batches: list[Batch], loss_hooks: list[LossHook]
    ) -> tuple[Tensor, int | Tensor]:
        """Gradients of one step's mean loss in `.grad`; returns this rank's sum (detached) and weight of the loss.

        Each micro-batch is divided by what the whole weight of this rank should be: the first one's times their
        number where that is known from shapes, else the samples. Where the true weight turns out to be another one
        (tokens that count, known only from the data), the gradients are rescaled once, at the end. A number is taken to
        be the same on every rank only where all batches are alike.
        """
        model, task, precision = run.main.model, run.task, self.precision
        rows = run.loaders.train.batch_size // self.num_data_ranks
        alike = run.loaders.train.samples.alike
        divisor: float = 0.0
        total: Tensor | None = None
        weight: int | Tensor = 0
        last = len(batches) - 1
        for index, batch in enumerate(batches):
            with contextlib.nullcontext() if index == last else self.accumulating(model):
                with precision.autocast(self.device):
                    output = self.forward(task, model, batch)
                    loss = task.loss(output, batch)
                    for hook in loss_hooks:
                        loss = hook(run, batch, output, loss)
                if index == 0:
                    divisor = loss.weight * len(batches) if isinstance(loss.weight, int) and alike else rows
                if self.scaler is None:
                    loss.sum.backward(self._share(loss.sum, divisor))
                else:
                    self.scaler.scale(loss.sum / divisor).backward()
            part = loss.sum.detach()
            total = part if total is None else total + part
            weight = loss.weight if index == 0 else weight + loss.weight
        assert total is not None
        whole = self.whole(weight if alike or isinstance(weight, Tensor) else self.of_this_rank(weight))
        if isinstance(whole, Tensor):  # a step in which nothing counts moves nothing
            foreach_mul_(self.gradients(run), torch.where(whole > 0, divisor * self.num_data_ranks / whole, 0.0))
        elif whole != divisor * self.num_data_ranks:
            foreach_mul_(self.gradients(run), divisor * self.num_data_ranks / whole)
        return total, weight

    def _share(self, total: Tensor, divisor: float) -> Tensor:
        """1 / divisor as the gradient that backward starts from: the loss need not be divided, in either direction."""
        if self._started is None or self._started[0] != (divisor, total.dtype):
            self._started = ((divisor, total.dtype), torch.full_like(total, 1 / divisor))
        return self._started[1]

    def recompute(self, run: Run, batches: list[Batch], loss_hooks: list[LossHook]) -> Tensor:
        """The gradients of a step once more, at the weights as they are now, in the state the loop leaves them in:
        without a loss scale, clipped. Returns this rank's mean loss."""
        if self.scaler is not None:
            self.scaler.update()  # ends the first gradients' turn: a scaler unscales once an update
        run.main.optimizer.zero_grad()
        total, weight = self.forward_backward(run, batches, loss_hooks)
        self.unscale(run)
        self.clip_asked(run)
        return total / weight

    def unscale(self, run: Run) -> None:
        """Take the loss scale out of the gradients, where there is one."""
        if self.scaler is not None:
            self.scaler.unscale_(run.main.optimizer)

    def step(self, run: Run) -> None:
        """The optimizer's step; with a loss scale, one whose gradients overflowed is left out."""
        if self.scaler is None:
            run.main.optimizer.step()
        else:
            self.scaler.step(run.main.optimizer)
            self.scaler.update()

    def skip(self, run: Run) -> None:
        """What takes the place of `step` where the step is left out."""
        if self.scaler is not None:
            self.scaler.update()

    def accumulating(self, model: nn.Module) -> contextlib.AbstractContextManager[object]:
        """The context of a micro-batch that is not the step's last: no gradients are exchanged yet."""
        return contextlib.nullcontext()

    def gradients(self, run: Run) -> list[Tensor]:
        """The gradients that are there; of those that are split, this rank's part."""
        return self.local(self.whole_gradients(run))

    def whole_gradients(self, run: Run) -> list[Tensor]:
        """The gradients that are there, as the parameters are."""
        return [
            parameter.grad
            for group in run.main.optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]

    def local(self, tensors: list[Tensor]) -> list[Tensor]:
        """This rank's part of tensors, in the same memory."""
        return tensors

    def grad_norm(self, run: Run) -> Tensor:
        """The 2-norm of the whole gradient, a scalar on the device."""
        norm: Tensor = torch.linalg.vector_norm(torch.stack(foreach_norm(self.gradients(run))))
        return norm

    def clip(self, run: Run, max_norm: float) -> Tensor:
        """Scale the gradient so that its norm is at most `max_norm`; returns the norm before (Pascanu et al., 2013), by the
        arithmetic of `torch.nn.utils.clip_grad_norm_`, without its sorting by device and type."""
        gradients = self.gradients(run)
        norm: Tensor = torch.linalg.vector_norm(torch.stack(foreach_norm(gradients)))
        foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp_(max=1.0))
        return norm

    def clip_value(self, run: Run, largest: float) -> None:
        """Limit each entry of the gradient to at most `largest` in absolute value (Mikolov, 2012)."""
        gradients = self.gradients(run)
        foreach_clamp_(gradients, -largest, largest)

    def clip_asked(self, run: Run) -> None:
        """Clip as `training.clip_norm` and `training.clip_value` say; the entries first where both are given."""
        if run.settings.clip_value is not None:
            self.clip_value(run, run.settings.clip_value)
        if run.settings.clip_norm is not None:
            self.clip(run, run.settings.clip_norm)

    # -- state

    def rank_state(self, run: Run) -> dict[str, Any]:
        """What this rank alone has, and needs to go on bit for bit."""
        return {}

    def load_rank_state(self, run: Run, state: dict[str, Any]) -> None:
        """Take up what `rank_state` returned, after all that ranks share; only where there are as many as there were."""

    def model_state(self, model: nn.Module) -> dict[str, Any]:
        """A model's weights and buffers by their names; what is split as `Piece`."""
        return self.judged(model).state_dict()

    def load_model(self, model: nn.Module, saved: dict[str, Any]) -> None:
        """Take up what `model_state` of any strategy, at any number of ranks, returned."""
        self.unwrap(model).load_state_dict(whole(saved))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """An optimizer's state as its own `state_dict`, of all parameters; what is split as `Piece`."""
        return optimizer.state_dict()

    def load_optimizer(self, optimizer: Optimizer, saved: dict[str, Any]) -> None:
        """Take up what `optimizer_state` of any strategy, at any number of ranks, returned."""
        optimizer.load_state_dict(whole(saved))

    def state_dict(self) -> dict[str, Any]:
        return {"scaler": self.scaler.state_dict()} if self.scaler is not None else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.scaler is not None and "scaler" in state:
            self.scaler.load_state_dict(state["scaler"])

    def close(self) -> None:
        """Leave the process group."""
