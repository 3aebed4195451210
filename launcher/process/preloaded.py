"""What the server that processes are forked from imports before all else: see `collecting`; a fit collects again.

At its end it just ends: to take torch apart takes a second and more, in which it holds the terminal's other end.
"""

from __future__ import annotations

import atexit
import gc
import os

gc.disable()
atexit.register(os._exit, 0)
