"""A run of several fits: how many its procedure plans, and how they run through a pool and become one result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from launcher.artifacts.log_file import FILE as LOG
from launcher.artifacts.result import unfinished, write_result
from launcher.cluster.base import engine_of
from launcher.config.instantiate import instantiate
from launcher.console.console import Console
from launcher.errors import PREEMPTED, ConfigError, TrainingError
from launcher.process.garbage import begin
from launcher.process.signals import Interrupt

if TYPE_CHECKING:
    from launcher.core.pool import Pool

from typing import TYPE_CHECKING

from launcher.artifacts.provenance import provenance
from launcher.artifacts.result import RESULT
from launcher.config.signatures import signature
from launcher.errors import REFUSED

if TYPE_CHECKING:
    from launcher.core.pool import Pool
    from launcher.core.procedure import Job, Procedure

    from .job_queue import Outcome

AT_ONCE = 100
"""So many folds are planned without a look at the data: if there are more of them than samples, the first one says so."""


def plan_of(config: DictConfig) -> list[Job]:
    """The fits that the run is made of. Raises ConfigError for more folds than there are samples, before any is planned."""
    _refuse_more_than_samples(config)
    return procedure_of(config).plan(config)


def is_many(config: DictConfig) -> bool:
    """Whether the run is made of fits in folders of their own."""
    return any(fit.name for fit in plan_of(config))


def num_fits(config: DictConfig) -> int:
    """How many fits the run is made of."""
    return len(plan_of(config))


def _refuse_more_than_samples(config: DictConfig) -> None:
    asked = {
        f"validation.{path}n_splits": int(node["n_splits"])
        for path, node in (
            ("", config.validation),
            *((f"{name}.", config.validation.get(name)) for name in ("folds", "outer", "inner")),
        )
        if isinstance(node, DictConfig) and node.get("n_splits")
    }
    most = max(asked, key=lambda key: asked[key], default="")
    if not most or asked[most] <= AT_ONCE or config.procedure.get("fold") is not None:
        return
    from omegaconf import OmegaConf

    from launcher.train.build import build_task

    everything = config.copy()
    OmegaConf.update(everything, "validation", {"_target_": "launcher.data.splits.Everything"}, merge=False)
    samples = len(build_task(everything).datasets().train)
    if asked[most] > samples:
        raise ConfigError(f"{most}={asked[most]}: there are {samples} samples, and a fold holds out one at the least")


def procedure_of(config: DictConfig) -> Procedure:
    """The procedure that the config names."""

    procedure: Procedure = instantiate(config.procedure)
    return procedure


def place_fits(
    config: DictConfig, folder: Path, fits: list[Job], console: Console, interrupt: Interrupt, slots: int | None
) -> int:
    """The fits of a procedure through a pool, then one result of theirs. Without `slots` each core is one."""
    pass
    from launcher.process.forkserver import cores

    from .in_process import Here
    from .job_queue import run_jobs, take_up_changes
    from .local_pool import LocalPool

    begin()
    take_up_changes(fits, folder)
    (folder / RESULT).unlink(missing_ok=True)
    pool: Pool
    if slots is None and config.cluster:
        pool = pool_of(config, len(fits))
    elif slots is not None and not trains(config):  # of a trial: to import scikit-learn anew takes longer than its fits
        pool = Here(interrupt)
    else:  # also in a job: it has its machine already
        slots = max(1, min(len(fits), (slots or cores()) // config.parallel.num_processes))
        pool = LocalPool(slots, preload=modules(config))
    console.message(f"{len(fits)} fits in {folder}, {pool.slots} at a time")

    def told(outcome: Outcome) -> None:
        if outcome.ended and outcome.result is not None:
            objective = outcome.result["objective"]
            console.message(
                f"{outcome.job.name}: {outcome.result['status']}, {objective['name']} {objective['value']:.4g}"
            )

    try:
        outcomes = run_jobs(fits, folder, pool, interrupt, told, stop_on_failure=True, said=console.message)
    except TrainingError as error:
        write_result(folder, unfinished(config) | {"status": "failed", "reason": str(error)})
        raise
    done = [
        {"name": name, "status": each.result["status"]} for name, each in outcomes.items() if each.result is not None
    ]
    for name, outcome in outcomes.items():
        if not outcome.ended and outcome.status != PREEMPTED:
            log = folder / name / LOG
            if outcome.status == REFUSED and not any(each.ended for each in outcomes.values()):
                raise ConfigError(outcome.reason)
            failure = TrainingError(f"{name} failed: {outcome.reason} (the whole log: {log})")
            write_result(folder, unfinished(config) | {"status": "failed", "reason": str(failure), "fits": done})
            raise failure
    if len(outcomes) < len(fits) or not all(outcome.ended for outcome in outcomes.values()):
        result = unfinished(config) | {"status": "preempted", "reason": "preempted", "fits": done}
        write_result(folder, result)
        console.summary(result, folder)
        return PREEMPTED
    results = [outcome.result or {} for outcome in outcomes.values()]
    procedure = procedure_of(config)
    combined = procedure.combine(fits, results) | procedure.gather(folder, fits) | {"seed": config.seed} | provenance()
    write_result(folder, combined)
    if nowhere := [name for name, value in combined["mean"].items() if value != value]:
        console.warning(f"no mean of {', '.join(nowhere)}: a fit has no value of it")
    from launcher.train.finish import write_page

    write_page(folder, console)
    console.summary(combined, folder)
    return 0


def trains(config: DictConfig) -> bool:
    """Whether the model is one that learns step by step."""
    return not signature(str(config.model._target_)).facts.get("estimator")


def modules(config: DictConfig) -> tuple[str, ...]:
    """The modules of what every fit of a run builds; of scikit-learn also those around an estimator."""
    nodes = [config[group] for group in ("task", "model", "data", "validation")]
    found = {str(node._target_).rpartition(".")[0] for node in nodes}
    if str(config.model._target_).startswith("sklearn."):
        found |= {"pandas", "skops.io", *(f"sklearn.{name}" for name in ("compose", "impute", "metrics", "pipeline"))}
    return tuple(sorted(found))


def pool_of(config: DictConfig, slots: int, preload: tuple[str, ...] = ()) -> Pool:
    """Where fits and trials of this config run, `slots` at a time: on its cluster, else in processes of this machine."""
    if config.cluster:
        if not config.cluster.get("wait", True):
            raise ConfigError(
                "cluster.wait=false: several trials or fits need their command until the last one is submitted"
            )
        return engine_of(config).pool(slots)
    from .local_pool import LocalPool

    return LocalPool(slots, preload=preload)
