"""What a run takes, found out before it starts: memory per rank, and floating-point operations a step.

Two steps and an evaluation are gone through with tensors that have shapes and no contents (torch's FakeTensorMode), by
the code that trains: the model, the loss, backward, the algorithms, the optimizer. Every storage that comes to life is
counted from then until it dies. Nothing is computed and next to no memory is taken, whatever the size of the model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from launcher.adapters.torch import (
    DataDependentOutputException,
    FakeTensorMode,
    UnsupportedOperatorException,
    without_modes,
)
from launcher.config.groups import algorithms
from launcher.config.instantiate import instantiate
from launcher.config.signatures import locate
from launcher.core.memory_shares import Shares
from launcher.errors import ConfigError
from launcher.memory.activations import blocks
from launcher.optim.build import optimizer_of
from launcher.optim.groups import roles
from launcher.parallel.tensor_plan import plan
from launcher.process.random_state import rng_state, set_rng_state
from launcher.process.signals import Interrupt
from launcher.train.build import build_run, build_task

from .capacity import on_host
from .fake_tensors import Tracker, copied, num_bytes
from .rehearsal import refuse_unless_rehearsable, rehearsal
from .weighed import Weighed

if TYPE_CHECKING:
    from launcher.core.run import Run
    from launcher.core.task import Task
    from launcher.data.samples import Batch, Datasets

SAMPLE = 1 << 16
CONSTANT = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "_partial_": True, "factor": 1.0, "total_iters": 0}

UNKNOWN = (DataDependentOutputException, UnsupportedOperatorException, NotImplementedError)
"""What is raised by code that asks for the contents of a tensor that has none."""


@dataclass(frozen=True)
class Estimate:
    """Bytes per rank; `peak` is the most at any one time, which is less than the sum of the rest."""

    parameters: int
    buffers: int
    gradients: int
    optimizer: int
    activations: int
    """What lives at the end of a micro-batch's forward pass, and is needed for backward."""
    extra: int
    """Copies beside them: what is sent, an average of the weights, a checkpoint that is being written (CPU)."""
    peak: int
    moment: str
    """When the peak is: "training" or "evaluation"."""
    flops: int
    """Of a step: forward and backward, over all ranks; products of matrices, convolutions and attention."""
    left_out: tuple[str, ...] = ()
    """What could not be counted."""


