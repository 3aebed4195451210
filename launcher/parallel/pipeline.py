"""Pipeline parallel: each process has some of the layers, and micro-batches pass through them one behind the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import Schedule1F1B, ScheduleGPipe, ScheduleInterleaved1F1B
from torch.optim import Optimizer

from launcher.adapters.torch import BatchNorm, foreach_mul_
from launcher.artifacts.checkpoint.pieces import Piece, whole
from launcher.config.parallel_degrees import degrees
from launcher.core.loss import Loss
from launcher.core.memory_shares import Shares
from launcher.core.parallel import LossHook
from launcher.errors import ConfigError
from launcher.memory.precision import Precision

from .distributed import Distributed
from .optimizer_state import full_optimizer_state, own_optimizer_state
from .partitioned_optimizer import as_pieces, copied, described
from .pipeline_stage import Columns, Timed, alike, is_buffer, waiting
from .point_to_point import add_up, pass_on, tell
from .replicas import Group

if TYPE_CHECKING:
    from launcher.core.run import Run
    from launcher.core.task import Task
    from launcher.data.samples import Batch

SCHEDULES: dict[str, Any] = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B, "interleaved": ScheduleInterleaved1F1B}


class Pipeline(Distributed):
    """`torch.distributed.pipelining` over the stages that `Task.stages` cuts the model into.

    `num_stages` processes (null: all) hold one model; where there are more, each further set of them has a copy and
    its own share of the samples, and gradients are averaged between the copies. A step's samples pass in
    `training.accumulate` x `num_microbatches` portions. `schedule` is GPipe (Huang et al., 2019), 1F1B (Narayanan et
    al., 2019), which keeps fewer activations, or interleaved (Narayanan et al., 2021): `stages_per_process` stages a
    process, and a bubble that is smaller by that factor.

    The rest of the model stays in the host's memory with the values of the start: it gives parameters their names and
    the optimizer its groups, so that a checkpoint is that of a whole model. A weight that two stages share (tied
    embeddings) gets the sum of both gradients.

    Raises ConfigError for half precision's loss scale, and for batch norm in copies.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"grad_norm"})
    even_batches = True

    @classmethod
    def shares(cls, settings: Mapping[str, Any]) -> Shares:
        laid = degrees(settings)
        num, portions = laid.pipeline, int(settings["num_microbatches"])
        schedule = settings["schedule"]
        loops = int(settings["stages_per_process"]) if schedule == "interleaved" else 1
        share = num * loops * portions / waiting(schedule, num, loops, portions)
        return Shares(num, num, num, share, laid.data, whole_on_host=num > 1, portions_wait=schedule == "gpipe")

    def __init__(
        self,
        precision: Precision,
        device: str = "auto",
        num_processes: int = 2,
        timeout_s: float = 600,
        num_stages: int | None = None,
        schedule: Literal["gpipe", "1f1b", "interleaved"] = "1f1b",
        num_microbatches: int = 4,
        stages_per_process: int = 2,
    ) -> None:
        super().__init__(precision, device, num_processes, timeout_s)
        laid = degrees({"num_stages": num_stages}, self.world_size)
        if self.scaler is not None:
            raise ConfigError(
                "precision=fp16: a pipeline has no loss scale between its stages; precision=bf16 needs none"
            )
        self.depth, self.schedule_name, self.num_microbatches = laid.pipeline, schedule, num_microbatches
        self.loops = stages_per_process if schedule == "interleaved" else 1
        self.lay_out(laid, "pipeline", "replicate")
        self.row = self.mesh.get_group("pipeline")
        self.ranks, self.place_in_row = dist.get_process_group_ranks(self.row), dist.get_rank(self.row)
        self.whole_weights, self.saves_pieces = False, self.world_size > 1
        self.busy_s = self.elapsed_s = 0.0
        self.measured = False
        self._schedule: Any = None
        self._micro: list[Batch] = []
        self._shapes: list[Batch] = []
        self._losses: dict[int, Loss] = {}
        self._hooks: tuple[Run, list[LossHook]] | None = None
        self._cut: tuple[nn.Module, list[nn.Module]] | None = None

    @property
    def engine(self) -> str:
        copies = f", {self.num_data_ranks} copies" if self.num_data_ranks > 1 else ""
        return f"torch.distributed.pipelining, {self.schedule_name}, {self.depth * self.loops} stages{copies}"

    def formula(self, num: int) -> float:
        """The share of a step in which a process waits, of `num` micro-batches that take every stage as long:
        (p - 1) / (v m + p - 1), with p processes and v stages on each (Narayanan et al., 2021, section 2.2)."""
        return (self.depth - 1) / (self.loops * num + self.depth - 1)

    # -- the model

    def prepare(self, model: nn.Module) -> nn.Module:
        stages = self._stages(model)
        if self.num_data_ranks > 1 and any(isinstance(module, BatchNorm) for module in model.modules()):
            raise ConfigError(
                "batch norm in copies of a pipeline would see a copy's samples alone; model.norm=layer or parallel.num_stages=null"
            )
        owners = [{id(each) for each in stage.parameters()} for stage in stages]
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        mine = {each for index in self._mine() for each in owners[index]}
        self.mine = {name for each, name in names.items() if each in mine}
        by_process = [
            set[int]().union(*(owners[index] for index in range(place, len(stages), self.depth)))
            for place in range(self.depth)
        ]
        self.shared = [name for each, name in names.items() if sum(each in own for own in by_process) > 1]
        self.counted = {
            name
            for each, name in names.items()
            if each in mine and not any(each in own for own in by_process[: self.place_in_row])
        }
        for index in self._mine():
            stages[index].to(self.device)
        self._whole = model
        return model

    def _mine(self) -> range:
        return range(self.place_in_row, self.depth * self.loops, self.depth)

    def _stages(self, model: nn.Module) -> list[nn.Module]:
        if self._cut is None or self._cut[0] is not model:
            self._cut = (model, self.task.stages(model, self.depth * self.loops))
        return self._cut[1]

    def build_optimizer(
        self, make: Callable[[list[dict[str, Any]]], Optimizer], groups: list[dict[str, Any]]
    ) -> Optimizer:
        names = {parameter: name for name, parameter in self._whole.named_parameters()}
        self.order = [[names[parameter] for parameter in group["params"]] for group in groups]
        return make(
            [group | {"params": [each for each in group["params"] if names[each] in self.mine]} for group in groups]
        )

    def replicas(self, model: nn.Module) -> list[Group]:
        """This process's stages in each copy."""
        own: dict[str, Tensor] = {name: each for name, each in model.named_parameters() if name in self.mine}
        return [(self.data_group, own)] if self.num_data_ranks > 1 else []

    # -- a step

    def forward_backward(
        self, run: Run, batches: list[Batch], loss_hooks: list[LossHook]
    ) -> tuple[Tensor, int | Tensor]:
        self._shapes = alike([*self._shapes, *batches])
        columns = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
        num = self.num_microbatches * len(batches)
        if self._schedule is None:
            self._schedule = self._build(run.main.model, num)
        self._micro = [
            dict(zip(columns, parts, strict=True))
            for parts in zip(*(column.tensor_split(num) for column in columns.values()), strict=True)
        ]
        self._losses, self._hooks = {}, (run, loss_hooks)
        self._divisor = run.loaders.train.batch_size / self.num_data_ranks
        started = time.perf_counter()
        self._schedule.step(target=torch.arange(num), return_outputs=False, **columns)
        if self.measured:
            self.elapsed_s += time.perf_counter() - started
        sums = torch.zeros(2, dtype=torch.float64 if self.device.type != "mps" else torch.float32, device=self.device)
        if self._losses:
            sums[0] = torch.stack([loss.sum for loss in self._losses.values()]).sum()
            sums[1] = sum(loss.weight for loss in self._losses.values())
        dist.broadcast(sums, self.ranks[-1], group=self.row)
        self._join(run, float(self.sum(sums[1])))
        return sums[0].float(), sums[1]

    def _build(self, model: nn.Module, num: int) -> Any:
        parts = [
            Timed(
                Columns(self._stages(model)[index], index == 0, self),
                index,
                self.depth * self.loops,
                self.device,
                group=self.row,
            )
            for index in self._mine()
        ]
        for part in parts:
            part.pipeline = self
        kind = SCHEDULES[self.schedule_name]
        return kind(
            parts if self.loops > 1 or self.schedule_name == "interleaved" else parts[0],
            num,
            loss_fn=self._loss,
            scale_grads=False,
        )

    def _loss(self, output: Any, index: Tensor) -> Tensor:
        """The loss of a micro-batch on the last stage, as a share of the whole step's mean."""
        assert self._hooks is not None
        run, hooks = self._hooks
        batch = self._micro[int(index)]
        with self.precision.autocast(self.device):
            loss = self.task.loss(output, batch)
            for hook in hooks:
                loss = hook(run, batch, output, loss)
        self._losses[int(index)] = Loss(loss.sum.detach(), loss.weight)  # the pass that learns shapes comes before
        return loss.sum / self._divisor

    def _join(self, run: Run, weight: float) -> None:
        """Gradients of weights on several stages are summed, those of the copies averaged; all by the step's weight."""
        parameters = dict(run.main.model.named_parameters())
        for name in self.shared:
            gradient = parameters[name].grad if name in self.mine else None
            total = torch.zeros(parameters[name].shape, device=self.device) if gradient is None else gradient
            dist.all_reduce(total, group=self.row)
            if name in self.mine:
                parameters[name].grad = total
        gradients = self.gradients(run)
        scale = self._divisor / weight if weight else 0.0
        if self.num_data_ranks > 1 and gradients:
            add_up(gradients, self.data_group)
        if gradients:
            foreach_mul_(gradients, scale)

    def grad_norm(self, run: Run) -> Tensor:
        squares = torch.zeros((), device=self.device)
        for name, parameter in run.main.model.named_parameters():
            if name in self.counted and parameter.grad is not None:
                squares = squares + parameter.grad.float().square().sum()
        dist.all_reduce(squares, group=self.row)
        return squares.sqrt()

    def clip(self, run: Run, max_norm: float) -> Tensor:
        norm = self.grad_norm(run)
        if gradients := self.gradients(run):
            foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp_(max=1.0))
        return norm

    def bubble(self) -> float:
        """The measured share of the schedule's time in which this row's processes did not compute, since `measured`."""
        times = torch.tensor([self.busy_s, self.elapsed_s], dtype=torch.float64, device=self.device)
        dist.all_reduce(times, group=self.row)
        self.busy_s = self.elapsed_s = 0.0
        return float(1 - times[0] / times[1]) if times[1] else 0.0

    # -- an evaluation

    def forward(self, task: Task, model: nn.Module, batch: Batch) -> Any:
        """A whole batch through the stages, one after the other; every process gets the output."""
        stages = self._stages(model)
        x: Tensor | None = None
        for index, stage in enumerate(stages):
            place = index % self.depth
            if place == self.place_in_row:
                x = stage(x, batch)
            if index + 1 == len(stages):
                x = tell(x, self.ranks[place], self.row, self.device)
            elif self.depth > 1:
                x = pass_on(x, self.ranks[place], self.ranks[(place + 1) % self.depth], self.row, self.device)
        return x

    # -- a checkpoint is that of a whole model, of which each process writes its stages

    def model_state(self, model: nn.Module) -> dict[str, Any]:
        if self.world_size == 1:
            return super().model_state(model)
        made: dict[int, Piece] = {}  # tied weights are one
        state = model.state_dict(keep_vars=True)
        return {name: made.setdefault(id(tensor), self._piece(name, tensor.detach())) for name, tensor in state.items()}

    def _piece(self, name: str, tensor: Tensor) -> Piece:
        stages = [self._stages(self._whole)[index] for index in self._mine()]
        mine = self.data_rank == 0 and (name in self.counted or is_buffer(name, self._whole, stages))
        return Piece(tuple(tensor.shape), tensor.dtype, [((0,) * tensor.ndim, tensor)] if mine else [])

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        own = optimizer.state_dict()
        if self.world_size == 1:
            return own
        names = [name for group in self.order for name in group if name in self.mine]
        entries = {names[index]: as_pieces(entry) for index, entry in own["state"].items()}
        said: list[Any] = [None] * self.depth
        dist.all_gather_object(said, {name: described(entry) for name, entry in entries.items()}, group=self.row)
        written = {name: entry for name, entry in entries.items() if self.data_rank == 0 and name in self.counted}
        return full_optimizer_state(own, [*said, written], self.order)

    def load_optimizer(self, optimizer: Optimizer, saved: dict[str, Any]) -> None:
        own = own_optimizer_state(saved, self.order, self.mine)
        state = {number: copied(entry) for number, entry in own["state"].items()}
        optimizer.load_state_dict({"state": state, "param_groups": whole(own["param_groups"])})
