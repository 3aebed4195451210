"""Imported by the server that trials are forked from: modules of a person's own, so that each trial finds them there.

One that fails here is left to the trial, which imports it again and says in its log what is wrong; what it prints is its trials'
to print.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os

from .forkserver import FOREIGN

with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    for _name in filter(None, os.environ.get(FOREIGN, "").split(",")):
        with contextlib.suppress(Exception):
            importlib.import_module(_name)
