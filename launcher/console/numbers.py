"""Numbers as people read them: on the terminal and on the pages."""

from __future__ import annotations

import math


def number(value: float) -> str:
    """About four digits that matter: 0.9722, 2.303, 14.21, 12,345, 3.00e-04."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e6 or size < 1e-3:
        return f"{value:.2e}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{4 if size < 1 else 3 if size < 10 else 2 if size < 100 else 1}f}"


def count(value: float) -> str:
    """A number of things: 1,797 or 52.4 M."""
    if value >= 1e6:
        size, unit = (1e9, "G") if value >= 1e9 else (1e6, "M")
        return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def things(value: float, one: str) -> str:
    """A number of things with their name: "1 step", "45 steps"."""
    return f"{count(value)} {one if value == 1 else one + 's'}"


def span(seconds: float) -> str:
    """A time: 0.8 s, 12 s, 3m05s, 1h04m, 2d03h."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def rate(per_second: float, one: str = "step") -> str:
    """A speed: 1,954 steps/s, 3.2 steps/s, 12 s/step."""
    if per_second <= 0:
        return f"0 {one}s/s"
    if per_second < 0.5:
        return f"{span(1 / per_second)}/{one}"
    return f"{per_second:,.0f} {one}s/s" if per_second >= 10 else f"{per_second:.1f} {one}s/s"


def size(num_bytes: float) -> str:
    """Bytes: 512 KiB, 1.5 GiB; 1,000 MiB and more are 0.98 GiB and more, so that three digits do."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.3g} TiB"


def share(part: float) -> str:
    """A part of a whole, in per cent: 45%."""
    return f"{math.floor(100 * part)}%"


def printable(text: str) -> str:
    """The text without control characters: what was typed or read must not steer the terminal."""
    return "".join(sign for sign in text if sign in "\n\t" or (sign.isprintable() or sign == " "))
