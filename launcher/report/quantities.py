"""What the logged names mean to a reader: titles, units, and which of them share a drawing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .line_chart import Point

SPLITS = {"train": "training", "val": "held out", "test": "test"}
"""How names begin that are of one split of the data, and what the split is called."""
MACHINE = ("communication/", "flops/", "gpu/", "pipeline/", "system/", "time/")
"""How the names begin of what is told of the machine, and not of what is learned."""
ENERGY = "carbon/"


@dataclass(frozen=True)
class Quantity:
    """A drawing's title and unit; values are multiplied by `scale`. `lines`: the names that share it, with their labels."""

    title: str
    unit: str = ""
    scale: float = 1.0
    lines: Mapping[str, str] = field(default_factory=dict)


KNOWN = {
    "loss": Quantity("Loss"),
    "accuracy": Quantity("Accuracy"),
    "f1": Quantity("F1, mean over the classes"),
    "ece": Quantity("Calibration error"),
    "perplexity": Quantity("Perplexity"),
    "bits_per_byte": Quantity("Bits per byte"),
    "rmse": Quantity("Root mean square error"),
    "mae": Quantity("Mean absolute error"),
    "r2": Quantity("Share of variance explained (R²)"),
    "naive_rmse": Quantity("Root mean square error of the naive forecast"),
    "skill": Quantity("Skill over the naive forecast"),
    "lr": Quantity("Learning rate"),
    "gradient_norm": Quantity("Gradient norm, before clipping"),
    "update_ratio": Quantity("Step size over weight size"),
    "unhealthy_gradients": Quantity("Unhealthy gradients so far"),
    "mfu": Quantity("Share of the device's peak", "%", 100, {"flops/mfu": "used"}),
    "tflops": Quantity("Computing speed", "TFLOP/s", lines={"flops/tflops": "all processes"}),
    "step_gflop": Quantity("Work a step", "GFLOP", lines={"flops/step_gflop": "all processes"}),
    "cpu": Quantity("Processor", "%", lines={"system/cpu": "all cores", "system/process_cpu": "this run, of one core"}),
    "ram": Quantity("Memory of the run", "GiB", 1 / 1024, {"system/ram_mib": "with all that it started"}),
    "ram_free": Quantity("Free memory of the machine", "GiB", 1 / 1024, {"system/ram_free_mib": "free"}),
    "disk": Quantity("Disk", "MiB/s", lines={"system/disk_read_mib_s": "read", "system/disk_write_mib_s": "written"}),
    "disk_free": Quantity("Free disk", "GiB", lines={"system/disk_free_gib": "free"}),
    "gpu": Quantity("GPU in use", "%", lines={"gpu/use": "computing", "gpu/memory_use": "memory's bandwidth"}),
    "gpu_memory": Quantity(
        "GPU memory",
        "GiB",
        1 / 1024,
        {
            "gpu/allocated_mib": "allocated",
            "gpu/reserved_mib": "reserved",
            "gpu/peak_mib": "peak",
            "gpu/memory_mib": "all processes",
        },
    ),
    "gpu_power": Quantity("GPU power", "W", lines={"gpu/power_w": "drawn"}),
    "gpu_temperature": Quantity("GPU temperature", "°C", lines={"gpu/temperature": "core"}),
    "time": Quantity(
        "Time of a step",
        "ms",
        lines={
            "time/data_ms": "data",
            "time/forward_ms": "forward",
            "time/backward_ms": "backward",
            "time/communication_ms": "communication",
            "time/optimizer_ms": "optimizer",
            "time/step_ms": "the whole step",
        },
    ),
    "sent": Quantity(
        "Sent a step",
        "MiB",
        1 / (1 << 20),
        {"communication/bytes": "sent", "communication/baseline_bytes": "by a plain average"},
    ),
    "sending": Quantity("Time of sending, a step", "s", lines={"communication/time_s": "start to end"}),
    "bandwidth": Quantity("Bandwidth", "MiB/s", 1 / (1 << 20), {"communication/bytes_per_s": "effective"}),
    "exchange": Quantity("Exchange of gradients", "ms", lines={"communication/total_ms": "start to end"}),
    "hidden": Quantity("Exchange behind the backward pass", "%", 100, {"communication/hidden": "hidden"}),
    "gradients": Quantity("Gradients a step", "MiB", lines={"communication/mib": "size"}),
    "ring": Quantity("Bandwidth of the ring", "GiB/s", lines={"communication/gib_s": "effective"}),
    "bubble": Quantity(
        "Waiting in the pipeline",
        "%",
        100,
        {"pipeline/bubble": "measured", "pipeline/bubble_formula": "by the formula"},
    ),
    "energy": Quantity("Energy so far", "Wh", lines={"carbon/energy_wh": "energy"}),
    "co2": Quantity("CO₂ so far", "g", lines={"carbon/co2_g": "CO₂"}),
    "energy_per_sample": Quantity("Energy a sample", "mWh", lines={"carbon/mwh_per_sample": "energy"}),
}
_SHARED = {name: (key, label) for key, known in KNOWN.items() for name, label in known.lines.items()}


