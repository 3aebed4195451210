"""The typed skeleton of the composed config.

What stands here has a type, a unit and a range that are known before anything is imported. What a group's file
holds (`optimizer`, `model`, …) is a node with a `_target_`, bound to that target's signature by the checks; the table of
`groups.py` says which groups there are.
A field's `metadata` gives its range: `gt`, `ge`, `lt`, `le`, or `choices`; `unit` reads the field as an
interval ("steps", "1epoch", or one of `words`) or as a duration ("90", "10m", "1h30m").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

import launcher
from launcher.artifacts.folder import FORMAT

from .groups import GROUPS

ACTIONS = tuple(sorted(path.stem for path in (Path(launcher.__file__).parent / "actions").glob("[a-z]*.py")))
"""The modules of launcher/actions/, by name."""


@dataclass
class Objective:
    """What makes one model better than another, and one trial better than another."""

    metric: str = MISSING
    direction: str = field(default=MISSING, metadata={"choices": ("minimize", "maximize")})


@dataclass
class Training:
    """How long, in what portions, and what is written on the way. A step is one step of the optimizer."""

    max_epochs: float | None = field(default=None, metadata={"gt": 0})
    max_steps: int | None = field(default=None, metadata={"ge": 1})
    max_time: Any = field(default=None, metadata={"unit": "duration"})
    stop_after: float | None = field(default=None, metadata={"gt": 0})  # epochs, of a schedule made for max_epochs
    batch_size: int = field(default=32, metadata={"ge": 1})  # samples a step, over all ranks
    find_batch_size: bool = False  # begin with the largest batch_size that fits into the memory
    eval_batch_size: int | None = field(
        default=None, metadata={"ge": 1}
    )  # samples a rank; default: a whole step's, at least 256
    accumulate: int = field(default=1, metadata={"ge": 1})  # micro-batches a step
    clip_norm: float | None = field(default=None, metadata={"gt": 0})  # of the whole gradient, in the 2-norm
    clip_value: float | None = field(default=None, metadata={"gt": 0})  # of each entry of the gradient
    log_every: Any = field(default=50, metadata={"unit": "interval"})
    eval_every: Any = field(default="1epoch", metadata={"unit": "interval"})
    checkpoint_every: Any = field(default="auto", metadata={"unit": "interval", "words": ("auto",)})
    checkpoint_format: str = field(
        default="sharded", metadata={"choices": ("sharded", "full")}
    )  # of what is split over ranks: each writes its part, or they are put together; either loads anywhere
    keep_checkpoints: int = field(default=2, metadata={"ge": 1})  # besides the best
    export: bool = True  # model/: the best weights, for their own library
    predictions: bool = False  # predictions.csv: what the best weights say of each held-out row
    compile: bool = False


@dataclass
class Loading:
    """How batches are fetched. `null` lets the data decide: none in memory, some where files are decoded."""

    num_workers: int | None = field(default=None, metadata={"ge": 0})
    pin_memory: bool | None = None
    prefetch: int = field(default=2, metadata={"ge": 1})  # batches ahead, a worker


@dataclass
class Debug:
    """What a `debug=` option switches on."""

    traceback: bool = False
    one_batch: bool = False  # one step, one batch of evaluation
    overfit_batches: int = field(default=0, metadata={"ge": 0})  # train and evaluate on the first n batches
    profile: bool = False  # torch.profiler over a few steps, into the run's folder
    detect_anomaly: bool = False
    compare_ranks: bool = False  # at every step, not at checkpoints alone: do ranks hold the same weights?


@dataclass
class LrFind:
    """The range test: `action=lr_find`, `optimizer.lr=auto`."""

    min_lr: float = field(default=1e-6, metadata={"gt": 0})
    max_lr: float = field(default=10.0, metadata={"gt": 0})
    num_steps: int = field(default=150, metadata={"ge": 20})
    smoothing: float = field(default=0.9, metadata={"ge": 0, "lt": 1})  # the share of the mean so far in the next one
    divergence: float = field(default=4.0, metadata={"gt": 1})  # times the lowest loss: the end


@dataclass
class Planned:
    """`action=plan`."""

    picture: str | None = None  # a file that the schedule's curve is drawn into, as SVG
    measure: bool = (
        True  # on a CPU: a few steps are taken, in a process of their own, for the memory of a run's process
    )


@dataclass
class Fixed:
    """What a config holds besides the groups' nodes."""

    format: int = field(default=FORMAT, metadata={"choices": (FORMAT,)})
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    notes: str | None = None  # for the page and the trackers
    seed: int = field(default=0, metadata={"ge": 0})
    num_seeds: int = field(default=1, metadata={"ge": 1})
    action: str = field(default="train", metadata={"choices": ACTIONS})
    resume: str | None = None
    worker: bool = False  # with -m: one more driver of a sweep that is running
    run: str | None = None
    study: str | None = None  # of action=status: a sweep's folder, or its name below hydra.sweep.dir
    runs: list[str] | None = None  # of action=compare: folders of runs, or of sweeps
    deterministic: bool = False
    objective: Objective = field(default_factory=Objective)
    training: Training = field(default_factory=Training)
    loading: Loading = field(default_factory=Loading)
    debug: Debug = field(default_factory=Debug)
    lr_find: LrFind = field(default_factory=LrFind)
    plan: Planned = field(default_factory=Planned)
    search: dict[str, Any] = field(default_factory=dict)


Config: type[Fixed] = make_dataclass(
    "Config",
    [(name, dict[str, Any], field(default_factory=group.keys.copy)) for name, group in GROUPS.items()],
    bases=(Fixed,),
)
"""The whole of one experiment: the fixed keys, and a node for each group of the table."""
Config.__module__ = __name__


AUTO_SECONDS = 10.0
"""`training.checkpoint_every=auto`: at an epoch's end, where the last checkpoint is at least this old."""

_INTERVAL = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>epochs?|steps?)?")
_DURATION = re.compile(
    r"(?:(?P<d>\d+(?:\.\d+)?)d)?(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s?)?"
)


def interval(value: int | float | str | None, steps_per_epoch: int) -> int | None:
    """An interval in steps: `100`, `"100steps"` or `"0.5epoch"`; `None` and zero of either mean never.

    Raises ValueError with a message that says what would be right.
    """
    if value is None or value == 0:
        return None
    match = _INTERVAL.fullmatch(str(value).strip())
    if isinstance(value, bool) or match is None:
        raise ValueError("expected a number of steps, or epochs as in '1epoch' (0 or null: never)")
    number = float(match["number"])
    if (match["unit"] or "").startswith("epoch"):
        return max(1, round(number * steps_per_epoch)) if number else None
    if number != int(number):
        raise ValueError("a number of steps is whole; a part of an epoch is written '0.5epoch'")
    return int(number) or None


def duration(value: int | float | str | None) -> float | None:
    """Seconds: `90`, `"90s"`, `"10m"`, `"1h30m"`, `"2d"`; `None` means no limit. Raises ValueError."""
    if value is None:
        return None
    text = str(value).strip()
    match = _DURATION.fullmatch(text)
    if isinstance(value, bool) or match is None or not text:
        raise ValueError("expected seconds, or a duration as in '90s', '10m', '1h30m', '2d'")
    seconds = sum(float(match[unit] or 0) * size for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)))
    if seconds <= 0:
        raise ValueError("a duration is more than zero seconds")
    return seconds
