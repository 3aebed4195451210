"""The sweeper behind `-m`: hydra-optuna-sweeper's schema and grammar, with trials that never wait for each other.

A trial is a run like any other, in `multirun/<study>/<number>/`. Killed at any instant and given the same command,
a sweep goes on: finished trials stand, begun ones resume in their folders, the rest follow.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from optuna.trial import TrialState

from launcher.artifacts.folder import in_use, locked, make_parents, refuse_links, remove_folder
from launcher.config.hydra_keys import told_place
from launcher.console.console import Console
from launcher.console.numbers import things
from launcher.core.pool import Pool, Together
from launcher.errors import DONE, FAILED, PREEMPTED, ConfigError, TrainingError
from launcher.launch.outcome import values_of
from launcher.launch.procedure import pool_of
from launcher.launch.start.wait import wait
from launcher.process.signals import Interrupt, listening

from . import devices, preload, problem
from .dispatcher import Scheduler
from .early.consecutive_failures import Alike
from .early.population import Lineage
from .objectives import words_of
from .output import page, plan
from .output.ensemble import MODULES, build
from .output.progress import Progress
from .output.retention import Keeper
from .problem import Problem
from .settings import Settings
from .space.definition import extension
from .study import fingerprint, retry_failed
from .study.away import Waiting
from .study.storage import open_storage, study_folder
from .study.study import Study
from .trial_configs import Configs

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def sweep(settings: Settings, config: DictConfig, words: list[str], parser: OverridesParser) -> int:
    """Run the search; returns the exit status of the command. Raises ConfigError before anything is started."""
    wanted = problem.read(settings, config, words, parser)
    slots = devices.slots_of(settings, config, wanted.jobs_at_once)
    modules = preload.modules_of(settings, config, wanted.dimensions, words, parser)
    pool = pool_of(config, len(slots), modules)
    named = fingerprint.name_of(config, settings.sampler, wanted.params, words)
    folder = study_folder(config.hydra.sweep.dir, settings.study_name, named)
    configs = Configs(wanted.fixed, wanted.dimensions, folder, config, wanted.refuse_other)
    if config.action != "plan" and not config.start:
        pool.warm_up()  # while the corners are composed
    configs.corners()
    if config.start:
        left = wait(config)
        if left is not None:
            return left
        pool = pool_of(config, len(slots), modules)  # of a cluster that now knows when
    if config.action == "plan":
        plan.of_sweep(wanted, folder, configs, len(slots), isinstance(pool, Together) and wanted.is_known)
        return DONE
    return Sweep(wanted, folder, configs, pool, slots, modules, Console()).run()


@dataclass
class Sweep:
    """A search with all that it needs to run: trials in `pool`, each slot with its devices, in the folder of its study."""

    problem: Problem
    folder: Path
    configs: Configs
    pool: Pool
    slots: Sequence[tuple[str, ...] | None]
    modules: Sequence[str]
    console: Console

    def run(self) -> int:
        """Open the study and run its trials; returns the exit status. Raises ConfigError, with nothing left of a study that
        has not begun."""
        settings, config, folder = self.problem.settings, self.problem.config, self.folder
        now = self._identity()
        refuse_links(folder)
        fingerprint.compare(folder, now, settings.accept_changes, config.worker)
        made = make_parents(folder, f"hydra.sweep.dir={config.hydra.sweep.dir}")
        optuna.logging.set_verbosity(logging.WARNING)
        waiting = Waiting(self.console.message)
        waiting.leaving = lambda: True  # what is away before the first trial is told at once
        if not config.worker and in_use(folder):
            raise ConfigError(f"{folder}: another driver runs this sweep; worker=true joins it")
        with nullcontext() if config.worker else locked(folder):
            study: Study | None = None
            try:
                study = self._open(waiting)
                fingerprint.accept(folder, now, settings.accept_changes, config.worker)
                first = self.problem.sampler(0)
                study.n_trials = retry_failed.total(study, first, self.problem.asked, settings.retry_failed)
                if config.worker and study.is_new:
                    self.console.message(f"{folder}: nobody has begun this study; it is a new one")
                return self._search(study, waiting)
            except ConfigError:
                if study is None or study.withdrawn:
                    remove_folder(folder, made)
                raise

    def _identity(self) -> dict[str, Any]:
        """What makes the sweep the same sweep."""
        own, settings = self.problem, self.problem.settings
        stops = own.early.plain() | {"points": own.points or None}
        return fingerprint.identity(own.config, own.dimensions, settings.sampler, stops, own.metrics, settings.storage)

    def _open(self, waiting: Waiting) -> Study:
        """The study, new or as others have left it."""
        own, settings = self.problem, self.problem.settings
        return Study(
            open_storage(settings.storage, self.folder, waiting),
            self.folder.name,
            own.directions,
            self.folder,
            own.dimensions,
            own.sampler,
            own.early.pruner(),
            extend=extension(settings.custom_search_space, own.config, own.fixed),
            n_trials=own.n_trials,
            patience_s=settings.lease_s,
            metrics=own.metrics,
            points=own.points,
            waiting=waiting,
            ready=None if own.population is None else own.population.ready,
        )

    def _search(self, study: Study, waiting: Waiting) -> int:
        """Run the trials of an open study; returns the exit status."""
        own, settings, console = self.problem, self.problem.settings, self.console
        interrupt = Interrupt()
        waiting.leaving = lambda: interrupt.signal is not None
        lineage = Lineage(own.population, study)
        keeper = Keeper(study, settings.keep_trials, lineage.needed)
        progress = Progress(study, console, own.metrics, self.pool.slots, keeper)
        told_place(own.config, study.folder, console.message)
        if len(own.metrics) > 1:
            console.message(f"objectives: {words_of(own.metrics, own.directions)}")
        good = any(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in study.trials())
        alike = Alike(settings.max_consecutive_failures, good)
        page.warm_up([] if settings.ensemble is None else [*self.modules, *MODULES])
        with listening(interrupt, console.message, impatient=True):
            scheduler = self._scheduler(study, progress, interrupt, alike, lineage)
            try:
                scheduler.run()
                if alike.said is not None:
                    raise TrainingError(alike.said)
                if interrupt.signal is None and not own.config.worker:
                    self._conclude(study, interrupt)
            except ConfigError:
                study.withdraw()
                raise
            finally:
                progress.close()
        if interrupt.signal is not None:
            return PREEMPTED
        return FAILED if progress.failed > settings.max_failure_rate * max(1, progress.finished) else DONE

    def _scheduler(
        self, study: Study, progress: Progress, interrupt: Interrupt, alike: Alike, lineage: Lineage
    ) -> Scheduler:
        own, settings = self.problem, self.problem.settings
        facts = own.early.facts(study, settings.storage)
        return Scheduler(
            study,
            self.pool,
            self.configs,
            partial(values_of, metrics=own.metrics),
            progress,
            interrupt,
            lambda claim, slot: devices.environment(self.slots[slot]) | facts(claim),
            own.early.promotion(study.n_trials),
            timeout=settings.timeout_s,
            trial_timeout=settings.trial_timeout_s,
            together=self.pool if own.is_known and isinstance(self.pool, Together) else None,
            ahead=own.is_independent,
            alike=alike,
            prepare=lineage.begin,
        )

    def _conclude(self, study: Study, interrupt: Interrupt) -> None:
        """Say what a time limit has left, and make the ensemble, where the trials have come to their end."""
        settings = self.problem.settings
        left = (study.n_trials or 0) - sum(trial.state.is_finished() for trial in study.trials())
        if settings.timeout_s is not None and left > 0:
            self.console.message(
                f"hydra.sweeper.timeout is over with {things(left, 'trial')} left; this command goes on"
            )
        if settings.ensemble is not None:
            page.warmed()
            build(study, settings.ensemble, self.console, interrupt)
