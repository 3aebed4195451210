"""What a candidate is scored by before it is trained: (task, model with fresh weights, batch) to a number, the higher the
better. The mathematics is in `launcher.functional.zero_cost`.

Any function of these three can be a proxy: `hydra.sweeper.proxy._target_` names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from launcher.config.trust import factory
from launcher.errors import ConfigError
from launcher.functional import zero_cost

if TYPE_CHECKING:
    from torch import Tensor, nn

    from launcher.core.task import Task
    from launcher.data.samples import Batch


COORDINATES = 1 << 20
"""Of a larger network so many gradients stand for all."""


@factory("hydra.sweeper.proxy")
def ntk(task: Task, model: nn.Module, batch: Batch) -> float:
    """Chen et al., 2021. The statistics of a batch norm are those that it begins with, so that samples do not mix."""
    model.eval()
    parameters = [each for each in model.parameters() if each.requires_grad]
    total = sum(each.numel() for each in parameters)
    generator = torch.Generator().manual_seed(0)
    kept: list[Tensor | None] = [None] * len(parameters)
    if total > COORDINATES:
        counts = [max(1, each.numel() * COORDINATES // total) for each in parameters]
        kept = [
            torch.randint(each.numel(), (num,), generator=generator).to(each.device)
            for each, num in zip(parameters, counts, strict=True)
        ]
    rows = []
    for at in range(len(next(iter(batch.values())))):
        one = {name: column[at : at + 1] for name, column in batch.items()}
        loss = task.loss(task.forward(model, one), one)
        found = torch.autograd.grad(loss.sum / loss.weight, parameters, materialize_grads=True)
        flat = (
            each.flatten() if some is None else each.flatten()[some] for each, some in zip(found, kept, strict=True)
        )
        rows.append(torch.cat(list(flat)))
    return zero_cost.ntk(torch.stack(rows))


@factory("hydra.sweeper.proxy")
def naswot(task: Task, model: nn.Module, batch: Batch) -> float:
    """Mellor et al., 2021. Raises ConfigError for a model without activations that it knows."""
    model.train()
    with torch.no_grad(), zero_cost.activations(model) as codes:
        task.forward(model, batch)
    if not codes:
        known = ", ".join(each.__name__ for each in zero_cost.RECTIFIERS)
        raise ConfigError(f"hydra/sweeper/proxy=naswot: {type(model).__name__} has none of the activations {known}")
    return zero_cost.naswot(codes)


@factory("hydra.sweeper.proxy")
def grad_norm(task: Task, model: nn.Module, batch: Batch) -> float:
    """Abdelfattah et al., 2021, of the task's own loss."""
    model.train()
    loss = task.loss(task.forward(model, batch), batch)
    (loss.sum / loss.weight).backward()
    return zero_cost.grad_norm(list(model.parameters()))


@factory("hydra.sweeper.proxy")
def synflow(task: Task, model: nn.Module, batch: Batch) -> float:
    """Tanaka et al., 2020. Raises ConfigError where the model's inputs are not numbers, as tokens are not."""
    shown = {name: column[:1] for name, column in batch.items()}
    floats = {
        name: torch.ones_like(column, dtype=torch.float64)
        for name, column in shown.items()
        if column.is_floating_point()
    }
    if not floats:
        raise ConfigError(
            f"hydra/sweeper/proxy=synflow: {type(model).__name__} takes no numbers in; naswot does without"
        )

    def forward(given: nn.Module) -> Tensor:
        output = task.forward(given, shown | floats)
        found: Tensor = output if isinstance(output, torch.Tensor) else output.logits
        return found

    return zero_cost.synflow(model, forward)
