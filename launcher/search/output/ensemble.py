"""One model of a sweep's best trials: chosen by their out-of-fold predictions, exported, judged by the rows put aside.

Each trial is a cross-validation with `procedure.refit=true`: oof.csv holds what it said of rows that it had not learned
from, `model/` what it learned from all of them. The members' weights follow from the former alone (Caruana et al., 2004);
scikit-learn's voting ensemble of the latter becomes the sweep's `model/`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from launcher.artifacts.folder import MODEL, read_config
from launcher.artifacts.out_of_fold import FILE as OUT_OF_FOLD
from launcher.artifacts.predictions import read_table
from launcher.artifacts.result import read_result
from launcher.artifacts.sweep import ENSEMBLE
from launcher.config.signatures import signature
from launcher.console.console import Console
from launcher.errors import PREEMPTED, ConfigError
from launcher.functional.ensemble import cross_entropy, greedy, squared_error
from launcher.procedures.cross_validation import REFIT
from launcher.process.signals import Interrupt, LeftEarly, leaving_early
from launcher.search.space import dimensions as space
from launcher.search.study.study import Study

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

MODULES = (
    "launcher.train.build",
    "launcher.artifacts.export",
    "skops.io",
    "sklearn.ensemble",
    "sklearn.pipeline",
    "pandas",
)
"""What `build` needs, to be imported beforehand."""
ASKED = "hydra.sweeper.ensemble (search=automl)"


@dataclass(frozen=True)
class Member:
    """A trial, and what it said of rows it had not learned from: [rows, classes], or [rows, 1] of a quantity."""

    trial: FrozenTrial
    folder: Path
    rows: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray
    classes: tuple[str, ...]  # of a quantity none


def refuse(config: DictConfig, num_objectives: int) -> None:
    """Raises ConfigError for a sweep whose trials leave nothing that an ensemble could be made of."""
    task, model = (str(config[group]._target_) for group in ("task", "model"))
    names = [target.rpartition(".")[2] for target in (task, model)]
    if not signature(task).facts.get("estimators"):
        raise ConfigError(f"{ASKED}: {names[0]} trains torch modules; task=tabular learns by scikit-learn's estimators")
    if not signature(model).facts.get("estimator"):
        raise ConfigError(
            f"{ASKED}: {names[1]} is a torch module, and the ensemble is one of scikit-learn's estimators"
        )
    if "fold" not in config.procedure:
        raise ConfigError(f"{ASKED} chooses by out-of-fold predictions: validation=reserved, or another one of folds")
    if "outer" in config.validation:
        raise ConfigError(
            f"{ASKED}: the folds of validation=nested have a model each; validation=reserved goes with it"
        )
    if not config.procedure.refit:
        raise ConfigError(f"{ASKED} is made of models of all rows: procedure.refit=true")
    if num_objectives > 1:
        raise ConfigError(f"{ASKED} goes with one objective; there are {num_objectives}")


def build(study: Study, rounds: int, console: Console, interrupt: Interrupt) -> None:
    """Choose among the complete trials whose models are still there; write `model/` and ensemble.json, and say so.

    A signal ends it at once: the sweep's next start builds it anew.
    """
    with contextlib.suppress(LeftEarly), leaving_early(interrupt, lambda: PREEMPTED):
        _build(study, rounds, console)


def _build(study: Study, rounds: int, console: Console) -> None:
    members = _members(study)
    if not members:
        console.warning(
            "no ensemble: no trial has left a model with out-of-fold predictions (probabilities, of classes)"
        )
        return
    error = _error(members[0])
    counts, errors = greedy(np.stack([each.predictions for each in members]), error, rounds)
    chosen = [(each, int(count)) for each, count in zip(members, counts, strict=True) if count]
    chosen.sort(key=lambda entry: -entry[1])
    best = min(members, key=lambda each: error(each.predictions))
    estimator = voting([_model(each) for each, _ in chosen], [count for _, count in chosen], best.classes)
    held_out = _export(estimator, best, study.folder)
    shares = [
        {"trial": each.trial.number, "weight": count / sum(counts), "params": space.point(each.trial.params)}
        for each, count in chosen
    ]
    alone = (read_result(best.folder) or {}).get("test", {})
    told = {
        "members": shares,
        "rounds": int(sum(counts)),
        "out_of_fold": {"loss": min(errors), "best_trial": best.trial.number, "best_loss": error(best.predictions)},
        "held_out": held_out,
        "best_held_out": alone,
    }
    beside = study.folder / f".{ENSEMBLE}"
    beside.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    beside.replace(study.folder / ENSEMBLE)
    words = ", ".join(f"trial {each['trial']} x {each['weight']:.2f}" for each in shares[:6])
    more = f" and {len(chosen) - 6} more" if len(chosen) > 6 else ""
    console.message(f"ensemble: {words}{more}")
    kind = "cross-entropy" if best.classes else "squared error"
    console.message(
        f"out-of-fold {kind}: {min(errors):.4g} (trial {best.trial.number}, the best alone: {error(best.predictions):.4g})"
    )
    if held_out:
        judged = [f"{name} {value:.4g} ({alone.get(name, float('nan')):.4g})" for name, value in held_out.items()]
        console.message(f"held out: {', '.join(judged)} (trial {best.trial.number} alone)")
    console.message(f"model: {study.folder / 'model'}")


def voting(models: Sequence[Any], weights: Sequence[int], classes: Sequence[str]) -> BaseEstimator:
    """scikit-learn's voting ensemble of models that are fitted already: the weighted mean of their probabilities, or of
    their values where there are no classes."""
    from sklearn.ensemble import VotingClassifier, VotingRegressor
    from sklearn.preprocessing import LabelEncoder

    named = [(f"member_{index}", model) for index, model in enumerate(models)]
    if not classes:
        made: Any = VotingRegressor(named, weights=list(weights))
    else:
        made = VotingClassifier(named, voting="soft", weights=list(weights))
        made.le_ = LabelEncoder().fit(models[0].classes_)
        made.classes_ = made.le_.classes_
    made.estimators_ = list(models)
    return made


def _members(study: Study) -> list[Member]:
    """Trials with a model and, of classes, with probabilities; all of the same rows as the first one."""
    found: list[Member] = []
    for trial in study.trials(TrialState.COMPLETE):
        own = study.folder / str(trial.number)
        if not (own / MODEL).is_dir() or not (own / OUT_OF_FOLD).is_file():
            continue
        member = _read(trial, own)
        if member is not None and (not found or (member.rows, member.classes) == (found[0].rows, found[0].classes)):
            found.append(member)
    return found


def _read(trial: FrozenTrial, folder: Path) -> Member | None:
    """A trial's out-of-fold predictions, in the order of the rows; those of a row that stands there more than once (by a
    splitter that repeats itself) as their mean. None for classes without probabilities."""
    from launcher.artifacts.export import load_facts

    header, lines = read_table(folder / OUT_OF_FOLD)
    is_class = "classes" in load_facts(folder / MODEL)
    classes = tuple(name.removeprefix("p_") for name in header if name.startswith("p_"))
    if is_class and not classes:
        return None
    columns = [header.index(f"p_{name}") for name in classes] or [header.index("prediction")]
    row_at, label_at = header.index("row"), header.index("label")
    said: dict[str, list[list[float]]] = {}
    labels: dict[str, str] = {}
    for line in lines:
        said.setdefault(line[row_at], []).append([float(line[column]) for column in columns])
        labels[line[row_at]] = line[label_at]
    rows = tuple(sorted(said, key=int))
    truth = [classes.index(labels[row]) if classes else float(labels[row]) for row in rows]
    predictions = np.array([np.mean(said[row], axis=0) for row in rows])
    return Member(trial, folder, rows, np.array(truth), predictions, classes)


def _error(member: Member) -> Callable[[np.ndarray], float]:
    measure = cross_entropy if member.classes else squared_error
    return lambda predictions: measure(predictions, member.labels)


def _model(member: Member) -> Any:
    from launcher.artifacts.export import load_estimator

    return load_estimator(member.folder / MODEL)


def _export(estimator: Any, best: Member, folder: Path) -> dict[str, float]:
    """Write the sweep's `model/`; returns its metrics on the rows that were put aside."""
    from launcher.train.build import build_task
    from launcher.train.finish import write_model

    config = read_config(best.folder / REFIT)
    task = build_task(config)
    data = task.datasets()
    write_model(task, estimator, folder)
    if data.val is None:
        return {}
    return {f"val/{name}": value for name, value in task.score(estimator, data.val).items()}
