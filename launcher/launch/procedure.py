"""A run of several jobs: how many its procedure lays out, how they run through a pool, and how they become one result."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from launcher.artifacts.log_file import FILE as LOG
from launcher.artifacts.provenance import provenance
from launcher.artifacts.result import unfinished, write_result
from launcher.cluster.base import engine_of
from launcher.config.instantiate import instantiate
from launcher.config.signatures import signature
from launcher.console.console import Console
from launcher.errors import PREEMPTED, REFUSED, ConfigError, LauncherError, TrainingError
from launcher.process.garbage import begin
from launcher.process.signals import Interrupt

if TYPE_CHECKING:
    from launcher.core.pool import Pool
    from launcher.core.procedure import Job, Procedure, Results

    from .job_queue import Outcome

AT_ONCE = 100
"""So many folds are planned without a look at the data: if there are more of them than samples, the first one says so."""


def first_jobs(config: DictConfig) -> list[Job]:
    """The jobs that a run begins with. Raises ConfigError for more folds than there are samples, before any is laid out,
    and for a procedure that has nothing to do."""
    _refuse_more_than_samples(config)
    jobs = procedure_of(config).next(config, {})
    if not jobs:
        raise ConfigError(f"procedure={config.procedure._target_}: there is no job in it")
    return jobs


def are_many(jobs: list[Job]) -> bool:
    """Whether the jobs of a run have folders of their own; else there is one, which is the run."""
    return any(job.name for job in jobs)


def num_jobs(config: DictConfig) -> int:
    """How many jobs the run is made of, as far as it is known before the first one has run."""
    _refuse_more_than_samples(config)
    return procedure_of(config).num_jobs(config)


def procedure_of(config: DictConfig) -> Procedure:
    """The procedure that the config names."""
    procedure: Procedure = instantiate(config.procedure)
    return procedure


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
    from launcher.train.build import build_task

    everything = config.copy()
    OmegaConf.update(everything, "validation", {"_target_": "launcher.data.splits.Everything"}, merge=False)
    samples = len(build_task(everything).datasets().train)
    if asked[most] > samples:
        raise ConfigError(f"{most}={asked[most]}: there are {samples} samples, and a fold holds out one at the least")


def place_jobs(
    config: DictConfig, folder: Path, first: list[Job], console: Console, interrupt: Interrupt, slots: int | None
) -> int:
    """The jobs of a procedure through a pool, then one result of theirs; returns the exit status. Those it begins with are
    laid out already. Without `slots` each core is one."""
    from .job_queue import run_jobs

    begin()
    procedure = procedure_of(config)
    num = procedure.num_jobs(config)
    pool = _pool(config, num, interrupt, slots)
    console.message(f"{num} fits in {folder}, {pool.slots} at a time")

    def lay_out(done: Results) -> list[Job]:
        return procedure.next(config, done) if done else first

    try:
        outcomes = run_jobs(lay_out, folder, pool, interrupt, partial(_report, console), console.message)
        results = {name: each.result for name, each in outcomes.items() if each.ended and each.result is not None}
        failure = _failure(folder, outcomes)
        left = [] if failure else [job for job in lay_out(results) if job.name not in results]
    except TrainingError as error:
        write_result(folder, unfinished(config) | {"status": "failed", "reason": str(error)})
        raise
    statuses = {"fits": _statuses(outcomes)}
    if failure is not None:
        if isinstance(failure, TrainingError):
            write_result(folder, unfinished(config) | {"status": "failed", "reason": str(failure)} | statuses)
        raise failure
    if left:
        result = unfinished(config) | {"status": "preempted", "reason": "preempted"} | statuses
        write_result(folder, result)
        console.summary(result, folder)
        return PREEMPTED
    jobs = [each.job for each in outcomes.values()]
    combined = procedure.combine(jobs, [*results.values()]) | procedure.gather(folder, jobs)
    _finish(combined | {"seed": config.seed} | provenance(), folder, console)
    return 0


def _pool(config: DictConfig, num: int, interrupt: Interrupt, slots: int | None) -> Pool:
    """Where the jobs of a run go."""
    from launcher.process.forkserver import cores

    from .in_process import Here
    from .local_pool import LocalPool

    if slots is None and config.cluster:
        return pool_of(config, num)
    if slots is not None and not trains(config):  # of a trial: to import scikit-learn anew takes longer than its fits
        return Here(interrupt)
    # Also in a job of a cluster: it has its machine already.
    return LocalPool(max(1, min(num, (slots or cores()) // config.parallel.num_processes)), preload=modules(config))


def _report(console: Console, outcome: Outcome) -> None:
    """Say what a job has come to."""
    if outcome.ended and outcome.result is not None:
        objective = outcome.result["objective"]
        console.message(f"{outcome.job.name}: {outcome.result['status']}, {objective['name']} {objective['value']:.4g}")


def _statuses(outcomes: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """What the result of a run that is not over says of its jobs."""
    return [
        {"name": name, "status": each.result["status"]} for name, each in outcomes.items() if each.result is not None
    ]


def _failure(folder: Path, outcomes: Mapping[str, Outcome]) -> LauncherError | None:
    """The error of a run of which a job has failed; a ConfigError where it was refused and none has done anything."""
    for name, outcome in outcomes.items():
        if outcome.ended or outcome.status == PREEMPTED:
            continue
        if outcome.status == REFUSED and not any(each.ended for each in outcomes.values()):
            return ConfigError(outcome.reason)
        return TrainingError(f"{name} failed: {outcome.reason} (the whole log: {folder / name / LOG})")
    return None


def _finish(result: dict[str, Any], folder: Path, console: Console) -> None:
    """Write the result of the whole run, and its page."""
    from launcher.train.finish import write_page

    write_result(folder, result)
    if nowhere := [name for name, value in result.get("mean", {}).items() if value != value]:
        console.warning(f"no mean of {', '.join(nowhere)}: a fit has no value of it")
    write_page(folder, console)
    console.summary(result, folder)


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
        from .node import ENTRY

        return engine_of(config).pool(slots, ENTRY)
    from .local_pool import LocalPool

    return LocalPool(slots, preload=preload)
