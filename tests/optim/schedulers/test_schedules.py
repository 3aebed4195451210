"""Every entry of conf/scheduler: its whole curve beside torch's own or the closed form, accumulated, resumed, lengthened."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from torch import nn
from torch.optim import lr_scheduler as torchs

from launcher import CONF
from launcher.actions.plan import curve as planned_curve
from launcher.core.run import Plan
from launcher.core.task import Task
from launcher.data.samples import Datasets
from launcher.errors import ConfigError
from launcher.optim.build import build_scheduler
from launcher.optim.schedulers.lengths import lengths
from launcher.optim.schedulers.warmup import Warmup
from launcher.train.build import build_task
from tests.support.fits import config_of, curve, fit
from tests.support.odd import Interrupts
from tests.support.runs import build, train

ENTRIES = sorted(path.stem for path in (CONF / "scheduler").glob("*.yaml"))
TOTAL, LR = 60, 0.5
OBJECTIVE = {"metric": "val/loss", "direction": "minimize"}


def plan(total: int = TOTAL) -> Plan:
    return Plan(
        total, 10, log_every=None, eval_every=None, checkpoint_every=None, checkpoint_seconds=0.0, max_time=None
    )


def owner(momentum: float = 0.9, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR, momentum=momentum, **options)


def built(entry: str, optimizer: torch.optim.Optimizer, total: int = TOTAL, **settings: Any) -> Warmup:
    node = OmegaConf.merge(
        OmegaConf.create({"objective": OBJECTIVE}), {"scheduler": OmegaConf.load(CONF / "scheduler" / f"{entry}.yaml")}
    )
    return build_scheduler(
        OmegaConf.merge(node.scheduler, settings), optimizer, plan(total).total_steps, plan(total).steps_per_epoch
    )


def rates(schedule: Any, optimizer: torch.optim.Optimizer, num: int = TOTAL) -> list[float]:
    found = []
    for _ in range(num):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return found


def closed(factor: Callable[[int], float]) -> Callable[[torch.optim.Optimizer, int], Any]:
    return lambda optimizer, num: torchs.LambdaLR(optimizer, factor)


def wsd(step: int, num: int = 54) -> float:
    start = num - 0.2 * num
    return 1.0 if step < start else 1 - math.sqrt((step - start) / (num - start))


TORCHS: dict[str, Callable[[torch.optim.Optimizer, int], Any]] = {
    "constant": closed(lambda step: 1.0),
    "step": lambda optimizer, num: torchs.StepLR(optimizer, num // 3, 0.1),
    "exponential": closed(lambda step: 0.01 ** (step / TOTAL)),
    "cosine": lambda optimizer, num: torchs.CosineAnnealingLR(optimizer, num),
    "linear": closed(lambda step: 1 - step / 54),
    "polynomial": closed(lambda step: (1 - step / 54) ** 0.9),
    "cyclic": lambda optimizer, num: torchs.CyclicLR(
        optimizer, 0.05, 0.5, step_size_up=8, mode="triangular2", cycle_momentum=False
    ),
    "onecycle": lambda optimizer, num: torchs.OneCycleLR(optimizer, 0.5, TOTAL, pct_start=0.3),
    "plateau": closed(lambda step: 1.0),  # without evaluations
    "cosine_restarts": lambda optimizer, num: torchs.CosineAnnealingWarmRestarts(optimizer, 9, T_mult=2),
    "wsd": closed(wsd),
}
"""The schedule after the warm-up, for the number of steps that it has."""


def test_every_entry_has_its_curve() -> None:
    assert sorted(TORCHS) == ENTRIES


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_whole_curve_is_torchs_or_the_closed_form(entry: str) -> None:
    optimizer, other = owner(), owner()
    schedule = built(entry, optimizer)
    num = schedule.num_steps
    assert num == (6 if entry in ("cosine", "linear", "polynomial", "wsd") else 0)
    found = rates(schedule, optimizer)
    expected = rates(TORCHS[entry](other, TOTAL - num), other, TOTAL - num)
    assert found[num:] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found[:num] == pytest.approx([expected[0] * (step + 1) / (num + 1) for step in range(num)], rel=1e-12)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize("warmup", [0.25, 15])
@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry != "onecycle"])
def test_every_schedule_can_be_warmed_up(entry: str, warmup: float, shape: str) -> None:
    optimizer = owner()
    schedule = built(entry, optimizer, warmup=warmup, warmup_shape=shape)
    found = rates(schedule, optimizer)
    parts = [(step + 1) / 16 for step in range(15)]
    rise = parts if shape == "linear" else [(1 - math.cos(math.pi * part)) / 2 for part in parts]
    assert found[:15] == pytest.approx([found[15] * part for part in rise])
    assert schedule.num_steps == 15


def test_one_cycle_rises_for_as_long_as_the_warmup_says() -> None:
    for warmup, top in ((0.3, 17), (0.5, 29), (12, 11), (0, 0)):
        optimizer = owner()
        found = rates(built("onecycle", optimizer, warmup=warmup), optimizer)
        assert found.index(max(found)) == top
        assert max(found) == pytest.approx(LR, rel=1e-3)  # without a rise torch begins one step into the fall
        assert found[-1] == pytest.approx(LR / 25 / 1e4)


@pytest.mark.parametrize("entry", ENTRIES)
def test_runs_of_few_steps_have_a_curve_too(entry: str) -> None:
    for total in range(1, 13):
        optimizer = owner()
        found = rates(built(entry, optimizer, total=total), optimizer, total)
        assert all(0 <= rate <= LR * (1 + 1e-9) for rate in found), total
        assert max(found) > 0, total


SHAPES = {"onecycle": ("linear", "cosine"), "wsd": ("linear", "cosine", "sqrt")}


@pytest.mark.parametrize("total", [1, 2, 7, 30, TOTAL])
@pytest.mark.parametrize(
    ("entry", "settings"),
    [(entry, {"shape": shape} if shape else {}) for entry in ENTRIES for shape in SHAPES.get(entry, (None,))],
)
def test_the_rate_after_the_last_step_is_one_too(entry: str, settings: dict[str, str], total: int) -> None:
    """It is logged on the last line: never below zero nor above the full one, and a schedule that falls has not risen again."""
    optimizer = owner()
    schedule = built(entry, optimizer, total=total, **settings)
    found = rates(schedule, optimizer, total)
    after = float(optimizer.param_groups[0]["lr"])
    assert schedule.get_last_lr() == [after]
    assert min(*found, after) >= 0
    assert after <= LR * (1 + 1e-9)
    if entry not in ("cyclic", "cosine_restarts", "constant", "plateau") and total > 1:
        assert after <= found[-1] * (1 + 1e-9)


def test_a_cooldown_of_nothing_is_none_and_one_longer_than_the_run_is_refused() -> None:
    optimizer = owner()
    assert rates(built("wsd", optimizer, warmup=0, cooldown=0), optimizer) == [LR] * TOTAL
    with pytest.raises(ConfigError, match=r"scheduler\.cooldown=70 takes more than the 54 steps after the warm-up"):
        built("wsd", owner(), cooldown=70)


def test_momentum_goes_the_other_way_where_there_is_one() -> None:
    for name, make in {
        "momentum": owner,
        "betas": lambda: torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=LR),
    }.items():
        optimizer = make()
        schedule = built("onecycle", optimizer)
        found = []
        for _ in range(TOTAL):
            group = optimizer.param_groups[0]
            found.append(group["betas"][0] if name == "betas" else group["momentum"])
            optimizer.step()
            schedule.step()
        assert found[0] == pytest.approx(0.95)
        assert min(found) == pytest.approx(0.85)
        assert found.index(min(found)) == 17
    still = owner(momentum=0.0)
    rates(built("onecycle", still), still)
    assert still.param_groups[0]["momentum"] == 0.0


def test_groups_keep_their_own_rates() -> None:
    for entry in ENTRIES:
        both = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (LR, LR / 10)]
        optimizer = torch.optim.SGD(both, lr=LR)
        schedule = built(entry, optimizer)
        for _ in range(TOTAL):
            first, second = (group["lr"] for group in optimizer.param_groups)
            assert second == pytest.approx(first / 10, rel=1e-9, abs=1e-15), entry
            optimizer.step()
            schedule.step()


@pytest.mark.parametrize("at", [3, 20])
@pytest.mark.parametrize("entry", ENTRIES)
def test_the_curve_goes_on_after_a_resume(entry: str, at: int) -> None:
    optimizer = owner()
    schedule = built(entry, optimizer)
    whole = rates(schedule, optimizer)
    first = owner()
    half = built(entry, first)
    rates(half, first, at)
    state, position = first.state_dict(), half.state_dict()
    second = owner()
    again = built(entry, second)
    second.load_state_dict(state)
    again.load_state_dict(position)
    assert rates(again, second, TOTAL - at) == whole[at:]


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry != "plateau"])
def test_a_longer_run_is_on_the_longer_runs_curve(entry: str) -> None:
    optimizer = owner()
    longer = rates(built(entry, optimizer, total=2 * TOTAL), optimizer, 2 * TOTAL)
    first = owner()
    rates(built(entry, first), first)
    second = owner()
    again = built(entry, second, total=2 * TOTAL)
    second.load_state_dict(first.state_dict())
    again.seek(TOTAL)
    assert rates(again, second) == pytest.approx(longer[TOTAL:], rel=1e-9, abs=1e-12)


def test_lengths_in_words_parts_and_multiples() -> None:
    node = {
        "a": "decay_steps/4",
        "b": "2*steps_per_epoch",
        "c": "total_steps",
        "d": "1.5*warmup_steps",
        "e": "cosine",
        "f": 3,
    }
    found = lengths(node | {"warmup": 0.1}, total_steps=103, steps_per_epoch=10)
    assert found.warmup_steps == 10
    assert found.settings == {"a": 24, "b": 20, "c": 103, "d": 15, "e": "cosine", "f": 3}  # 93 / 4, rounded up
    with pytest.raises(ConfigError, match="needs the run's length"):
        lengths({"a": "decay_steps/4"}, total_steps=None, steps_per_epoch=10)


def test_parts_of_the_run_hold_the_whole_run() -> None:
    """No last cycle of a step or two begins at the full rate."""
    for total in range(60, 150):
        optimizer = owner()
        found = rates(built("cosine_restarts", optimizer, total=total), optimizer, total)
        assert sum(rate == pytest.approx(LR) for rate in found) == 3, total
        assert found[-1] < 0.1 * LR, total


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_plateau_cuts_as_torch_does_and_works_after_the_warmup(direction: str) -> None:
    values = [5.0, 4, 4.5, 4.2, 4.1, 3.9, 4, 4, 4, 4, 4, 3.95, 3.7, 3.8, 3.8, 3.8, 3.8]
    optimizer, other = owner(), owner()
    schedule = built("plateau", optimizer, patience=3, factor=0.2, direction=direction, cooldown=1, warmup=6)
    mode = "max" if direction == "maximize" else "min"
    torch_own = torchs.ReduceLROnPlateau(other, mode, 0.2, patience=2, threshold=0.0, threshold_mode="abs", cooldown=1)  # type: ignore[arg-type]
    assert schedule.evaluated({"val/loss": 1e9}) is None  # in the warm-up: not counted
    rates(schedule, optimizer, 6)
    for value in values:
        before = optimizer.param_groups[0]["lr"]
        cut = schedule.evaluated({"val/loss": value})
        torch_own.step(value)
        after = optimizer.param_groups[0]["lr"]
        assert after == other.param_groups[0]["lr"]
        assert cut == (None if before == after else (before, after))
        schedule.step()
        optimizer.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(LR * 0.2 ** (3 if mode == "min" else 4))


def test_plateau_of_a_metric_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no metric 'val/loss' in the evaluation. Did you mean 'val/los'"):
        built("plateau", owner()).evaluated({"val/los": 1.0})


# -- in a run

STUCK = ("scheduler=plateau", "scheduler.patience=1", "scheduler.factor=0.5", "scheduler.min_delta=100")
"""No evaluation after the first is better by so much: each of them cuts."""
SHORT = ("training.eval_every=5", "training.checkpoint_every=5")


def test_plateau_logs_each_cut_and_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from launcher.console.console import Console
    from launcher.train.loops.supervised import Supervised

    run = build(tmp_path, *STUCK, *SHORT, "training.max_steps=20", "training.log_every=20")
    Supervised(Console()).fit(run)
    logged = curve(tmp_path, "lr")
    assert logged == {10: pytest.approx(5e-4), 15: pytest.approx(2.5e-4), 20: pytest.approx(1.25e-4)}
    assert capsys.readouterr().out.count("val/accuracy has not improved: rate") == 3


def test_plateau_goes_on_where_it_was_in_a_longer_run(tmp_path: Path) -> None:
    words = [*STUCK, *SHORT, "training.log_every=5"]
    fit(tmp_path / "whole", *words, "training.max_steps=30")
    fit(tmp_path / "half", *words, "training.max_steps=15")
    fit(tmp_path / "half", *words, "training.max_steps=30", resume=True)
    assert curve(tmp_path / "half", "lr") == curve(tmp_path / "whole", "lr")


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_run_goes_through_the_planned_curve(entry: str, tmp_path: Path) -> None:
    """The curve of `action=plan`, step by step: in portions, and in the second half of a run that was killed."""
    words = [
        f"scheduler={entry}",
        "training.max_steps=12",
        "training.accumulate=2",
        f"training.eval_every={3 if entry == 'plateau' else 0}",
    ]
    assert train(build(tmp_path, *words, extra=[Interrupts(5)])).progress.step == 5
    run = build(tmp_path, *words)
    state = run.checkpoints.load_last()
    assert state is not None
    state["algorithms"] = []  # the one that interrupted is not there any more
    run.restore(state)
    train(run)
    scheduler = OmegaConf.load(CONF / "scheduler" / f"{entry}.yaml")
    node = OmegaConf.create({"objective": OBJECTIVE, "optimizer": {"lr": 1e-3}, "scheduler": scheduler})
    planned = planned_curve(node, run.plan)
    logged = curve(tmp_path, "lr")
    assert list(logged) == list(range(1, 13))
    assert list(logged.values())[:-1] == planned[1:], "a line has the rate that comes next"


SHARED = ("scheduler.warmup=3", "training.accumulate=2", "training.max_steps=12", "training.eval_every=3")
"""With a warm-up and in portions. Each evaluation of `plateau` but the first cuts: the ranks have to agree on it."""


def words_of(entry: str) -> list[str]:
    return [*(STUCK if entry == "plateau" else [f"scheduler={entry}"]), *SHARED]


def digits() -> tuple[Task, Datasets]:
    task = build_task(config_of("model=mlp"))
    return task, task.datasets()


def on_rank(rank: int, folder: Path) -> None:
    """One rank of two, which trains under each schedule in turn."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", OMP_NUM_THREADS="1")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0")  # which Accelerate wants to see; the group is there
    made = digits()
    for entry in ENTRIES:
        run = build(folder / entry, "parallel=ddp", *words_of(entry), made=made)
        assert run.parallel.world_size == 2
        train(run)
        (folder / entry / f"rank-{rank}").write_text(str(run.main.scheduler.get_last_lr()[0]))
    dist.destroy_process_group()
    os._exit(0)


def test_the_curve_is_the_same_on_two_processes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch", "torch._dynamo", "accelerate", "torchmetrics.classification", "tests.support.runs"]
    )
    processes = [context.Process(target=on_rank, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    made = digits()
    for entry in ENTRIES:
        train(build(tmp_path / f"{entry}-alone", *words_of(entry), made=made))
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    for entry in ENTRIES:
        found = curve(tmp_path / entry, "lr")
        assert list(found) == list(range(1, 13)), entry
        assert found == curve(tmp_path / f"{entry}-alone", "lr"), entry
        assert len({(tmp_path / entry / f"rank-{rank}").read_text() for rank in range(2)}) == 1, entry
        if entry == "plateau":
            assert found[12] == pytest.approx(1e-3 * 0.5**3), "of four evaluations three cut"
