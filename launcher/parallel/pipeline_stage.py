"""A stage of a model as `torch.distributed.pipelining` calls it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage

from launcher.adapters import torch as adapter
from launcher.errors import TrainingError

if TYPE_CHECKING:
    from launcher.data.samples import Batch

    from .pipeline import Pipeline


def waiting(schedule: str, num: int, loops: int, portions: int) -> int:
    """The most portions of a stage that wait for their backward pass at once in the first of `num` processes, of `loops`
    stages each: all of GPipe's; else those that pass before the first comes back (Narayanan et al., 2021)."""
    if schedule == "gpipe":
        return portions
    return min(loops * portions, num if loops == 1 else 2 * (num - 1) + (loops - 1) * num + 1)


def alike(batches: list[Batch]) -> list[Batch]:
    """The first of batches that all have the shapes of it, without its contents: what stages send was learned from it.

    Raises TrainingError for others, which would be sent into a place of another size.
    """
    for name, first in batches[0].items():
        for batch in batches[1:]:
            if batch[name].shape != first.shape:
                raise TrainingError(
                    f"parallel=pipeline: {name} of a batch has the shape {list(batch[name].shape)}, and of the first one "
                    f"{list(first.shape)}; stages are made for one. Samples say how to pad all of them alike by `evened`"
                )
    return [{name: column.to("meta") for name, column in batches[0].items()}]


def is_buffer(name: str, model: nn.Module, stages: list[nn.Module]) -> bool:
    """Whether the entry `name` of a model's state is a buffer of one of those stages of it."""
    module, _, buffer = name.rpartition(".")
    owner = model.get_submodule(module)
    return adapter.is_buffer(owner, buffer) and any(owner is each for stage in stages for each in stage.modules())


class Columns(nn.Module):
    """A stage as pipelining calls it: what the stage before sent, and the batch's columns by name."""

    def __init__(self, stage: nn.Module, first: bool, pipeline: Pipeline) -> None:
        super().__init__()
        self.stage = stage
        self.first = first
        self._of = (pipeline,)
        self._before: list[Tensor] | None = None

    def forward(self, *received: Tensor, **columns: Tensor) -> Any:
        """The first pass of a process is one by which pipelining learns shapes, from values of no meaning: it leaves no
        trace in the generators, and none in the statistics of batch norms once the second pass has begun."""
        pipeline, trial = self._of[0], self._before is None
        if self._before is None:
            self._before = [buffer.clone() for buffer in self.buffers()]
        elif self._before:
            for buffer, before in zip(self.buffers(), self._before, strict=True):
                buffer.copy_(before)
            self._before = []
        devices = [pipeline.device] if pipeline.device.type == "cuda" else []
        with torch.random.fork_rng(devices, enabled=trial), pipeline.precision.autocast(pipeline.device):
            return self.stage(None if self.first else received[0], columns).contiguous()


class Timed(PipelineStage):
    """A stage that adds up how long it computes, where that is asked for."""

    pipeline: Pipeline

    def forward_one_chunk(self, *args: Any, **kwargs: Any) -> Any:
        return self._timed(super().forward_one_chunk, args, kwargs)

    def backward_one_chunk(self, *args: Any, **kwargs: Any) -> Any:
        return self._timed(super().backward_one_chunk, args, kwargs)

    def _timed(self, call: Any, args: Any, kwargs: Any) -> Any:
        if not self.pipeline.measured:
            return call(*args, **kwargs)
        started = time.perf_counter()
        found = call(*args, **kwargs)
        self.pipeline.busy_s += time.perf_counter() - started
        return found
