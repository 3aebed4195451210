"""The sweeper behind `-m`: hydra-optuna-sweeper's schema and grammar, with trials that never wait for each other.

A trial is a run like any other, in `multirun/<study>/<number>/`. Killed at any instant and given the same command,
a sweep goes on: finished trials stand, begun ones resume in their folders, the rest follow.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from optuna.trial import TrialState

from launcher.artifacts.folder import in_use, locked, make_parents, refuse_links, remove_folder
from launcher.cluster.base import engine_of
from launcher.config.hydra_keys import told_place
from launcher.console.console import Console
from launcher.console.numbers import things
from launcher.core.pool import Pool, Together
from launcher.errors import DONE, FAILED, PREEMPTED, ConfigError, TrainingError
from launcher.launch.node import ENTRY
from launcher.launch.outcome import values_of
from launcher.launch.procedure import pool_of
from launcher.launch.start.wait import wait
from launcher.process.forkserver import cores
from launcher.process.signals import Interrupt, listening
from launcher.search.space.dimensions import Directions

from . import devices, preload, settings
from .dispatcher import Scheduler
from .early import population, rules
from .early.consecutive_failures import Alike
from .output import cost, page, plan
from .output.ensemble import MODULES, build, refuse
from .output.progress import Progress
from .output.retention import Keeper
from .space import dimensions as space
from .space import presets
from .space import starting_points as first
from .space.samplers import is_grid, is_independent, sampler_of
from .study import fingerprint, retry_failed
from .study.away import Waiting
from .study.storage import open_storage, study_folder
from .study.study import Study
from .trial_configs import Configs

if TYPE_CHECKING:
    from launcher.preflight.step_time import Pace

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class LauncherSweeper(Sweeper):
    """Hydra's sweeper interface. The arguments are those of conf/hydra/sweeper/launcher.yaml, which explains them."""

    def __init__(
        self,
        sampler: DictConfig,
        direction: Any = None,
        storage: str | None = None,
        study_name: str | None = None,
        n_trials: int | None = None,
        n_jobs: int | None = None,
        max_failure_rate: float = 0.0,
        custom_search_space: str | None = None,
        params: dict[str, Any] | None = None,
        metrics: list[str] | str | None = None,
        pruner: DictConfig | None = None,
        proxy: DictConfig | None = None,
        points: Any = None,
        default_first: bool = False,
        timeout: Any = None,
        trial_timeout: Any = None,
        devices_per_trial: int | None = None,
        trials_per_device: int = 1,
        keep_trials: int | None = 5,
        accept_changes: bool = False,
        retry_failed: bool = False,
        max_consecutive_failures: int | None = 5,
        ensemble: int | None = None,
        lease: Any = 60,
    ) -> None:
        settings.types(
            n_trials=n_trials, n_jobs=n_jobs, max_failure_rate=max_failure_rate, params=params, points=points,
            devices_per_trial=devices_per_trial, trials_per_device=trials_per_device, keep_trials=keep_trials,
            accept_changes=accept_changes, retry_failed=retry_failed, ensemble=ensemble,
            max_consecutive_failures=max_consecutive_failures, metrics=metrics, storage=storage,
            custom_search_space=custom_search_space, default_first=default_first,
        )  # fmt: skip
        if not isinstance(sampler, DictConfig) or "_target_" not in sampler:
            raise ConfigError(f"hydra.sweeper.sampler={sampler}: hydra/sweeper/sampler={sampler} chooses one")
        self.sampler, self.storage, self.n_trials = sampler, storage, n_trials
        self.study_name = None if study_name is None else str(study_name)
        self.n_jobs, self.devices_per_trial, self.trials_per_device = n_jobs, devices_per_trial, trials_per_device
        self.max_failure_rate, self.keep_trials, self.ensemble = max_failure_rate, keep_trials, ensemble
        self.custom_search_space = custom_search_space
        self.retry_failed, self.max_consecutive_failures = retry_failed, max_consecutive_failures
        self.params, self.accept_changes = dict(params or {}), accept_changes
        self.metrics: Sequence[str] = metrics or []
        self.points, self.default_first = points, default_first
        self.directions: Directions = settings.directions_of(direction)
        self.timeout, self.trial_timeout = (
            settings.seconds("timeout", timeout),
            settings.seconds("trial_timeout", trial_timeout),
        )
        self.lease = settings.seconds("lease", lease) or 60.0

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config: DictConfig = config

    def sweep(self, arguments: list[str]) -> int:
        """Run the search; returns the exit status of the command. Raises ConfigError before anything is started."""
        named = bool(self.metrics)
        self.metrics = settings.objectives_of(self.config, self.metrics, self.directions)
        if self.ensemble is not None:
            refuse(self.config, len(self.metrics))
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        for block, own in presets.spaces(arguments, parser, self.config).items():
            self.params[block] = own | dict(self.params.get(block) or {})
        self._fixed, self._dimensions = settings.space_of(self.params, arguments, parser, self.config)
        there = [] if self.config.cluster else devices.visible()
        ranks = self.config.parallel.num_processes
        per_trial = self.devices_per_trial
        if per_trial is None:
            per_trial = ranks if isinstance(ranks, int) else len(there)
        self._population, self.n_trials = population.of(
            self.sampler, self.config, self._dimensions, self.n_trials, self.metrics, self.directions
        )
        sampler = sampler_of(self.sampler, self.config.seed, self._dimensions, self.n_trials, self._population)
        points = first.read(self.points, self._fixed, self._dimensions, self.config, self.default_first)
        if points and is_grid(self.sampler):
            raise ConfigError("hydra.sweeper.points: a grid has its own order; search=random begins with points")
        self._early = rules.read(self.config, self.metrics, self.directions, self._dimensions)
        asked, size = self.n_trials, space.grid_size(self._dimensions) if is_grid(self.sampler) else None
        self.n_trials = settings.num_trials(
            asked, size, self.timeout, bool(self._dimensions or self.custom_search_space)
        )
        n_jobs = self.n_jobs
        if n_jobs is None and self.config.cluster:
            free = is_independent(self.sampler) and not self._early
            n_jobs = settings.jobs_at_once(self.config.cluster, free, self.n_trials)
        self._slots = devices.slots(there, n_jobs, per_trial, self.trials_per_device)
        self._modules = preload.modules_of(self.config, self._dimensions, arguments, parser)
        pool = pool_of(self.config, len(self._slots), self._modules)
        folder = study_folder(
            self.config.hydra.sweep.dir,
            self.study_name,
            fingerprint.name_of(self.config, self.sampler, self.params, arguments),
        )
        same = partial(settings.refuse_other, metrics=self.metrics, directions=self.directions, named=named)
        self._configs = Configs(self._fixed, self._dimensions, folder, self.config, same)
        if self.config.action != "plan" and not self.config.schedule:
            pool.warm_up()  # while the corners are composed
        self._configs.corners()
        if self.config.schedule:
            left = wait(self.config)
            if left is not None:
                return left
            pool = pool_of(self.config, len(self._slots), self._modules)  # of a cluster that now knows when
        if self.config.action == "plan":
            self._show_plan(folder, pool)
            return DONE
        stops = self._early.plain() | {"points": points or None}
        now = fingerprint.identity(self.config, self._dimensions, self.sampler, stops, self.metrics, self.storage)
        refuse_links(folder)
        fingerprint.compare(folder, now, self.accept_changes, self.config.worker)
        made = make_parents(folder, f"hydra.sweep.dir={self.config.hydra.sweep.dir}")
        optuna.logging.set_verbosity(logging.WARNING)
        console = Console()
        waiting = Waiting(console.message)
        waiting.leaving = lambda: True  # what is away before the first trial is told at once
        if not self.config.worker and in_use(folder):
            raise ConfigError(f"{folder}: another driver runs this sweep; worker=true joins it")
        with nullcontext() if self.config.worker else locked(folder):
            study: Study | None = None
            try:
                study = Study(
                    open_storage(self.storage, folder, waiting),
                    folder.name,
                    self.directions,
                    folder,
                    self._dimensions,
                    sampler,
                    self._early.pruner(),
                    extend=settings.extension(self.custom_search_space, self.config, self._fixed),
                    n_trials=self.n_trials,
                    patience_s=self.lease,
                    metrics=self.metrics,
                    points=points,
                    waiting=waiting,
                    ready=None if self._population is None else self._population.ready,
                )
                fingerprint.accept(folder, now, self.accept_changes, self.config.worker)
                self.n_trials = study.n_trials = retry_failed.total(study, sampler(0), asked, self.retry_failed)
                if self.config.worker and study.is_new:
                    console.message(f"{folder}: nobody has begun this study; it is a new one")
                return self._run(study, pool, console, waiting)
            except ConfigError:
                if study is None or study.withdrawn:
                    remove_folder(folder, made)
                raise

    def _run(self, study: Study, pool: Pool, console: Console, waiting: Waiting) -> int:
        interrupt = Interrupt()
        waiting.leaving = lambda: interrupt.signal is not None
        goes_on = population.Lineage(self._population, study)
        progress = Progress(study, console, self.metrics, pool.slots, Keeper(study, self.keep_trials, goes_on.needed))
        told_place(self.config, study.folder, console.message)
        if len(self.metrics) > 1:
            console.message(f"objectives: {settings.words_of(self.metrics, self.directions)}")
        facts = self._early.facts(study, self.storage)
        good = any(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in study.trials())
        alike = Alike(self.max_consecutive_failures, good)
        page.warm_up([] if self.ensemble is None else [*self._modules, *MODULES])
        with listening(interrupt, console.message, impatient=True):
            scheduler = Scheduler(
                study,
                pool,
                self._configs,
                partial(values_of, metrics=self.metrics),
                progress,
                interrupt,
                lambda claim, slot: devices.environment(self._slots[slot]) | facts(claim),
                self._early.promotion(self.n_trials),
                timeout=self.timeout,
                trial_timeout=self.trial_timeout,
                together=self._together(pool),
                ahead=is_independent(self.sampler),
                alike=alike,
                prepare=goes_on.begin,
            )
            try:
                scheduler.run()
                if alike.said is not None:
                    raise TrainingError(alike.said)
                left = (self.n_trials or 0) - sum(trial.state.is_finished() for trial in study.trials())
                if self.timeout is not None and left > 0 and interrupt.signal is None and not self.config.worker:
                    console.message(
                        f"hydra.sweeper.timeout is over with {things(left, 'trial')} left; this command goes on"
                    )
                if self.ensemble is not None and interrupt.signal is None and not self.config.worker:
                    page.warmed()
                    build(study, self.ensemble, console, interrupt)
            except ConfigError:
                study.withdraw()
                raise
            finally:
                progress.close()
        if interrupt.signal is not None:
            return PREEMPTED
        return FAILED if progress.failed > self.max_failure_rate * max(1, progress.finished) else DONE

    def _together(self, pool: Pool) -> Together | None:
        """The pool, if it takes trials together and all of them are known before the first has begun."""
        known = is_independent(self.sampler) and self.n_trials is not None and not self._early
        return pool if known and self.trial_timeout is None and isinstance(pool, Together) else None

    def _show_plan(self, folder: Path, pool: Pool) -> None:
        own, target, slots = self.config, str(self.sampler._target_), len(self._slots)
        unit = None if self._early.pruning is None else self._early.pruning.unit
        kinds = cost.kinds(self._dimensions, self.n_trials, is_grid(self.sampler), self._configs, own, unit)
        plain = all(each.fits == 1 and not each.estimator for each in kinds)
        pace = self._pace if plain and not own.cluster and own.parallel.num_processes == 1 else None
        plan.show(
            Console(),
            folder,
            target,
            self._dimensions,
            self.n_trials,
            slots,
            self._early,
            kinds,
            pace,
            self._population,
        )
        if self.config.cluster:
            engine, runs = engine_of(self.config), (self.n_trials or 1) if self._together(pool) else 1
            said = engine.script(folder / "0", ENTRY) if runs == 1 else engine.script(folder, ENTRY, runs, slots)
            Console().message(f"\nWhat would be submitted; nothing was.\n\n{said}")

    def _pace(self) -> Pace:
        """How long a step takes here, of the first combination."""
        from launcher.preflight.step_time import measure

        return measure(self._configs.first(), max(1, cores() // len(self._slots)))
