"""How long a checkpoint holds the loop up, beside how long its writing takes: 50 M parameters and AdamW's moments.

    python benchmarks/checkpoint.py [folder]

Two loops of the same steps, one after the other in the same process: the first saves nothing, the second saves as a
run does while its steps go on. What the loop pays is measured from outside, by the clock of its steps: the call to
`save` itself, and what the steps that go on beside the write take longer than those of the first loop.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from launcher.artifacts.checkpoint.checkpoints import Checkpoints

WIDTH, DEPTH = 2048, 12
"""12 layers of 2048 x 2048 weights: 50.4 M parameters, 604 MB with their moments."""
BATCH = 64
NUM_SAVES, STEPS_BETWEEN = 4, 5


class Loop:
    """A training loop reduced to its step."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.batch = torch.randn(BATCH, WIDTH)

    def step(self) -> float:
        """One step; the seconds it took."""
        started = time.perf_counter()
        loss: Tensor = self.model(self.batch).square().mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - started

    def state(self) -> dict[str, object]:
        return {
            "parts": {"main": {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}},
        }


def main() -> None:
    parent = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    loop = Loop()
    parameters = sum(parameter.numel() for parameter in loop.model.parameters())
    for _ in range(5):
        loop.step()
    alone = statistics.median(loop.step() for _ in range(30))
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        checkpoints = Checkpoints(Path(folder) / "checkpoints", keep=1)
        print(
            f"{parameters / 1e6:.1f} M parameters, {torch.get_num_threads()} threads, a step alone {alone * 1e3:.0f} ms"
        )
        print("save  copied (s)  slowed (s)  written (s)  copied/written  (copied + slowed)/written")
        ratios = []
        for number in range(NUM_SAVES):
            checkpoints.blocked_s = checkpoints.written_s = 0.0
            checkpoints.save(number, loop.state(), best_step=None)
            slowed = 0.0
            while checkpoints.writing:
                slowed += loop.step() - alone
            checkpoints.wait()
            copied, written = checkpoints.blocked_s, checkpoints.written_s
            ratios.append((copied / written, (copied + slowed) / written))
            print(
                f"{number + 1:4}  {copied:10.3f}  {slowed:10.3f}  {written:11.3f}  {ratios[-1][0]:14.3f}  {ratios[-1][1]:25.3f}"
            )
            for _ in range(STEPS_BETWEEN):
                loop.step()
    print(f"median copied/written {statistics.median(first for first, _ in ratios):.3f}")
    print(f"median with what the steps beside it lose {statistics.median(second for _, second in ratios):.3f}")


if __name__ == "__main__":
    main()