class Estimator:
    """Estimates for variants of one config, whose data are read once. Raises ConfigError as the run itself would."""

    def __init__(self, config: DictConfig) -> None:
        self.task: Task = build_task(config, blank=True)
        refuse_unless_rehearsable(self.task, "there are no steps to estimate")
        self.data: Datasets = self.task.datasets()

    def estimate(self, config: DictConfig) -> Estimate:
        """What a rank of the run that `config` describes takes. Raises ConfigError where there are no steps to take."""
        before = rng_state()
        try:
            with tempfile.TemporaryDirectory() as folder:
                for opaque, left_out in ((False, ()), (True, ()), (True, tuple(algorithms("changes")))):
                    try:
                        return self._estimate(config, Path(folder), opaque, left_out)
                    except UNKNOWN as error:
                        unknown = error
                raise ConfigError(
                    f"{type(self.task).__name__} looks into its tensors, so nothing can be told before it runs: {unknown}"
                )
        finally:
            set_rng_state(before)

    def _estimate(self, config: DictConfig, folder: Path, opaque: bool, left_out: tuple[str, ...]) -> Estimate:
        """With `opaque` the optimizer is one that looks into its tensors: its state is that of small real ones."""
        shares: Shares = locate(config.parallel._target_).shares(config.parallel)
        settings, whole = config.training, config.training.accumulate
        if shares.portions_wait:
            shares = replace(shares, activations=shares.activations / whole)
        given, config = config, config.copy()
        if opaque:
            config.optimizer = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1, "groups": None}
        for group in ("tracker", *algorithms("stops", "watches"), *left_out):
            config[group] = {}
        config.debug.profile = config.training.compile = False
        config.scheduler = CONSTANT  # moves no memory, and needs no length of the run
        if config.optimizer.lr == "auto":
            config.optimizer.lr = 1e-3
        config.training.accumulate = min(2, whole)  # with more, the same is repeated
        rows = max(1, settings.batch_size // (whole * shares.samples))
        config.training.batch_size = rows * config.training.accumulate
        config.training.eval_batch_size = settings.eval_batch_size or max(256, settings.batch_size // shares.samples)
        fake, tracker = FakeTensorMode(), Tracker()
        parallel = Weighed(instantiate(config.precision), torch.device("cpu"), shares, fake, tracker)
        with fake, tracker:
            torch.manual_seed(0)
            model: Any = self.task.model()
            run = build_run(config, folder, self.task, self.data, model, parallel, lambda _: None, Interrupt())
        with without_modes():
            micro = next(run.loaders.train.start(0))
            judged = None if run.loaders.val is None else next(iter(run.loaders.val), None)
            state_bytes = real_state_bytes(given, model) if opaque else None
        found = _Simulation(run, shares, tracker, state_bytes, on_host(given))
        with fake, tracker, copied():
            found.steps(micro)
            if judged is not None:
                found.evaluation(parallel.place(judged))
        found.activations = parallel.activations
        flops = parallel.flops * whole // config.training.accumulate * shares.samples
        return found.estimate(flops, left_out)


class _Simulation:
    """Two steps and an evaluation, within the modes that `Estimator` sets."""

    def __init__(self, run: Run, shares: Shares, tracker: Tracker, state_bytes: int | None, staged: bool) -> None:
        self.run, self.shares, self.tracker, self.state_bytes, self.staged = run, shares, tracker, state_bytes, staged
        self.weights = [weight for weight in run.main.model.parameters() if weight.requires_grad]
        self.parameters = num_bytes(run.main.model.parameters()) // shares.parameters
        self.buffers = num_bytes(run.main.model.buffers())
        self.gradients = num_bytes(self.weights) // shares.gradients
        self.optimizer = self.activations = 0
        self.peaks: dict[str, float] = {}
        self.state: Tensor | None = None  # of an optimizer that is not gone through
        for weight in run.main.model.parameters():
            tracker.weigh(weight, 1 / shares.parameters)
        for weight in self.weights:
            weight.register_post_accumulate_grad_hook(lambda each: tracker.weigh(each.grad, 1 / shares.gradients))
        if shares.layers > 1:
            self._split_layers()

    def _split_layers(self) -> None:
        """Between the layers of a pair that ranks split, each has its part of what is computed."""

        def entering(whole: float) -> Callable[..., None]:
            def enter(*_: Any) -> None:
                self.tracker.weight = whole / self.shares.activations

            return enter

        modules = dict(self.run.main.model.named_modules())
        for name, style in plan(self.run.main.model).items():
            if style.startswith(("colwise", "packed")) and style != "colwise_gather_output":
                modules[name].register_forward_pre_hook(entering(1 / self.shares.layers))
            elif style.startswith("rowwise"):
                modules[name].register_forward_pre_hook(entering(1.0))

    def steps(self, batches: list[Batch]) -> None:
        """Two steps from the same micro-batches, of which the second has the optimizer's state from its beginning."""
        run, tracker = self.run, self.tracker
        training_step = rehearsal(run)
        for step in range(2):
            run.progress.step = step
            tracker.peak = tracker.now
            training_step(run, training_step.take(run, iter([batches])))
            if self.state_bytes is not None and self.state is None:
                self.state = torch.empty(self.state_bytes // self.shares.optimizer, dtype=torch.uint8)
        state = [each for kept in run.main.optimizer.state.values() for each in kept.values()]
        self.optimizer = num_bytes(each for each in state if isinstance(each, Tensor)) // self.shares.optimizer
        if self.state is not None:
            self.optimizer = self.state.numel()
        self.peaks["training"] = tracker.peak

    @torch.no_grad()
    def evaluation(self, batch: Batch) -> None:
        run, tracker = self.run, self.tracker
        tracker.peak = tracker.now
        model = run.judged_model().eval()
        with run.parallel.precision.autocast(run.parallel.device):
            run.task.loss(run.task.forward(model, batch), batch)
        self.peaks["evaluation"] = tracker.peak

    def estimate(self, flops: int, left_out: tuple[str, ...]) -> Estimate:
        model, shares = self.run.main.model, self.shares
        static = self.parameters + self.buffers + self.optimizer
        copies = int(num_bytes(self.weights) * shares.gradient_copies)
        if self.staged:
            copies += static  # a checkpoint is written from copies, and their memory is kept for the next one
            if shares.whole_on_host:
                copies += num_bytes(model.parameters()) - self.parameters
        if shares.weight_copies:
            copies += num_bytes(self.weights) // shares.weight_copies
        if shares.gathers:
            largest = max(
                (num_bytes(block.parameters()) for block in blocks(model)), default=num_bytes(model.parameters())
            )
            copies += 2 * largest  # its gradient, and what is sent of it
            if shares.parameters > 1:
                copies += 2 * largest  # one computes while the next one is brought
        moment = max(self.peaks, key=self.peaks.__getitem__)
        return Estimate(
            parameters=self.parameters,
            buffers=self.buffers,
            gradients=self.gradients,
            optimizer=self.optimizer,
            activations=self.activations,
            extra=max(0, int(self.tracker.now) - static) + copies,
            peak=int(self.peaks[moment]) + copies,
            moment=moment,
            flops=flops,
            left_out=left_out,
        )


def real_state_bytes(config: DictConfig, model: nn.Module) -> int:
    """The bytes of state of an optimizer that looks into its weights: each takes a step of a small real one.

    A weight of more than `SAMPLE` elements is stood for by a matrix of so many, and its state by as many times that.
    """
    make, total, weights = optimizer_of(config.optimizer)[0], 0.0, dict(model.named_parameters())
    for name, role in roles(model).items():
        weight = weights[name]
        shape = tuple(weight.shape) if weight.numel() <= SAMPLE else (int(SAMPLE**0.5),) * 2
        small = nn.Parameter(torch.ones(shape, dtype=weight.dtype))
        small.grad = torch.ones_like(small)
        optimizer = make([{"params": [small], "role": role}])
        optimizer.step()
        kept = [each for state in optimizer.state.values() for key, each in state.items() if key[:4] != "qmap"]
        total += num_bytes(each for each in kept if isinstance(each, Tensor)) * weight.numel() / small.numel()
    return int(total)
