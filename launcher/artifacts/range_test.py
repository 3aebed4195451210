"""lr_find.json and lr_find.svg: the losses of a range test, and their curve."""

from __future__ import annotations

FILE, PICTURE = "lr_find.json", "lr_find.svg"
