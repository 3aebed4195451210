"""A training launcher: Hydra configs compose into one experiment that runs the same anywhere."""

from pathlib import Path

__version__ = "0.1.0"

_here = Path(__file__).resolve().parent

# The tasks live beside this package in a checkout and inside it in a wheel. Either way they are
# imported as `launcher.tasks`, so that a folder named `tasks` where the user stands cannot shadow them.
if not (_here / "tasks").is_dir():
    __path__.append(str(_here.parent))

CONF = _here / "conf" if (_here / "conf").is_dir() else _here.parent / "conf"
"""The folder of the catalogue: one file per choice."""
