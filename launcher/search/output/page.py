"""The page of a sweep, from what its folder says: which study, in which storage, with which rungs."""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from launcher.artifacts.sweep import FACTS, JOURNAL
from launcher.errors import ConfigError
from launcher.report import sweep_page as report
from launcher.report.trial_reports import reports
from launcher.search.early.pruning import first_rung, is_halving, rungs_of
from launcher.search.study.storage import open_storage

_importing: threading.Thread | None = None


def warm_up(more: Sequence[str] = ()) -> None:
    """Import what draws the page, and `more`, while trials are on their way: it takes more than a second."""

    def work() -> None:
        for name in ("optuna.visualization", "optuna.importance", *more):
            importlib.import_module(name)

    global _importing
    _importing = threading.Thread(target=work, name="page", daemon=True)
    _importing.start()


def warmed() -> None:
    """Wait for it: of a module that another thread is in the middle of importing, half may be had."""
    if _importing is not None:
        _importing.join()


def write(folder: Path, study: optuna.Study | None = None) -> Path:
    """Write `report.html` of the sweep in `folder`; returns its path. Raises ConfigError where its study is not found.

    The study is opened where sweep.json says, unless whoever has it open gives it.
    """
    warmed()
    facts = report.facts_of(folder)
    if facts is None:
        raise ConfigError(f"{folder}: no sweep is here (there is no {FACTS})")
    study = study or _opened(folder, facts.get("storage"))
    return report.write(study, folder, facts, _rungs(study, facts.get("pruner")))


def _opened(folder: Path, url: str | None) -> optuna.Study:
    if url is None and not (folder / JOURNAL).is_file():
        raise ConfigError(f"{folder}: its study is not here ({JOURNAL})")
    optuna.logging.set_verbosity(logging.WARNING)
    name = (
        None if url is None else folder.absolute().name
    )  # a journal in the folder holds no other, if that was renamed
    try:
        return optuna.load_study(study_name=name, storage=open_storage(url, folder))
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{folder}: its study is not in {url or JOURNAL}") from error


def _rungs(study: optuna.Study, pruner: dict[str, Any] | None) -> list[int]:
    """Where trials were judged, up to the furthest that any has come."""
    node = None if pruner is None else pruner["node"]
    if node is None or not is_halving(node):
        return []
    furthest = max((step for trial in study.get_trials(deepcopy=False) for step in reports(trial)), default=0)
    return rungs_of(first_rung(node), node["reduction_factor"], furthest)
