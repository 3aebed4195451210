"""What each way of sending costs in bytes and in quality: digits, the same samples, several seeds.

    python benchmarks/communication.py [way …]       all of conf/communication, or those named

Each line is the mean over the seeds of runs of the real workers, two ranks: bytes a step that the main rank sent beside
what a plain average of gradients would have been, and the accuracy on the held-out samples after the last step.
`margin` is how far the mean may lie below that of `allreduce`; a way that falls below it ends the command with status 1.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from parity import composed, run

from launcher import CONF
from launcher.artifacts.metrics_file import read
from launcher.process.signals import Interrupt

SEEDS = (0, 1, 2)
OTHERWISE = {"diloco": ("communication.period=20",)}
"""660 steps have to be some tens of outer ones."""
MARGIN = 0.02
COMMON = (
    "model=mlp",
    "parallel=ddp",
    "parallel.num_processes=2",
    "tracker=[]",
    "monitor=[communication]",
    "training.max_epochs=null",
    "training.max_steps=660",  # 15 epochs
    "training.eval_every=null",
    "training.log_every=1",
    "objective.metric=val/accuracy",
)


def measured(folder: Path, way: str, seed: int) -> tuple[float, float, float]:
    """Bytes a step, the baseline's, and the accuracy of the last evaluation."""
    run(composed(*COMMON, f"communication={way}", f"seed={seed}", *OTHERWISE.get(way, ())), folder, Interrupt())
    lines = list(read(folder / "metrics.jsonl"))
    told = [line for line in lines if "communication/bytes" in line]
    accuracy = [line["val/accuracy"] for line in lines if "val/accuracy" in line][-1]
    steps = max(line["step"] for line in told)
    return (
        sum(line["communication/bytes"] for line in told) / steps,
        told[0]["communication/baseline_bytes"],
        accuracy,
    )


def main() -> None:
    ways = sys.argv[1:] or ["allreduce", *sorted(path.stem for path in (CONF / "communication").glob("*.yaml"))]
    print("| way | bytes a step | of the baseline | accuracy | |")
    print("|---|---|---|---|---|")
    plain, below = 0.0, []
    with tempfile.TemporaryDirectory() as name:
        for way in dict.fromkeys(ways):
            found = [measured(Path(name) / f"{way}-{seed}", way, seed) for seed in SEEDS]
            sent, baseline = (statistics.mean(column) for column in list(zip(*found, strict=True))[:2])
            accuracies = [accuracy for _, _, accuracy in found]
            mean = statistics.mean(accuracies)
            plain = plain or mean
            if mean < plain - MARGIN:
                below.append(way)
            print(
                f"| `{way}` | {sent:,.0f} | {sent / baseline:.3f} | {mean:.4f} ± {statistics.stdev(accuracies):.4f} "
                f"| {mean - plain:+.4f} |",
                flush=True,
            )
    print(f"\nmargin {MARGIN} below the first; {'below it: ' + ', '.join(below) if below else 'all within it'}")
    sys.exit(1 if below else 0)


if __name__ == "__main__":
    main()
