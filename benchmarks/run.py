"""Everything that is measured, side by side in one run, as ratios: `make bench`, or `python benchmarks/run.py PART…`.

A part is one of `startup`, `digits`, `language`, `checkpoint`, `optimizers`. Commands take turns (A B A B …), so
that a machine that slows down slows both; the ratio is that of the medians. Absolute times are this machine's.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROUNDS = 5


def seconds(command: list[str], ok: tuple[int, ...] = (0,)) -> float:
    """The wall time of a command, run in an empty folder."""
    env = os.environ | {"PYTHONPATH": str(HERE.parent), "LAUNCHER_TRUST": "benchmarks.*"}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        took = time.perf_counter() - started
    if done.returncode not in ok:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return took


def printed(command: list[str]) -> float:
    """The number that a command prints last."""
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(HERE.parent)}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def compare(
    title: str, unit: str, measures: dict[str, Callable[[], float]], bounds: dict[str, float], rounds: int = ROUNDS
) -> None:
    """Time all in turn; print the medians, and the first one's ratio to each other with its bound."""
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            taken[name].append(measure())
    first, *others = measures
    medians = {name: statistics.median(values) for name, values in taken.items()}
    print(f"\n{title}")
    for name, values in taken.items():
        print(f"  {name:28} {medians[name]:9.3f} {unit}   ({min(values):.3f} to {max(values):.3f})")
    for name in others:
        bound = f"   bound {bounds[name]}" if name in bounds else ""
        print(f"  {first} / {name}: {medians[first] / medians[name]:.2f}{bound}", flush=True)


def startup() -> None:
    python, ours = sys.executable, [sys.executable, "-m", "launcher"]
    bare = [python, str(HERE / "startup.py"), "bare_hydra"]
    for name, words, ok in (
        ("--cfg job", ["--cfg", "job"], (0,)),
        ("--help", ["--help"], (0,)),
        ("a refusal", ["optimizer=adamv"], (2,)),
    ):
        compare(
            f"launcher {name} beside a bare Hydra app of as many groups",
            "s",
            {
                f"launcher {name}": lambda words=words, ok=ok: seconds([*ours, *words], ok),
                "bare Hydra": lambda: seconds(bare),
            },  # type: ignore[misc]
            {"bare Hydra": 1.5},
        )
    first = [*ours, f"--config-dir={HERE / 'conf'}", "monitor=[first_step]"]
    compare(
        "command to the first optimizer step, default experiment",
        "s",
        {
            "launcher": lambda: seconds(first),
            "bare script": lambda: seconds([python, str(HERE / "startup.py"), "bare_step"]),
        },
        {"bare script": 1.2},
    )


def digits() -> None:
    script = [sys.executable, str(HERE / "loop.py"), "digits"]
    bounds = {"hand": 0.85, "transformers": 0.55, "lightning": 0.4}
    names = ("launcher", *bounds)
    compare(
        "digits MLP, batch 32: a step",
        "ms",
        {name: lambda name=name: printed([*script, name]) for name in names},
        bounds,
    )  # type: ignore[misc]


def language() -> None:
    script = [sys.executable, str(HERE / "loop.py"), "language"]
    names = ("launcher", "hand")
    compare(
        "small language model: a step",
        "ms",
        {name: lambda name=name: printed([*script, name]) for name in names},
        {"hand": 1.0},
        rounds=3,
    )  # type: ignore[misc]


def other(name: str) -> Callable[[], None]:
    """A part that measures and prints by itself."""
    return lambda: (
        subprocess.run(
            [sys.executable, str(HERE / f"{name}.py")], check=True, env=os.environ | {"PYTHONPATH": str(HERE.parent)}
        )
        and None
    )


PARTS: dict[str, Callable[[], None]] = {
    "startup": startup,
    "digits": digits,
    "language": language,
    "checkpoint": other("checkpoint"),
    "optimizers": other("optimizers"),
}


def main() -> None:
    asked = sys.argv[1:] or list(PARTS)
    for part in asked:
        if part not in PARTS:
            raise SystemExit(f"{part}: no such part; there are {', '.join(PARTS)}")
        PARTS[part]()


if __name__ == "__main__":
    main()
