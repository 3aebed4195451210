"""What a file of `skops` may hold: data, and objects of classes on a list. No function, no method, no call.

An estimator calls what stands in its attributes: a text's `analyzer`, say, on each text. So a file that may come from
anybody brings no callable at all, be it of scikit-learn itself. And a tree is walked by indices that nothing checks
while it is walked: they are checked here.
"""

from __future__ import annotations

import importlib
import inspect
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from launcher.errors import ConfigError

KINDS = frozenset(
    f"{kind}Node"
    for kind in (
        "Bytes", "Cached", "DefaultDict", "Dict", "DType", "Json", "List", "Loss", "MaskedArray", "NdArray", "Object",
        "RandomGenerator", "RandomState", "Set", "Slice", "SparseMatrix", "Tree", "Tuple", "Type",
    )
)  # fmt: skip
"""What skops calls the parts of a file. Left out are functions, methods, partials, operators and calls of a constructor."""
CLASSES = (
    "numpy.dtype",
    "scipy.interpolate._bsplines.BSpline",
    "scipy.sparse._csc.csc_array", "scipy.sparse._csc.csc_matrix", "scipy.sparse._csr.csr_array", "scipy.sparse._csr.csr_matrix",
    "sklearn._loss.loss.HalfTweedieLoss", "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.cluster._bisect_k_means._BisectingTree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.*",
    "sklearn.metrics._dist_metrics.*",
    "sklearn.neighbors._ball_tree.*", "sklearn.neighbors._kd_tree.*",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer", "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
)  # fmt: skip
"""The classes beside scikit-learn's estimators, which skops itself knows."""


def foreign(data: bytes, classes: Iterable[str] = CLASSES) -> tuple[list[str], list[str]]:
    """Of a file: the classes of the list that it holds, and whatever else it would bring, by name. Loads nothing of it."""
    import skops.io

    with zipfile.ZipFile(io.BytesIO(data)) as file:
        schema = json.loads(file.read("schema.json"))
    strange = sorted({_named(part) for part in _parts(schema) if part["__loader__"] not in KINDS})
    if strange:
        return [], strange
    names, patterns = skops.io.get_untrusted_types(data=data), list(classes)
    known = [name for name in names if any(fnmatchcase(name, each) for each in patterns) and _is_class(name)]
    return known, sorted(set(names) - set(known))


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every part of a schema that says how it is to be loaded."""
    todo = [node]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            if "__loader__" in each:
                yield each
            todo += each.values()
        elif isinstance(each, list):
            todo += each


def _named(part: dict[str, Any]) -> str:
    return f"{part.get('__module__')}.{part.get('__class__')} ({part['__loader__']})"


def _is_class(name: str) -> bool:
    """Whether a dotted name is a class, by its own name: modules hold what they import, too."""
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        return False
    return inspect.isclass(found) and f"{found.__module__}.{found.__qualname__}" in (
        name,
        f"numpy.{found.__qualname__}",
    )


def see(estimator: Any) -> None:
    """See that what was loaded is sound. Raises ConfigError for an estimator that would read files or unpickle a cache,
    and for a tree that leads out of itself."""
    for name, value in estimator.get_params(deep=True).items():
        last = name.rpartition("__")[2]
        if (last == "memory" and value is not None) or (last == "input" and value != "content"):
            raise ConfigError(f"{name}={value}: it would read files that the model names")
    for tree in _trees(estimator):
        if not _is_sound(tree):
            raise ConfigError(f"a {type(tree).__name__} in it leads out of itself")


def _trees(found: Any) -> Iterator[Any]:
    """Every tree within an estimator."""
    seen: set[int] = set()
    todo = [found]
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, str | bytes | int | float | None):
            continue
        seen.add(id(each))
        if type(each).__name__ in ("Tree", "TreePredictor"):
            yield each
        elif isinstance(each, dict):
            todo += each.values()
        elif isinstance(each, list | tuple | set):
            todo += each
        elif isinstance(each, np.ndarray):
            todo += each.ravel().tolist() if each.dtype == object else []
        elif type(each).__module__.startswith("sklearn."):
            todo += getattr(each, "__dict__", {}).values()


def _is_sound(tree: Any) -> bool:
    """Whether each inner node's children come after it, and its feature is one of those that there are."""
    if type(tree).__name__ == "Tree":
        left, right, feature = tree.children_left, tree.children_right, tree.feature
        inner = left != -1
        num_features = tree.n_features
    else:
        left, right = tree.nodes["left"].astype(np.int64), tree.nodes["right"].astype(np.int64)
        feature, inner = tree.nodes["feature_idx"].astype(np.int64), tree.nodes["is_leaf"] == 0
        num_features = None  # the estimator's, whose own check of its rows it is held against
    at = np.arange(len(left))
    children = ((left > at) & (left < len(left)) & (right > at) & (right < len(left)))[inner]
    features = feature[inner]
    return bool(children.all() and (features >= 0).all() and (num_features is None or (features < num_features).all()))
