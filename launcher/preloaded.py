"""What the server that processes are forked from imports before all else: see `collecting`; a fit collects again."""

from __future__ import annotations

import gc

gc.disable()
