"""How much CO2 a kilowatt-hour will cost: a forecast from a file or a provider, and the means of its windows."""

from __future__ import annotations

import base64
import csv
import dataclasses
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from math import inf, isfinite
from pathlib import Path
from statistics import median_low
from typing import Any

from launcher.artifacts.files import refuse_special
from launcher.errors import ConfigError

PROVIDERS = {
    "electricity_maps": "https://api.electricitymaps.com/v3",
    "watttime": "https://api.watttime.org",
    "uk": "https://api.carbonintensity.org.uk",
}
TOKENS = {"electricity_maps": ("ELECTRICITYMAPS_TOKEN",), "watttime": ("WATTTIME_USER", "WATTTIME_PASSWORD")}
"""What a provider wants to be told, from the environment: no file of ours holds it."""

TIMES = ("time", "datetime", "timestamp", "point_time", "from")
ENDS = ("to", "end", "until")
VALUES = ("intensity", "carbon_intensity", "carbonIntensity", "gco2_kwh", "value", "forecast")
SIGMAS = 2 * 1.6449
"""Bounds `low` and `high` are taken to hold nine of ten outcomes; so many standard deviations lie between them."""
LONGER = 1.5
"""Times the usual step of a forecast: a row is not taken to hold for longer than that until the next one."""
GRAMS_A_POUND = 453.592
_NUMBER = re.compile(r"\s*-?\d+,\d+\s*")
_SECONDS = 20.0  # how long a provider may take


@dataclass(frozen=True)
class Stretch:
    """From `begin` to `end` (seconds since 1970) a kWh costs `value` grams of CO2; `error` is its standard deviation."""

    begin: float
    end: float
    value: float
    error: float | None = None


@dataclass(frozen=True)
class Window:
    """The mean of a window that begins at `begin`, in grams a kWh, and the standard deviation of its error."""

    begin: float
    value: float
    error: float | None


