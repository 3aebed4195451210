"""`communication=async`: nobody waits, changes too late are left out, and how such a run ends, is left and is taken up again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from launcher.errors import PREEMPTED
from launcher.parallel.communication.store import Store
from tests.conftest import Launch
from tests.support.fits import TRUST, curve, fit, values
from tests.support.harness import Outcome, Warm
from tests.support.runs import build, judged

SMALL = (
    "model=mlp",
    "scheduler=constant",
    "training.batch_size=16",
    "training.max_steps=12",
    "training.eval_every=null",
)
ASYNC = ("parallel=ddp", "parallel.num_processes=2", "communication=async", "communication.period=2")
LATE = ("+monitor.late._target_=tests.support.odd.Late", "+monitor.late.step=12", "+monitor.late.mark=mark")
LONG = ("training.max_steps=1000000", "training.log_every=1000")
RUNS: dict[str, tuple[str, ...]] = {
    "late": (*LATE, "communication.max_staleness=3", "monitor=[communication]"),
    "free": ("monitor=[communication]", "communication.max_staleness=1000"),
    "left": (
        *LONG,
        "+monitor.rise._target_=tests.support.odd.Interrupts",
        "+monitor.rise.step=4",
        "+monitor.rise.rank=1",
    ),
    "enough": (*LONG, "+monitor.enough._target_=tests.support.odd.Stops", "+monitor.enough.step=40"),
    "raises": (*LONG, "task._target_=tests.support.odd.Raises", "+task.rank=1"),
    "silent": ("task._target_=tests.support.odd.Stuck", "+task.rank=1", "+task.step=1", "parallel.timeout_s=4"),
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
    """All of them, started at once."""
    folder = tmp_path_factory.mktemp("async")
    common = ("tracker=[]", "training.log_every=1", "hydra.run.dir=run", *SMALL, *ASYNC)
    started = {}
    for name, words in RUNS.items():
        (folder / name).mkdir()
        given = {word.partition("=")[0] for word in words if not word.startswith("+")}
        kept = [word for word in common if word.partition("=")[0] not in given]
        started[name] = warm.start(*kept, *words, cwd=folder / name, env=TRUST)
    return Ran({name: running.wait() for name, running in started.items()}, folder)


def test_a_late_rank_holds_nobody_up_and_what_it_brings_too_late_is_left_out(ran: Ran, tmp_path: Path) -> None:
    """Rank 1 takes its first step when rank 0 has taken all of its own, which it could not if it were waited for.

    One process does the same, by the formula: rank 0's six exchanges, of rank 1 all but the first, which is 6 changes late.
    """
    runs = [build(tmp_path / str(rank), *SMALL) for rank in range(2)]
    weights = [list(run.main.model.parameters()) for run in runs]
    shared = [weight.detach().clone() for weight in weights[0]]
    losses: list[list[float]] = [[], []]
    for rank, run in enumerate(runs):
        batches = run.loaders.train.start(0)
        origin = [weight.detach().clone() for weight in weights[rank]]
        for step in range(1, 13):
            (batch,) = next(batches)
            mine = {key: column[8 * rank : 8 * rank + 8] for key, column in batch.items()}
            found = run.task.loss(run.task.forward(run.main.model, mine), mine)
            (found.sum / 8).backward()
            losses[rank].append(float(found.sum.detach()) / 8)
            run.main.optimizer.step()
            run.main.optimizer.zero_grad()
            if step % 2 == 0:
                for place, weight in enumerate(weights[rank]):
                    if (rank, step) != (1, 2):
                        shared[place] = shared[place] + (weight.detach() - origin[place]) / 2
                    weight.data.copy_(shared[place])
                origin = [each.clone() for each in shared]
    assert values(ran("late")) == pytest.approx(losses[0], rel=1e-5)
    assert sum(values(ran("late"), "communication/dropped")) == 1
    exported = load_file(ran("late") / "model" / "model.safetensors")
    for name, value in zip(dict(runs[0].main.model.named_parameters()), shared, strict=True):
        assert torch.allclose(exported[name], value, rtol=1e-4, atol=1e-6)
    for weight, value in zip(weights[0], shared, strict=True):
        weight.data.copy_(value)
    assert values(ran("late"), "val/loss") == pytest.approx([judged(runs[0])["loss"]], rel=1e-5)


@pytest.mark.parametrize("name", ["late", "free"])
def test_bytes_are_those_of_the_weights_in_every_answer(ran: Ran, name: str) -> None:
    assert sum(values(ran(name), "communication/bytes")) == 6 * 4 * PARAMETERS
    assert values(ran(name), "communication/baseline_bytes") == [4.0 * PARAMETERS] * 12


def test_changes_are_divided_by_the_ranks_and_bounded_in_age() -> None:
    store = Store(torch.zeros(2), num_ranks=4, max_staleness=1)
    change = torch.tensor([4.0, 8.0])
    assert store.add(change, 0)[0].tolist() == [1, 2]
    assert store.add(change, 0)[0].tolist() == [2, 4], "one other change has come since: as many as may"
    weights, version = store.add(change, 0)
    assert (weights.tolist(), version, store.num_dropped) == ([2, 4], 2, 1)
    assert store.add(change, version)[0].tolist() == [3, 6]
    assert store.staleness == [0, 1, 0]


def test_a_run_is_taken_up_from_what_all_had_brought_in(ran: Ran, launch: Launch, tmp_path: Path) -> None:
    """By two ranks that do not wait, and by one process; both start where the first run was judged."""
    shutil.copytree(ran("free"), tmp_path / "run", symlinks=True)
    for words in (("training.max_steps=24",), ("training.max_steps=36", "parallel=single", "communication=allreduce")):
        before = curve(tmp_path / "run", "val/loss")
        again = launch("resume=run", *words)
        assert again.returncode == 0, again.stderr
        after = curve(tmp_path / "run", "val/loss")
        assert after.keys() - before.keys() == {max(before) + 12}
        assert after[max(after)] < before[max(before)]
    assert len(values(tmp_path / "run")) == 36


def test_one_process_is_one_process(tmp_path: Path) -> None:
    alone = ("parallel=ddp", "parallel.num_processes=1", "communication=async", "communication.period=2")
    fit(tmp_path / "async", *SMALL, *alone)
    fit(tmp_path / "single", *SMALL)
    assert values(tmp_path / "async") == values(tmp_path / "single")
    assert values(tmp_path / "async", "val/loss") == values(tmp_path / "single", "val/loss")


def test_a_signal_to_another_rank_is_heard_by_all(ran: Ran) -> None:
    assert ran.outcomes["left"].returncode == PREEMPTED, ran.outcomes["left"].stderr
    folder = ran.folder / "left" / "run"
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "preempted"
    assert 0 < result["steps"] < 1_000_000
    assert (folder / "checkpoints" / "last").resolve().name == f"step-{result['steps']}"


def test_all_end_when_the_main_rank_has_enough(ran: Ran) -> None:
    result = json.loads((ran("enough") / "result.json").read_text())
    assert (result["status"], result["reason"], result["steps"]) == ("stopped", "enough", 40)


def test_a_rank_that_fails_is_quoted(ran: Ran) -> None:
    outcome = ran.outcomes["raises"]
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: rank 1: ValueError: the third digit is one too many\nTraceback")


def test_a_rank_that_never_comes_ends_the_wait_for_the_rest(ran: Ran) -> None:
    outcome = ran.outcomes["silent"]
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: rank 0: rank 1 has sent nothing for 4 s (parallel.timeout_s)")
    assert [*curve(ran.folder / "silent" / "run")] == list(range(1, 12)), "all steps but the last line, which waits"
