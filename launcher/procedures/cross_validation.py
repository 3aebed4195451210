"""Cross-validation: a fit a fold, and what they say together."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from launcher.artifacts.folder import MODEL
from launcher.artifacts.out_of_fold import FILE as OUT_OF_FOLD
from launcher.artifacts.predictions import FILE, read_table, write_table
from launcher.artifacts.result import read_result
from launcher.config.counts import num_splits
from launcher.config.signatures import signature
from launcher.core.procedure import Job, Procedure, Results, deviation
from launcher.errors import ConfigError
from launcher.process.seeds import derive

from .selection import Point, best_of, candidates, grid_of, with_values

REFIT = "refit"


class CrossValidation(Procedure):
    """One fit for each split of the validation. Fold i has the seed derived from (seed, "fold", i), and the rows that the
    splitter's i-th split gives it; with `num_seeds=n` each fold is fitted n times.

    The result has the mean and the standard deviation (n - 1) of every metric over the fits, an interval for the mean
    of each held-out one at the level `confidence`, and out-of-fold predictions: oof.csv holds what was predicted for each row by the fit
    that did not learn from it.

    `interval` says how wide the interval is, for n folds (of each, the mean of its seeds) with standard deviation s:

    - `student_t`: t(n-1) s sqrt(1/n), as if folds were independent. They share training rows, so it is too narrow.
    - `nadeau_bengio`: t(n-1) s sqrt(1/n + rows held out / rows learned from) (Nadeau and Bengio, 2003), which allows
      for what they share.

    `refit` fits once more on all rows, with the seed derived from (seed, "refit"), and puts what it exports into the
    run's own `model/`. Nothing is held out then, so nothing can stop it: where `stopping` ended the folds early, it
    trains for the mean of the epochs at which they were best. With `validation=reserved` it learns from all rows that were
    not put aside, is evaluated on these once, at its end, and the result has that as `test`.

    With `validation=nested` every outer fold first tries each point of `grid` (a list of values by key, as
    `{optimizer.lr: [0.001, 0.01]}`) on the inner folds of its training rows, all with the same seed, and is then
    fitted with the point whose mean objective is best. The outer fold's held-out rows choose nothing: that fit is
    evaluated once, at its end. `grid=null` is a third, once and three times the rate of a torch model.

    Without `fold_models` folds leave no `model/`, which of a forest takes longer to write than to fit.

    `fold` and `inner_fold` say which fit of them this is; set by hand, `fold` fits that fold alone.
    """

    def __init__(
        self,
        fold: int | None = None,
        inner_fold: int | None = None,
        interval: Literal["student_t", "nadeau_bengio"] = "student_t",
        confidence: float = 0.95,
        refit: bool = False,
        grid: dict[str, list[Any]] | None = None,
        fold_models: bool = True,
    ) -> None:
        self.fold, self.inner_fold = fold, inner_fold
        self.interval, self.confidence, self.refit, self.grid = interval, confidence, refit, grid
        self.fold_models = fold_models

    def next(self, config: DictConfig, done: Results) -> list[Job]:
        if self.fold is not None or self.inner_fold is not None:
            return [] if done else [Job("", config)]
        return list(self._nested(config, done) if "outer" in config.validation else self._folds(config, done))

    def num_jobs(self, config: DictConfig) -> int:
        if self.fold is not None or self.inner_fold is not None:
            return 1
        folds = _num(config.validation)
        if "outer" not in config.validation:
            return folds * int(config.num_seeds) + self.refit
        inner = len(candidates(config, grid_of(config, self.grid))) * _num(config.validation.inner)
        return (folds + self.refit) * (inner + 1)

    def _folds(self, config: DictConfig, done: Results) -> Iterator[Job]:
        """The fits of each fold; when all of them have ended, the one on all rows."""
        names = []
        for fold in range(_num(config.validation)):
            seed = derive(config.seed, "fold", fold)
            several = config.num_seeds > 1
            seeds = [derive(seed, "repeat", index) for index in range(config.num_seeds)] if several else [seed]
            for index, each in enumerate(seeds):
                name = f"fold-{fold}-seed-{index}" if several else f"fold-{fold}"
                names.append(name)
                if name not in done:
                    yield Job(name, partial(self._fit, config, fold=fold, seed=each), fold=fold)
        if self.refit and REFIT not in done and done.keys() >= set(names):
            yield _refit(config, {name: done[name] for name in names})

    def _nested(self, config: DictConfig, done: Results) -> Iterator[Job]:
        """Of each outer fold the inner fits and, when these have ended, the fold's own; with `refit` the same over all rows."""
        points = candidates(config, grid_of(config, self.grid))
        outer: list[int | None] = [*range(_num(config.validation)), *([None] if self.refit else [])]
        for fold in outer:
            name = REFIT if fold is None else f"fold-{fold}"
            if name in done:
                continue
            seed = derive(config.seed, "refit") if fold is None else derive(config.seed, "fold", fold)
            names = []
            for number, point in enumerate(points):
                for inside in range(_num(config.validation.inner)):
                    inner = f"inner/{name}/candidate-{number}-fold-{inside}"
                    names.append(inner)
                    if inner not in done:
                        which = {"fold": fold, "inner_fold": inside, "seed": derive(seed, "fold", inside)}
                        yield Job(inner, partial(self._inner, config, point, **which))
            if not done.keys() >= set(names):
                continue
            if fold is None:
                own = _everything(config)
            else:  # evaluated once, at its end: the held-out rows must not choose among the epochs either
                own = self._fit(config, fold=fold, seed=seed, eval_every=None)
            chosen = best_of(points, [done[inner] for inner in names], config.objective)
            yield Job(name, with_values(own, chosen), after=tuple(names), fold=fold)

    def _inner(self, config: DictConfig, point: Point, **which: Any) -> DictConfig:
        """The config of a fit that tries a point of the grid on an inner fold."""
        return with_values(self._fit(config, **which), point)

    def _fit(
        self, config: DictConfig, *, fold: int | None, seed: int, inner_fold: int | None = None, **training: Any
    ) -> DictConfig:
        """The config of a fit that holds rows out and writes what it says of them."""
        export = self.fold_models and config.training.export
        training |= {"predictions": inner_fold is None, "export": export}
        own = _with(config, {"seed": seed, "num_seeds": 1, "training": training})
        which = {"_target_": own.procedure._target_, "fold": fold, "inner_fold": inner_fold}
        OmegaConf.update(own, "procedure", which, merge=False)
        return own

    def combine(self, fits: list[Job], results: list[dict[str, Any]]) -> dict[str, Any]:
        scoring = [(fit, result) for fit, result in zip(fits, results, strict=True) if fit.fold is not None]
        scoring.sort(key=lambda each: _fold(each[0]))
        folds, own = [fit for fit, _ in scoring], [result for _, result in scoring]
        combined = super().combine(folds, own)
        for entry, fit in zip(combined["fits"], folds, strict=True):
            entry["fold"] = fit.fold
        combined |= {key: sum(result[key] for result in results) for key in ("steps", "epochs", "wall_s")}
        combined["reason"] = f"{len({fit.fold for fit in folds})} folds"
        combined["confidence"] = self._confidence(
            folds, own, [name for name in combined["mean"] if name.startswith("val/")]
        )
        return combined

    def _confidence(self, folds: list[Job], results: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
        from scipy.stats import t

        by_fold: dict[int | None, list[dict[str, Any]]] = {}
        for fit, result in zip(folds, results, strict=True):
            by_fold.setdefault(fit.fold, []).append(result)
        num = len(by_fold)
        share = statistics.fmean(result["val_samples"] / result["train_samples"] for result in results)
        variance = 1 / num + (share if self.interval == "nadeau_bengio" else 0.0)
        factor = float(t.ppf((1 + self.confidence) / 2, num - 1)) * math.sqrt(variance)
        intervals = {}
        for name in names:
            values = [statistics.fmean(float(result["metrics"][name]) for result in each) for each in by_fold.values()]
            mean, half = statistics.fmean(values), factor * deviation(values)
            intervals[name] = [mean - half, mean + half]
        return {"level": self.confidence, "method": self.interval, "intervals": intervals}

    def gather(self, folder: Path, fits: list[Job]) -> dict[str, Any]:
        import shutil

        from launcher.artifacts.folder import read_config

        folds = sorted((fit for fit in fits if fit.fold is not None), key=_fold)
        found: dict[str, Any] = {}
        if all((folder / fit.name / FILE).is_file() for fit in folds):
            write_table(folder / OUT_OF_FOLD, *_out_of_fold(folder, folds))
            found["predictions"] = OUT_OF_FOLD
        validation = folds[0].config.validation
        if "outer" in validation:
            chosen = [*folds, *(fit for fit in fits if fit.name == REFIT)]
            keys = list(grid_of(fits[0].config, self.grid))
            found["chosen"] = {
                fit.name: {key: OmegaConf.select(read_config(folder / fit.name), key) for key in keys} for fit in chosen
            }
        if self.refit:
            if "test" in validation:
                judged = (read_result(folder / REFIT) or {}).get("metrics", {})
                found["test"] = {name: value for name, value in judged.items() if name.startswith("val/")}
            beside, final = folder / f".{MODEL}", folder / MODEL
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(folder / REFIT / MODEL, beside)
            shutil.rmtree(final, ignore_errors=True)
            beside.rename(final)
        return found


def _fold(fit: Job) -> int:
    """The number of the fold that a fit holds out, to order fits by: nested ones end in any order."""
    assert fit.fold is not None
    return fit.fold


def _num(node: DictConfig) -> int:
    plain: Any = OmegaConf.to_container(node)
    num = num_splits(plain)
    if num is None:
        raise ConfigError(
            f"procedure=cross_validation: {node._target_} does not say how many folds it makes; give it n_splits"
        )
    return num


def _everything(config: DictConfig) -> DictConfig:
    """The config of the fit on all rows."""
    own = _with(config, {"seed": derive(config.seed, "refit"), "num_seeds": 1})
    reserved = config.validation.get("test")
    kept = {"_target_": "launcher.data.splits.Everything"} if reserved is None else reserved
    OmegaConf.update(own, "validation", kept, merge=False)
    OmegaConf.update(own, "procedure", {"_target_": "launcher.procedures.single.Single"}, merge=False)
    OmegaConf.update(own, "stopping", {}, merge=False)
    if reserved is not None:  # looked at once, at the end
        return _with(own, {"training": {"predictions": True, "eval_every": None}})
    if signature(own.model._target_).facts.get("estimator"):
        own.objective.metric = own.objective.metric.replace("val/", "train/", 1)
    else:
        own.objective.metric, own.objective.direction = "train/loss", "minimize"
    return own


def _refit(config: DictConfig, folds: Results) -> Job:
    """The fit on all rows: as long as the folds needed, where something could stop them."""
    own = _everything(config)
    if config.stopping:
        epochs = [
            result["epochs"] * (result["best_step"] or result["steps"]) / result["steps"] for result in folds.values()
        ]
        own = _with(own, {"training": {"max_epochs": statistics.fmean(epochs), "max_steps": None}})
    return Job(REFIT, own, after=tuple(folds))


def _with(config: DictConfig, changes: dict[str, Any]) -> DictConfig:
    own = OmegaConf.merge(config, changes)
    assert isinstance(own, DictConfig)
    return own


def _out_of_fold(folder: Path, folds: list[Job]) -> tuple[list[str], Iterator[list[str]]]:
    """The folds' predictions as one table. A splitter that repeats itself holds a row out once a repeat."""
    tables = [(fit, *read_table(folder / fit.name / FILE)) for fit in folds]
    first = folds[0].config.validation
    first = first.get("folds", first)
    repeats = int(first.n_splits) if "n_repeats" in first else len(folds)
    before = [[fit.name, str(fit.fold // repeats), str(fit.fold)] for fit in folds if fit.fold is not None]
    lines = ([*own, *line] for own, (_, _, table) in zip(before, tables, strict=True) for line in table)
    return ["fit", "repeat", "fold", *tables[0][1]], itertools.chain(lines)