def read(path: Path) -> list[Stretch]:
    """A forecast in a file: CSV with a header, or JSON, a list of objects or what a provider has answered. Times are ISO
    8601 or seconds since 1970. Raises ConfigError."""
    refuse_special(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # with the mark that Excel puts in front, or without
        return stretches(
            json.loads(text) if path.suffix.lower() == ".json" or text.lstrip()[:1] in "[{" else table(text)
        )
    except OSError as error:
        raise ConfigError(f"start.forecast={path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"start.forecast={path}: {str(error).strip(chr(39))}; expected rows of a time ({', '.join(TIMES)}) and "
            f"grams of CO2 a kWh ({', '.join(VALUES)}), perhaps low and high"
        ) from None


def table(text: str) -> list[dict[str, Any]]:
    """The rows of a CSV with a header, as spreadsheets write them too: between semicolons, with a comma before decimals."""
    lines = text.splitlines()
    between = max(",;\t", key=(lines[0] if lines else "").count)
    rows: list[dict[str, Any]] = list(csv.DictReader(lines, delimiter=between))
    if between == ",":
        return rows
    return [
        {key: value.replace(",", ".") if _NUMBER.fullmatch(str(value)) else value for key, value in row.items()}
        for row in rows
    ]


def stretches(told: Any) -> list[Stretch]:
    """A forecast from rows, or from an object that holds them. Raises ValueError.

    A row holds until it says (`ENDS`), else until the next one begins. Where that is much later than usual, rows are
    missing: it holds for the usual step (the median), and of the rest the forecast says nothing.
    """
    pounds = False
    if isinstance(told, dict):
        pounds = "lbs" in str((told.get("meta") or {}).get("units", ""))
        told = told.get("forecast", told.get("data"))
    if not isinstance(told, list) or len(told) < 2:
        raise ValueError("at least two rows are needed")
    unit = GRAMS_A_POUND / 1000 if pounds else 1.0
    points = sorted((_point(row, unit) for row in told), key=lambda point: point.begin)
    steps = [after.begin - before.begin for before, after in pairwise(points)]
    if min(steps) <= 0:
        raise ValueError("two rows of one time")
    usual = median_low(steps)
    found = []
    for point, step in zip(points, [*steps, usual], strict=True):
        holds = step if step <= LONGER * usual else usual
        if point.end > point.begin:
            holds = min(step, point.end - point.begin) if point is not points[-1] else point.end - point.begin
        found.append(dataclasses.replace(point, end=point.begin + holds))
    return found


def _point(row: dict[str, Any], unit: float) -> Stretch:
    """A row as it stands; where it does not say until when it holds, of no length."""
    row = row | (row["intensity"] if isinstance(row.get("intensity"), dict) else {})
    value = next((row[name] for name in VALUES if _is_number(row.get(name))), None)
    time = next((row[name] for name in TIMES if row.get(name) not in (None, "")), None)
    if value is None or time is None:
        raise ValueError(f"no {'time' if time is None else 'intensity'} in {row}")
    error = None
    if row.get("low") not in (None, "") and row.get("high") not in (None, ""):
        error = unit * (float(row["high"]) - float(row["low"])) / SIGMAS
        if not 0 <= error < inf:
            raise ValueError(f"low is not below high in {row}")
    begin = _instant(time)
    until = next((row[name] for name in ENDS if row.get(name) not in (None, "")), None)
    return Stretch(begin, begin if until is None else _instant(until), unit * float(value), error)


def _is_number(value: Any) -> bool:
    try:
        return isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _instant(time: Any) -> float:
    if _is_number(time):
        return float(time)
    found = datetime.fromisoformat(str(time))
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def ask(provider: str, zone: str | None, now: float, url: str | None = None) -> list[Stretch]:
    """What a provider says of the hours to come. Raises ConfigError where it has no answer."""
    base = (url or PROVIDERS[provider]).rstrip("/")
    missing = [name for name in TOKENS.get(provider, ()) if not os.environ.get(name)]
    if missing:
        raise ConfigError(f"start.provider={provider} needs {' and '.join(missing)} in the environment")
    if zone is None and provider != "uk":
        raise ConfigError(f"start.provider={provider} needs start.zone, such as FR or CAISO_NORTH")
    query = urllib.parse.quote(zone or "")
    try:
        if provider == "electricity_maps":
            headers = {"auth-token": os.environ["ELECTRICITYMAPS_TOKEN"]}
            return stretches(_get(f"{base}/carbon-intensity/forecast?zone={query}", headers))
        if provider == "watttime":
            pair = f"{os.environ['WATTTIME_USER']}:{os.environ['WATTTIME_PASSWORD']}".encode()
            token = _get(f"{base}/login", {"Authorization": f"Basic {base64.b64encode(pair).decode()}"})["token"]
            path = f"{base}/v3/forecast?region={query}&signal_type=co2_moer&horizon_hours=72"
            return stretches(_get(path, {"Authorization": f"Bearer {token}"}))
        since = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%MZ")
        return stretches(_get(f"{base}/intensity/{since}/fw48h", {}))
    except urllib.error.HTTPError as error:
        raise ConfigError(f"start.provider={provider}: it answers {error.code} {error.reason}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"start.provider={provider}: {error}") from None


def _get(url: str, headers: dict[str, str]) -> Any:
    request = urllib.request.Request(url, headers={"Accept": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
        return json.load(answer)


def mean(forecast: Sequence[Stretch], begin: float, seconds: float) -> Window | None:
    """The mean of a window; None where the forecast does not hold all of it.

    The error is as if those of all stretches went the same way, the worst case: forecasts err for hours on end.
    """
    end = begin + seconds
    parts = [(max(each.begin, begin), min(each.end, end), each) for each in forecast]
    inside = [(until - since, each) for since, until, each in parts if until > since]
    if sum(length for length, _ in inside) < seconds - 1e-3:
        return None
    value = sum(length * each.value for length, each in inside) / seconds
    errors = [length * each.error for length, each in inside if each.error is not None]
    return Window(begin, value, sum(errors) / seconds if len(errors) == len(inside) else None)


def holes(forecast: Sequence[Stretch]) -> list[tuple[float, float]]:
    """From when to when a forecast says nothing, between its first moment and its last."""
    return [(before.end, after.begin) for before, after in pairwise(forecast) if after.begin - before.end > 1e-3]


def windows(forecast: Sequence[Stretch], now: float, deadline: float, seconds: float) -> list[Window]:
    """The windows of `seconds` between now and the deadline among which the cleanest is.

    The mean of a window changes linearly with its begin except where one of its ends meets one of the forecast's, so the
    least of all is there.
    """
    ends = {each.begin for each in forecast} | {each.end for each in forecast}
    begins = {now, deadline - seconds} | ends | {end - seconds for end in ends}
    found = (mean(forecast, begin, seconds) for begin in sorted(begins) if now <= begin <= deadline - seconds)
    return [window for window in found if window is not None]
