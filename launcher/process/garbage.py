"""The garbage collector stands aside while a run is imported and built.

Imports make some million objects that all stay, and the collector looks through them again and again: a fifth of the
time from the command to the first step.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_off() -> Iterator[None]:
    """Nothing is collected meanwhile, or until `begin`."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def begin() -> None:
    """Collect from now on, and never look at what is there already."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
