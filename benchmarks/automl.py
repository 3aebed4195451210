"""`search=automl` beside scikit-learn's HalvingRandomSearchCV over the same families, in the same time, on three data sets.

`python benchmarks/automl.py [SEED…]`. scikit-learn goes first: what it took, from the call to a fitted model, is what the
command gets in all, its start and its ensemble included: what these take is measured before, with a second for the trials.
Both learn from the same rows and are judged once by those put aside, in the data's own objective (accuracy, or root mean
squared error).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
DATA = ("breast_cancer", "wine", "diabetes")
CANDIDATES, JOBS = 81, 2


def families(problem: str) -> list[dict[str, Any]]:
    """The space of conf/search/automl.yaml, as scikit-learn takes it."""
    from scipy.stats import loguniform, randint, uniform
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        GradientBoostingClassifier,
        GradientBoostingRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.preprocessing import MinMaxScaler, PowerTransformer, RobustScaler, StandardScaler
    from sklearn.svm import SVC, SVR

    classes = problem == "classification"
    scaled = {"scale": [StandardScaler(), MinMaxScaler(), RobustScaler(), PowerTransformer()]}
    trees = {
        "model__n_estimators": randint(50, 301), "model__max_depth": [None, 4, 8, 16],
        "model__min_samples_leaf": randint(1, 17), "model__max_features": ["sqrt", 0.5, 1.0],
    }  # fmt: skip
    svm = {"C": loguniform(1e-2, 1e3), "kernel": ["rbf", "linear"], "gamma": loguniform(1e-4, 1)}
    knn = {"model__n_neighbors": randint(1, 41), "model__weights": ["uniform", "distance"]}
    boosting = {
        "model__n_estimators": randint(40, 301), "model__learning_rate": loguniform(0.02, 0.5),
        "model__max_depth": randint(1, 6), "model__subsample": uniform(0.5, 0.5),
    }  # fmt: skip
    own: list[tuple[Any, dict[str, Any]]]
    if classes:
        own = [
            (LogisticRegression(max_iter=1000), scaled | {"model__C": loguniform(1e-3, 1e2)}),
            (
                CalibratedClassifierCV(SVC(), ensemble=False),
                scaled | {f"model__estimator__{key}": value for key, value in svm.items()},
            ),
            (KNeighborsClassifier(), scaled | knn),
            (GaussianNB(), {"model__var_smoothing": loguniform(1e-11, 1e-1)}),
            (RandomForestClassifier(), trees),
            (ExtraTreesClassifier(), trees),
            (GradientBoostingClassifier(), boosting),
        ]
    else:
        own = [
            (Ridge(), scaled | {"model__alpha": loguniform(1e-3, 1e3)}),
            (ElasticNet(), scaled | {"model__alpha": loguniform(1e-3, 1e1), "model__l1_ratio": uniform(0.05, 0.95)}),
            (SVR(), scaled | {f"model__{key}": value for key, value in svm.items()}),
            (KNeighborsRegressor(), scaled | knn),
            (RandomForestRegressor(), trees),
            (ExtraTreesRegressor(), trees),
            (GradientBoostingRegressor(), boosting),
        ]
    return [space | {"model": [model]} for model, space in own]


def beside(data: str, seed: int) -> tuple[float, float, float, float, float]:
    """The seconds of both, and of each the objective on the rows put aside; then how many trials the command ended."""
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.metrics import accuracy_score, root_mean_squared_error
    from sklearn.model_selection import HalvingRandomSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    from launcher.config import compose
    from launcher.train.build import build_task

    with compose.session() as hydra:
        words = ["task=tabular", f"data={data}", "validation=holdout", f"seed={seed}"]
        samples = build_task(compose.compose(hydra, words).config).datasets()
    train: Any = samples.train
    held: Any = samples.val
    problem = "regression" if data == "diabetes" else "classification"
    measure = accuracy_score if problem == "classification" else root_mean_squared_error
    search = HalvingRandomSearchCV(
        Pipeline([("scale", StandardScaler()), ("model", None)]), families(problem), n_candidates=CANDIDATES, factor=3,
        scoring="accuracy" if problem == "classification" else "neg_root_mean_squared_error", cv=5, n_jobs=JOBS,
        random_state=seed, error_score=float("nan"),
    )  # fmt: skip
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(np.asarray(train.X), train.y)
    theirs_s = time.monotonic() - started
    theirs = float(measure(held.y, search.predict(np.asarray(held.X))))

    beside_s, _, _ = automl(data, seed, 1.0)
    ours_s, held_out, trials = automl(data, seed, max(1.0, theirs_s - (beside_s - 1.0)))
    return theirs_s, ours_s, theirs, held_out["val/accuracy" if problem == "classification" else "val/rmse"], trials


def automl(data: str, seed: int, timeout_s: float) -> tuple[float, dict[str, float], int]:
    """The command with so much time for its trials: its seconds in all, what the rows put aside say, the trials that ended."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "launcher", "-m", "search=automl", "task=tabular", f"data={data}", f"seed={seed}",
            "tracker=[]", "hydra.sweeper.study_name=bench", "hydra.sweeper.n_trials=100000", f"hydra.sweeper.n_jobs={JOBS}",
            f"hydra.sweeper.timeout={timeout_s:.1f}",
        ]  # fmt: skip
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        started = time.monotonic()
        subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        took = time.monotonic() - started
        own = Path(folder) / "multirun" / "bench"
        told = own / "ensemble.json"
        held_out = json.loads(told.read_text())["held_out"] if told.exists() else {}  # of a second nothing may come out
        trials = sum(",completed," in line for line in (own / "trials.csv").read_text().splitlines())
    return took, held_out, trials


def main(seeds: list[int]) -> None:
    for data in DATA:
        found = []
        for seed in seeds:
            found.append(beside(data, seed))
            theirs_s, ours_s, theirs, ours, trials = found[-1]
            print(
                f"{data}, seed {seed}: HalvingRandomSearchCV {theirs:.4f} in {theirs_s:.0f} s, "
                f"search=automl {ours:.4f} in {ours_s:.0f} s ({trials:.0f} trials)",
                flush=True,
            )
        means = [statistics.fmean(column) for column in zip(*found, strict=True)]
        print(
            f"{data}: HalvingRandomSearchCV {means[2]:.4f}, search=automl {means[3]:.4f} "
            f"({'rmse, low is good' if data == 'diabetes' else 'accuracy'}; means over {len(seeds)} seeds)",
            flush=True,
        )


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [0, 1, 2])
