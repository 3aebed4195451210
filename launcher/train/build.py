"""The only place that turns config nodes into objects, in the one legal order.

data, validation → model factory → task → samples → model → surgery → device and wrapping → groups → optimizer →
scheduler. Surgery comes before wrapping, because wrappers hold on to parameters; the optimizer comes after both,
because it does too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from launcher.artifacts.checkpoint.checkpoints import Checkpoints
from launcher.artifacts.folder import CHECKPOINTS
from launcher.config.groups import GROUPS, algorithms
from launcher.config.instantiate import instantiate, plain_dict, refusals_of
from launcher.config.schema import AUTO_SECONDS, Training, duration, interval
from launcher.core.algorithm import Algorithm, overriding
from launcher.core.run import Loaders, Part, Plan, Run
from launcher.data.batches import Batches, EvalBatches, choose_workers
from launcher.data.samples import Datasets, Samples, TensorSamples, first
from launcher.data.splits import Fold
from launcher.errors import ConfigError
from launcher.optim.build import _argument, build_scheduler, guard, optimizer_of
from launcher.optim.groups import param_groups
from launcher.process.signals import Interrupt
from launcher.trackers.recorder import Recorder

if TYPE_CHECKING:
    from launcher.core.parallel import Parallel
    from launcher.core.task import Task
    from launcher.memory.activations import Memory
    from launcher.trackers.base import Tracker


def build_task(config: DictConfig, blank: bool = False) -> Task:
    """The task with its data, its splitter and its model's factory; nothing is loaded yet.

    With `blank` a model that has weights to load is made without them, by what its factory calls `blank`.
    """
    data = instantiate(config.data)
    validation = build_validation(config)
    partial = instantiate(config.model)
    if blank and hasattr(partial.func, "blank"):
        partial = functools.partial(partial.func.blank, **partial.keywords)
    factory = model_factory(partial)
    task: Task = instantiate(config.task, data=data, model=factory, validation=validation, seed=config.seed)
    return task


def build_validation(config: DictConfig) -> Any:
    """The splitter; in a fit of a cross-validation, the one of its fold. Raises ConfigError."""
    try:
        splitter = instantiate(config.validation)
    except (ValueError, TypeError) as error:  # scikit-learn's own checks
        raise ConfigError(f"validation: {error}") from error
    fold, inner = config.procedure.get("fold"), config.procedure.get("inner_fold")
    return splitter if fold is None and inner is None else Fold(splitter, fold, inner)


def model_factory(partial: functools.partial[Any]) -> Callable[..., Any]:
    """A callable that takes every fact the task knows of its data and passes on those the model has a name for.

    The returned function has the model's class as `target` and the config's arguments as `keywords`, and gives each
    module that it makes `launcher_config`: the `_target_` and arguments that make it again.
    """
    target = partial.func
    accepted = inspect.signature(target).parameters

    @functools.wraps(target, updated=())
    def make(**facts: Any) -> Any:
        known = {name: value for name, value in facts.items() if name in accepted and name not in partial.keywords}
        # Not `partial(**known)`: Hydra would also hold what a trusted target returns against the list of targets.
        with refusals_of(target):
            model = target(**partial.keywords, **known)
        if isinstance(model, nn.Module):
            built = {"_target_": f"{target.__module__}.{target.__qualname__}"} | partial.keywords | known
            model.launcher_config = built  # type: ignore[assignment]  # torch knows tensors and modules as attributes
        return model

    make.target = target  # type: ignore[attr-defined]
    make.keywords = dict(partial.keywords)  # type: ignore[attr-defined]
    return make


def build_parallel(config: DictConfig) -> Parallel:
    """The strategy, which joins the process group and chooses the device."""
    group = GROUPS["parallel"]
    settings = {name: value for name, value in plain_dict(config.parallel).items() if name not in group.consumed}
    strategy = instantiate(OmegaConf.create(settings), group="parallel")
    given = [name for name in group.provided if name in inspect.signature(strategy.func).parameters]
    provided = {name: instantiate(config[name]) for name in given}
    with refusals_of(strategy.func):
        parallel: Parallel = strategy(**provided)
    return parallel


def build_algorithms(config: DictConfig) -> list[Algorithm]:
    """The algorithms and monitors of every group that holds some, in the groups' and the lists' order."""
    found: list[Algorithm] = []
    for group in algorithms():
        found += [instantiate(node) for node in config[group].values()]
    if config.debug.profile:
        from launcher.monitors.profiler import Profiler

        found.append(Profiler())
    if config.debug.compare_ranks:
        from launcher.monitors.equal_ranks import EqualRanks

        found.append(EqualRanks())
    stepping = [type(owner).__name__ for owner in found if type(owner).step is not Algorithm.step]
    if len(stepping) > 1:
        raise ConfigError(f"{' and '.join(stepping)} would each take the optimizer's step; choose one of them")
    return found


def build_trackers(config: DictConfig) -> list[Tracker]:
    """The trackers that were asked for, but for those that their own settings switch off; each has checked that its
    package is there."""
    found: list[Tracker] = [instantiate(node) for node in config.tracker.values()]
    return [each for each in found if not each.off]


def build_loaders(config: DictConfig, data: Datasets, parallel: Parallel) -> Loaders:
    """The batches of this rank."""
    settings, debug = config.training, config.debug
    train, val = data.train, data.val
    if debug.overfit_batches:
        train = first(train, debug.overfit_batches * settings.batch_size)
        val = train
    train = train.evened() if parallel.even_batches else train
    workers = config.loading.num_workers
    on_gpu = parallel.device.type == "cuda"
    share = {"rank": parallel.data_rank, "world_size": parallel.num_data_ranks}
    batches = Batches(
        _near(train, parallel),
        batch_size=settings.batch_size,
        accumulate=settings.accumulate,
        seed=config.seed,
        **share,
        num_workers=choose_workers(train, parallel.world_size) if workers is None else workers,
        pin_memory=on_gpu if config.loading.pin_memory is None else config.loading.pin_memory,
        prefetch=config.loading.prefetch,
    )
    size = settings.eval_batch_size or max(256, settings.batch_size // parallel.num_data_ranks)
    limit = size if debug.one_batch else None
    held_out = None
    if val is not None:
        share = {} if parallel.apart else share  # the main rank judges all of it
        held_out = EvalBatches(_near(val, parallel), batch_size=size, limit=limit, **share)
    return Loaders(batches, held_out)


def _near(samples: Samples, parallel: Parallel) -> Samples:
    """Samples in memory move to the device once where they take little of it; gathering then costs no copy."""
    if parallel.device.type == "cpu" or not isinstance(samples, TensorSamples):
        return samples
    small = samples.bytes_per_sample * len(samples) < 1 << 30
    return samples.to(parallel.device) if small else samples


def build_plan(config: DictConfig, steps_per_epoch: int) -> Plan:
    """The run's intervals in steps. Raises ConfigError where nothing says how long to train."""
    settings = config.training
    auto = settings.checkpoint_every == "auto"
    lengths = []
    if settings.max_epochs is not None:
        lengths.append(max(1, round(settings.max_epochs * steps_per_epoch)))
    if settings.max_steps is not None:
        lengths.append(settings.max_steps)
    total = 1 if config.debug.one_batch else min(lengths, default=None)
    counted = "max_steps" if total == settings.max_steps else "max_epochs"
    stop = None if settings.stop_after is None else max(1, round(settings.stop_after * steps_per_epoch))
    return Plan(
        total_steps=total,
        steps_per_epoch=steps_per_epoch,
        log_every=interval(settings.log_every, steps_per_epoch),
        eval_every=interval(settings.eval_every, steps_per_epoch),
        checkpoint_every=interval("1epoch" if auto else settings.checkpoint_every, steps_per_epoch),
        checkpoint_seconds=AUTO_SECONDS if auto else 0.0,
        max_time=duration(settings.max_time),
        stop_after=stop,
        counted_by="one_batch" if config.debug.one_batch else counted,
    )


