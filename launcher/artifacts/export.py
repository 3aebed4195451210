"""Trained models as files that other programs load, and back, without running code that a file brings.

| model | files |
|---|---|
| of `transformers` or `peft` | what its `save_pretrained` writes, and its tokenizer |
| any other module | `model.safetensors` and `config.json`: the class, its keyword arguments, facts of the data |
| of scikit-learn | `model.skops` and `config.json` |
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import ConfigError, beginning

from .stored_estimator import CLASSES, foreign, see

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from torch import nn


FORMAT = 1
WEIGHTS, CONFIG, ESTIMATOR = "model.safetensors", "config.json", "model.skops"
ALLOWED = ("launcher.tasks.*",)
"""The classes that `load_module` builds where it is not told others: names, or `package.*`."""


def save_module(
    model: nn.Module,
    folder: Path,
    *,
    facts: dict[str, Any] | None = None,
    save_tokenizer: Callable[[Path], None] | None = None,
) -> None:
    """Write a trained module into `folder`, with `facts` (plain values) and the tokenizer that belongs to it.

    A module that has no `save_pretrained` has to carry `launcher_config`, the `_target_` and keyword arguments it
    was built from, as `build.py` attaches it. Raises TypeError where it is missing or not plain.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_pretrained: Any = getattr(model, "save_pretrained", None)
    if save_pretrained is not None:
        if "transformers" in sys.modules:  # it draws a bar even for a file of a moment
            importlib.import_module("transformers.utils.logging").disable_progress_bar()
        with _no_engine():
            save_pretrained(folder)
    else:
        from safetensors.torch import save_model

        built = getattr(model, "launcher_config", None)
        if built is None:
            raise TypeError(f"{type(model).__name__} does not say what it was built from (launcher_config)")
        save_model(model, str(folder / WEIGHTS), metadata={"format": "pt"})  # shared tensors are written once
        _write(folder / CONFIG, {"format": FORMAT, "model": _plain(built), "facts": _plain(facts or {})})
    if save_tokenizer is not None:
        save_tokenizer(folder)


@contextlib.contextmanager
def _no_engine() -> Iterator[None]:
    """Accelerate, asked by `save_pretrained` for the model inside of what wraps it, imports DeepSpeed where it is installed,
    1.5 s at the end of a run: nothing is an engine of a package that nobody has imported."""
    other: Any = sys.modules.get("accelerate.utils.other")
    if other is None or "deepspeed" in sys.modules:
        yield
        return
    available = other.is_deepspeed_available
    other.is_deepspeed_available = lambda: False
    try:
        yield
    finally:
        other.is_deepspeed_available = available


def load_module(folder: Path, allowed: Iterable[str] = ALLOWED) -> nn.Module:
    """The module that `save_module` wrote, in evaluation mode, on the CPU.

    Only a class of `torch.nn.Module` whose full name is in `allowed` is built, with plain arguments; `transformers`
    models are read by their own `from_pretrained`. Raises ConfigError for a folder that holds no such model.
    """
    from safetensors.torch import load_model

    saved = _read(folder)
    if "model" not in saved:
        raise ConfigError(f"{folder / CONFIG}: not a model of this launcher; transformers' from_pretrained may read it")
    arguments = dict(saved["model"])
    cls = _module_class(str(arguments.pop("_target_", "")), tuple(allowed))
    try:
        module: nn.Module = cls(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{folder / CONFIG}: {cls.__name__} can not be built as it says: {error}") from error
    try:
        load_model(module, str(folder / WEIGHTS), device="cpu")
    except Exception as error:
        raise ConfigError(
            f"{folder / WEIGHTS}: not the weights of {type(module).__name__}: {beginning(error)}"
        ) from error
    return module.eval()


def _module_class(name: str, allowed: tuple[str, ...]) -> type[nn.Module]:
    from torch import nn

    module_name, _, class_name = name.rpartition(".")
    if not any(fnmatchcase(name, pattern) for pattern in allowed):
        raise ConfigError(
            f"a saved model names the class {name!r}, which is not among those that may be built: {', '.join(allowed)}"
        )
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"a saved model names the class {name!r}, and there is none here") from error
    # The name has to be the class's own: `allowed` must not be evaded through what a module happens to import.
    if not (
        inspect.isclass(found) and issubclass(found, nn.Module) and f"{found.__module__}.{found.__qualname__}" == name
    ):
        raise ConfigError(f"a saved model names {name!r}, which is not a module class")
    return found


def save_estimator(estimator: BaseEstimator, folder: Path, *, facts: dict[str, Any] | None = None) -> None:
    """Write a fitted scikit-learn estimator or pipeline into `folder`, with `facts` (plain values)."""
    import sklearn
    import skops.io

    folder.mkdir(parents=True, exist_ok=True)
    skops.io.dump(estimator, folder / ESTIMATOR)
    _write(folder / CONFIG, {"format": FORMAT, "sklearn": sklearn.__version__, "facts": _plain(facts or {})})


def load_estimator(folder: Path, classes: Iterable[str] = CLASSES) -> Any:
    """The estimator that `save_estimator` wrote. Nothing is unpickled, and no function comes with it.

    Raises ConfigError where there is none, or where it holds more than scikit-learn's estimators and `classes`.
    """
    import skops.io

    path = folder / ESTIMATOR
    if not path.is_file():
        raise ConfigError(f"{folder}: holds no {ESTIMATOR}")
    try:
        data = path.read_bytes()  # once: what was looked through is what is loaded
        known, others = foreign(data, classes)
        if others:
            raise ConfigError(f"{path}: holds what no saved estimator may bring: {', '.join(others)}")
        estimator = skops.io.loads(data, trusted=known)
        see(estimator)
    except ConfigError as error:
        raise error if str(path) in str(error) else ConfigError(f"{path}: {error}") from None
    except Exception as error:  # skops raises many kinds for a damaged file
        raise ConfigError(f"{path}: not a readable estimator: {beginning(error)}") from error
    return estimator


def load_facts(folder: Path) -> dict[str, Any]:
    """The facts of the data that were saved with a model: `classes` and the like."""
    return dict(_read(folder).get("facts", {}))


def _read(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{folder}: holds no {CONFIG}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not readable: {error}") from error
    if not isinstance(saved, dict):
        raise ConfigError(f"{path}: expected an object")
    return saved


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """The same as lists, dicts and JSON's values. Raises TypeError for anything else."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, Iterable):
        return [_plain(entry) for entry in value]
    raise TypeError(f"{type(value).__name__} can not be written into {CONFIG}")
