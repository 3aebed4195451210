"""A training launcher: Hydra configs compose into one experiment that runs the same anywhere."""

from importlib import import_module
from pathlib import Path

__version__ = "0.1.0"

_here = Path(__file__).resolve().parent

# The tasks live beside this package in a checkout and inside it in a wheel. Either way they are
# imported as `launcher.tasks`, so that a folder named `tasks` where the user stands cannot shadow them.
if not (_here / "tasks").is_dir():
    __path__.append(str(_here.parent))

CONF = _here / "conf" if (_here / "conf").is_dir() else _here.parent / "conf"
"""The folder of the catalogue: one file per choice."""

_PUBLIC = {
    "Algorithm": "core.algorithm",
    "Batch": "data.samples",
    "Communication": "core.communication",
    "ConfigError": "errors",
    "Datasets": "data.samples",
    "Input": "core.procedure",
    "Job": "core.procedure",
    "LauncherError": "errors",
    "Loop": "core.loop",
    "Loss": "core.loss",
    "Monitor": "core.algorithm",
    "Parallel": "core.parallel",
    "Part": "core.run",
    "Procedure": "core.procedure",
    "Progress": "core.run",
    "Run": "core.run",
    "Samples": "data.samples",
    "Task": "core.task",
    "TensorSamples": "data.samples",
    "Tracker": "trackers.base",
    "TrainingError": "errors",
    "did_you_mean": "errors",
    "factory": "config.trust",
    "split_rows": "data.splits",
}
"""What code of somebody else may use, and the module that defines it; `__init__.pyi` says the same to type checkers."""

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> object:
    """A public name, from its own module. Most need torch, which `import launcher` alone must not cost."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