def build_run(
    config: DictConfig,
    folder: Path,
    task: Task,
    data: Datasets,
    model: nn.Module,
    parallel: Parallel,
    say: Callable[[str], None],
    interrupt: Interrupt,
) -> Run:
    """The whole of a fit, before its first step: nothing is restored and nothing is written yet."""
    memory: Memory = instantiate(config.memory)
    notice = memory.notice(parallel.device)
    if notice is not None and parallel.is_main:
        say(notice)
    loaders = build_loaders(config, data, parallel)
    # Where a few batches stand for the data, the run is as long as it would be with all of it.
    plan = build_plan(config, len(data.train) // config.training.batch_size)
    recorder = Recorder(folder, build_trackers(config) if parallel.is_main else [], parallel.is_main, say)
    metric = str(config.objective.metric)
    if loaders.val is None and metric.startswith("val/"):
        raise ConfigError(
            f"objective.metric={metric}: the task holds nothing out that it could be taken from; "
            "objective.metric=train/loss objective.direction=minimize does without, and keeps the last weights"
        )
    full = config.training.checkpoint_format == "full"
    run = Run(
        task=task,
        data=data,
        parts={},
        parallel=parallel,
        loaders=loaders,
        settings=Training(**plain_dict(config.training)),
        plan=plan,
        objective=(metric, config.objective.direction),
        seed=config.seed,
        folder=folder,
        recorder=recorder,
        checkpoints=Checkpoints(
            folder / CHECKPOINTS, config.training.keep_checkpoints, recorder.sync, say, parallel.writer, full
        ),
        algorithms=build_algorithms(config),
        interrupt=interrupt,
    )
    run.parts["main"] = build_part(config, model, run, plan, parallel, memory)
    return run


def build_part(config: DictConfig, model: nn.Module, run: Run, plan: Plan, parallel: Parallel, memory: Memory) -> Part:
    """The main part: surgery, frozen models, wrapping, groups, optimizer, scheduler. `run` is what the hooks are shown."""
    for hook in overriding(run.algorithms, "model"):
        model = hook(run, model)
    frozen = dict(run.task.frozen())
    for hook in overriding(run.algorithms, "frozen"):
        frozen |= hook(run)
    run.frozen = {name: other.to(parallel.device).eval().requires_grad_(False) for name, other in frozen.items()}
    parallel.task = run.task
    model = parallel.prepare(memory.prepare(model, parallel.device))
    if config.training.compile:
        model.compile()
    optimizer, options = optimizer_of(config.optimizer)
    decays = bool(_argument(optimizer, "weight_decay"))
    groups = param_groups(parallel.unwrap(model), decays, options, getattr(optimizer.func, "apart", ()))
    for hook in overriding(run.algorithms, "param_groups"):
        groups = hook(run, groups)
    if not any(group["params"] for group in groups):
        raise ConfigError("the model has no parameter to train")
    with refusals_of(optimizer.func):
        built = parallel.build_optimizer(lambda given: guard(optimizer(given), parallel.scaler is not None), groups)
    return Part(model, built, build_scheduler(config.scheduler, built, plan.total_steps, plan.steps_per_epoch))