@dataclass(frozen=True)
class Group:
    """The names that share a drawing, each with its label."""

    key: str
    quantity: Quantity
    names: Mapping[str, str]


def grouped(curves: Mapping[str, Sequence[Point]]) -> list[Group]:
    """The drawings to be made of curves, in the order of their names; what says nothing is left out: rates of groups that
    are all the same."""
    found: dict[str, dict[str, str]] = {}
    rates = [name for name in curves if name.startswith("lr/")]
    told_apart = any(list(curves[name]) != list(curves.get("lr", ())) for name in rates)
    for name in sorted(curves, key=_split_first):
        if (name in rates and not told_apart) or (name == "lr" and rates and told_apart):
            continue
        key, label = _placed(name)
        found.setdefault(key, {})[name] = label
    groups = [Group(key, quantity_of(key), names) for key, names in found.items()]
    return [_in_order(group) for group in groups]


def _in_order(group: Group) -> Group:
    """Names that share a drawing by design come in its order."""
    known = group.quantity.lines
    return (
        Group(group.key, group.quantity, {name: known[name] for name in known if name in group.names})
        if known
        else group
    )


def _split_first(name: str) -> tuple[str, int, str]:
    split, slash, rest = name.partition("/")
    is_split = bool(slash) and split in SPLITS
    return (rest if is_split else name, list(SPLITS).index(split) if is_split else 0, name)


def _placed(name: str) -> tuple[str, str]:
    """The drawing of a name, and its label in it."""
    split, slash, rest = name.partition("/")
    if slash and split in SPLITS:
        return rest, SPLITS[split]
    if slash and split == "lr":
        return "lr", f"group {rest}" if rest.isdigit() else rest
    return _SHARED.get(name, (name, "last"))


def quantity_of(key: str) -> Quantity:
    """What is known of a drawing by its key, of a metric by its bare name, of a value by the name that it is logged by; of
    another, its name says it."""
    return KNOWN.get(key) or KNOWN.get(_SHARED.get(key, ("",))[0]) or Quantity(key)


def unit_of(name: str) -> str:
    """The unit of a value by the name that it is logged by."""
    return quantity_of(name).unit


def title_of(name: str) -> str:
    """A logged name as words: "val/accuracy" is "Accuracy, held out"."""
    split, slash, rest = name.partition("/")
    if slash and split in SPLITS:
        return f"{quantity_of(rest).title}, {SPLITS[split]}"
    key, label = _placed(name)
    title = quantity_of(key).title
    return title if label == "last" or len(quantity_of(key).lines) < 2 else f"{title}: {label}"


def is_machine(name: str) -> bool:
    return name.startswith(MACHINE)


def learned(names: Iterable[str]) -> list[str]:
    """The names of what is learned."""
    return [name for name in names if not is_machine(name) and not name.startswith(ENERGY)]
