"""What ranks send each other: formulas in one process, bytes counted, resumes bit for bit, and what is learned with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from tests.conftest import Launch
from tests.support.fits import curve, values
from tests.support.harness import Outcome, Warm
from tests.support.runs import build

SMALL = (
    "model=mlp",
    "tracker=[]",
    "scheduler=constant",
    "training.log_every=1",
    "training.max_steps=12",
    "training.eval_every=null",
    "training.batch_size=16",
    "hydra.run.dir=run",
    "parallel.num_processes=2",
)
WAYS: dict[str, tuple[str, ...]] = {
    "allreduce": (),
    "fp16": (),
    "bf16": (),
    "powersgd": ("communication.start_step=2",),
    "local_sgd": ("communication.period=4",),
    "diloco": ("communication.period=4",),
}
PARAMETERS = 26122


class Ran(NamedTuple):
    outcomes: dict[str, Outcome]
    folder: Path

    def __call__(self, name: str) -> Path:
        assert self.outcomes[name].returncode == 0, self.outcomes[name].stderr
        assert self.outcomes[name].stderr == ""
        return self.folder / name / "run"


@pytest.fixture(scope="module")
def ran(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("communication")
    started = {}
    for name, words in WAYS.items():
        (folder / name).mkdir()
        started[name] = warm.start(
            *SMALL, "parallel=ddp", f"communication={name}", *words, "monitor=[communication]", cwd=folder / name
        )
    return Ran({name: running.wait() for name, running in started.items()}, folder)


@pytest.mark.parametrize(("name", "per_step"), [("allreduce", 4.0), ("fp16", 2.0), ("bf16", 2.0)])
def test_bytes_of_gradients_are_those_of_their_type(ran: Ran, name: str, per_step: float) -> None:
    assert values(ran(name), "communication/bytes") == [per_step * PARAMETERS] * 12
    assert values(ran(name), "communication/baseline_bytes") == [4.0 * PARAMETERS] * 12
    assert all(seconds > 0 for seconds in values(ran(name), "communication/time_s"))


def test_bytes_of_thin_matrices(ran: Ran) -> None:
    sent = values(ran("powersgd"), "communication/bytes")
    shapes = [tensor.shape for tensor in torch.nn.ModuleList(weights_of(ran.folder / "plain")).parameters()]
    thin = [sum(shape) * 4 if len(shape) == 2 and sum(shape) * 4 < shape.numel() else shape.numel() for shape in shapes]
    assert sent[:2] == [4.0 * PARAMETERS] * 2
    assert sent[2:] == [4.0 * sum(thin)] * 10
    assert sum(thin) * 5 < PARAMETERS


def weights_of(folder: Path) -> list[torch.nn.Module]:
    return [build(folder, *SMALL[2:7]).main.model]


@pytest.mark.parametrize("name", ["local_sgd", "diloco"])
def test_bytes_of_averages_every_few_steps(ran: Ran, name: str) -> None:
    assert values(ran(name), "communication/bytes") == ([0.0] * 3 + [4.0 * PARAMETERS]) * 3


def test_rounded_gradients_stay_near_the_plain_ones(ran: Ran) -> None:
    plain = values(ran("allreduce"))
    assert values(ran("fp16")) == pytest.approx(plain, rel=1e-3)
    assert values(ran("bf16")) == pytest.approx(plain, rel=1e-2)
    assert values(ran("fp16")) != plain
    assert values(ran("powersgd"))[:3] == pytest.approx(plain[:3], rel=2e-6)
    assert values(ran("powersgd"))[3:] != plain[3:]


@pytest.mark.parametrize("name", ["local_sgd", "diloco"])
def test_replicas_are_those_that_one_process_simulates(ran: Ran, name: str, tmp_path: Path) -> None:
    """Two models in one process, each with its share of every step, brought together by the papers' formulas."""
    runs = [build(tmp_path / str(rank), *SMALL[2:7]) for rank in range(2)]
    batches = [run.loaders.train.start(0) for run in runs]
    weights = [list(run.main.model.parameters()) for run in runs]
    origin = [weight.detach().clone() for weight in weights[0]]
    velocity = [torch.zeros_like(weight) for weight in origin]
    losses = []
    for step in range(1, 13):
        total = 0.0
        for rank, run in enumerate(runs):
            (batch,) = next(batches[rank])
            mine = {key: column[8 * rank : 8 * rank + 8] for key, column in batch.items()}
            found = run.task.loss(run.task.forward(run.main.model, mine), mine)
            (found.sum / 8).backward()
            total += float(found.sum.detach())
            run.main.optimizer.step()
            run.main.optimizer.zero_grad()
        losses.append(total / 16)
        if step % 4 == 0:
            for place, start in enumerate(origin):
                mean: Tensor = (weights[0][place].detach() + weights[1][place].detach()) / 2
                if name == "diloco":
                    delta = start - mean
                    velocity[place] = 0.9 * velocity[place] + delta
                    mean = start - 0.7 * (delta + 0.9 * velocity[place])
                    origin[place] = mean
                for own in weights:
                    own[place].data.copy_(mean)
    assert values(ran(name)) == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("name", ["powersgd", "local_sgd", "diloco"])
def test_a_run_that_was_cut_goes_on_bit_for_bit(ran: Ran, name: str, launch: Launch, tmp_path: Path) -> None:
    """Cut between two meetings: each rank has something of its own."""
    words = [*SMALL, "parallel=ddp", f"communication={name}", *WAYS[name], "monitor=[communication]"]
    cut = [word.replace("max_steps=12", "max_steps=6") for word in words]
    assert launch(*cut).returncode == 0
    resumed = launch("resume=run", "training.max_steps=12")
    assert resumed.returncode == 0, resumed.stderr
    assert curve(tmp_path / "run") == curve(ran(name))


def test_a_run_moves_to_one_process(ran: Ran, launch: Launch, tmp_path: Path) -> None:
    words = [*SMALL, "parallel=ddp", "communication=local_sgd", "communication.period=4"]
    assert launch(*words).returncode == 0
    moved = launch("resume=run", "training.max_steps=16", "parallel=single", "communication=allreduce")
    assert moved.returncode == 0, moved.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["world_size"] == 1
    assert len(values(tmp_path / "run")) == 16
