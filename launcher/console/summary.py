"""What is said of a run before it begins and after it has ended, as labelled lines."""

from __future__ import annotations

import math
import os
import re
import shlex
from pathlib import Path
from typing import Any

from launcher.artifacts.folder import CHECKPOINTS, MODEL
from launcher.artifacts.page import FILE as PAGE
from launcher.artifacts.result import RESULT

from .numbers import count, number, rate, size, span, things

Rows = list[tuple[str, str]]
"""Labels, and what they say."""

COMMAND = "python -m launcher"


def header_rows(facts: dict[str, Any]) -> Rows:
    """The header's lines for the facts that `Console.header` names; what is missing is left out."""
    given = {key: value for key, value in facts.items() if value is not None and value != ""}

    def take(key: str, words: str = "{}") -> str:
        return words.format(given.pop(key)) if key in given else ""

    def take_count(key: str, words: str) -> str:
        return words.format(count(given.pop(key))) if key in given else ""

    def take_things(key: str, one: str) -> str:
        return things(given.pop(key), one) if key in given else ""

    if given.get("trainable_parameters") == given.get("parameters"):
        given.pop("trainable_parameters", None)
    if not given.get("val_samples"):
        given.pop("val_samples", None)
    rows = [
        ("run", _joined(take("name"))),
        ("task", _joined(take("task"))),
        (
            "model",
            _joined(
                take("model"),
                take_things("parameters", "parameter"),
                take_count("trainable_parameters", "{} trainable"),
            ),
        ),
        (
            "data",
            _joined(
                take("data"),
                take_count("train_samples", "{} to train on"),
                take_count("val_samples", "{} to validate on"),
            ),
        ),
        ("device", _joined(take("device"), take_things("ranks", "rank"), take("precision"))),
        ("parallel", take("engine")),
        (
            "length",
            _joined(
                take_things("steps", "step"),
                take_things("epochs", "epoch"),
                take_count("batch_size", "{} samples a step"),
            ),
        ),
        ("resumed", take_count("resumed_from", "from step {}")),
        ("seed", take("seed")),
        ("folder", relative(given.pop("folder")) if "folder" in given else ""),
    ]
    return [row for row in rows if row[1]] + [(key.replace("_", " "), str(value)) for key, value in given.items()]


def closing_rows(result: dict[str, Any], folder: Path) -> Rows:
    """How a run ended and what it reached; `result` as in result.json."""
    objective, metrics, std = result.get("objective") or {}, result.get("metrics") or {}, result.get("std") or {}
    name, value = objective.get("name"), objective.get("value")
    status, reason = str(result["status"]), str(result.get("reason") or "")
    rows = [(status, "saved, to be resumed" if reason == status == "preempted" else reason)]
    if value is not None:
        spread = f" ± {number(std[name])}" if name in std else ""
        best = "" if result.get("best_step") is None else f"best at step {count(result['best_step'])}"
        baseline = result.get("baseline")
        without = "" if not baseline else f"baseline {number(baseline['value'])}"
        rows.append((str(name), _joined(f"{number(value)}{spread}", best, without)))
    for other in sorted(metrics, key=lambda key: (not key.startswith("val/"), key)):
        if other != name and other.startswith(("val/", "test/", "train/")):
            rows.append((other, number(metrics[other]) + (f" ± {number(std[other])}" if other in std else "")))
    steps, epochs, wall = result.get("steps"), result.get("epochs"), result.get("wall_s")
    if steps is not None and wall is not None:
        length = _joined(things(steps, "step"), "" if epochs is None else things(round(epochs, 2), "epoch"))
        rows.append(("trained", f"{length} in {span(wall)}"))
    speeds = [rate(result[key], one) for key, one in SPEEDS.items() if result.get(key)]
    if speeds:
        rows.append(("speed", _joined(*speeds)))
    if result.get("peak_memory_bytes"):
        rows.append(("peak memory", size(result["peak_memory_bytes"])))
    rows.append(("folder", relative(folder)))
    if (folder / PAGE).is_file():
        rows.append(("page", relative(folder / PAGE)))
    return rows


SPEEDS = {"steps_per_s": "step", "samples_per_s": "sample", "tokens_per_s": "token"}
"""The entries of result.json that are rates, and what they count."""


def commands(result: dict[str, Any], folder: Path) -> dict[str, str]:
    """The commands that a person may want next, by what they do."""
    status, reason = result["status"], str(result.get("reason"))
    following = {}
    if status == "preempted" or (status == "failed" and has_checkpoint(folder)):
        following["go on"] = f"{COMMAND} {override('resume', folder)}"
    if status != "failed":
        if (folder / MODEL).is_dir() and "fits" not in result:
            following["evaluate"] = f"{COMMAND} action=evaluate {override('run', folder)}"
        if status == "completed" and reason in ("max_epochs", "max_steps"):
            done = result["epochs"] if reason == "max_epochs" else result["steps"]
            following["train on"] = f"{COMMAND} {override('resume', folder)} training.{reason}={2 * math.ceil(done)}"
    if not (folder / PAGE).is_file():
        following["page"] = f"{COMMAND} action=report {override('run', folder)}"
    if (folder / "tensorboard").is_dir():
        following["curves"] = f"tensorboard --logdir {shlex.quote(relative(folder))}"
    return following


def has_checkpoint(folder: Path) -> bool:
    """Whether a resume of the run, or of one of its fits, has something to go on from: else it is the same run once more."""
    patterns = (f"{CHECKPOINTS}/step-*", f"*/{CHECKPOINTS}/step-*", f"*/{RESULT}")
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def override(key: str, folder: Path) -> str:
    """An override that names a folder, quoted for Hydra and for the shell where it must be."""
    path = relative(folder)
    if re.fullmatch(r"[\w./:@%+-]+", path, re.ASCII):
        return f"{key}={path}"
    # Hydra reads a backslash as itself, except in a row of them that ends at a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda row: row[1] * 2 + ("\\'" if row[2] else ""), path)
    return shlex.quote(f"{key}='{escaped}'")


def relative(path: Path | str) -> str:
    """The path from the current folder, where it lies below it; else as it is."""
    whole = os.path.abspath(path)  # noqa: PTH100  # not `resolve`: a person's links stay as they named them
    here = Path.cwd()
    return str(Path(whole).relative_to(here)) if Path(whole).is_relative_to(here) else whole


def _joined(*words: str) -> str:
    return ", ".join(word for word in words if word)
