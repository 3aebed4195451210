"""torchmetrics, imported without what its plots, its texts and its sounds would need.

Its first import brings matplotlib, transformers and scipy.signal along, wherever they are installed: with them it takes
1.5 to 2 seconds, without them a tenth, in every process that evaluates. So what evaluates imports this module, and that
before there are other threads, which might find what stands for them meanwhile. What torchmetrics has taken of those
packages is looked up in them when it is used: `plot` and `BERTScore` work as ever.
"""

from __future__ import annotations

import importlib
import sys
from functools import wraps
from importlib.util import find_spec
from types import ModuleType
from typing import Any

HEAVY = ("matplotlib", "matplotlib.axes", "matplotlib.pyplot", "transformers")


class _Name:
    """What `path` names in a module that is not imported yet; anything that is done with it is done with what it names."""

    def __init__(self, module: str, *path: str) -> None:
        self._module, self._path = module, path

    def _real(self) -> Any:
        found: Any = importlib.import_module(self._module)
        for name in self._path:
            found = getattr(found, name)
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if _Later.loading:
            return _Name(self._module, *self._path, name)
        return getattr(self._real(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not _Later.loading:
            return self._real()(*args, **kwargs)

        # A decorator that torchmetrics makes here: its turn is at the first call of what it decorates.
        def decorate(function: Any) -> Any:
            @wraps(function)
            def decorated(*given: Any, **named: Any) -> Any:
                return self._real()(*args, **kwargs)(function)(*given, **named)

            return decorated

        return decorate

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._real())


class _Later(ModuleType):
    """Stands where a module will, while torchmetrics is imported; keeps answering for it afterwards."""

    loading = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_Name(self.__name__), name)


def _import() -> None:
    if "torchmetrics" in sys.modules:
        return
    tops = {name: name.partition(".")[0] for name in HEAVY}
    absent = [name for name, top in tops.items() if top not in sys.modules and find_spec(top) is not None]
    stands: dict[str, ModuleType] = {name: _Later(name) for name in absent}
    for name, module in stands.items():
        parent, _, child = name.rpartition(".")
        if parent in stands:
            setattr(stands[parent], child, module)
    if "scipy.signal" not in sys.modules and find_spec("srmrpy") is None:
        # torchmetrics gives it a name back that srmrpy asks for, and needs nothing of it itself.
        stands["scipy.signal"] = ModuleType("scipy.signal")
        stands["scipy.signal"].hamming = None  # type: ignore[attr-defined]
    sys.modules.update(stands)
    try:
        import torchmetrics  # noqa: F401
    except Exception:  # of a version that wants more of them while it is imported: the slow way, which is the plain one
        for name in [each for each in sys.modules if each.partition(".")[0] == "torchmetrics"]:
            del sys.modules[name]
    finally:
        _Later.loading = False
        for name, module in stands.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


_import()
