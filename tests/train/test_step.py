"""The training step: whoever takes one, in a run or before it, takes the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from launcher.preflight.batch_size import _steps as batch_size_steps
from launcher.preflight.lr_find import range_test
from launcher.preflight.memory_estimate import Estimator
from launcher.preflight.step_time import measure
from launcher.process.seeds import derive
from tests.support.fits import TRUST, config_of
from tests.support.odd import Tells, Weights
from tests.support.runs import build, train

STEPS = ("model=mlp", "tracker=[]", "scheduler=constant", "training.max_steps=2", "training.accumulate=2")
STEPS += (
    "optimizer.lr=1e-3",
    "training.clip_norm=0.5",
    "training.clip_value=0.01",
    "training.log_every=null",
    "training.eval_every=null",
)


def in_a_run(folder: Path, *words: str) -> None:
    train(build(folder, *STEPS, *words))


def in_the_range_test(folder: Path, *words: str) -> None:
    rate = 1e-3
    range_test(build(folder, *STEPS, *words), rate, rate, 2, smoothing=0.9, divergence=1e9)


def in_the_search_for_a_batch_size(folder: Path, *words: str) -> None:
    torch.manual_seed(derive(0, "init"))
    batch_size_steps(config_of(*STEPS, *words), 32)


def in_the_pace_of_a_plan(folder: Path, *words: str) -> None:
    torch.manual_seed(derive(0, "init"))
    measure(config_of(*STEPS, *words), threads=1)


def in_the_memory_estimate(folder: Path, *words: str) -> None:
    config = config_of(*STEPS, *words)
    Estimator(config).estimate(config)


TAKES_STEPS = [
    in_a_run,
    in_the_range_test,
    in_the_search_for_a_batch_size,
    in_the_pace_of_a_plan,
    in_the_memory_estimate,
]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The odd algorithms may be named; generators and threads are as they were afterwards."""
    for name, value in TRUST.items():
        monkeypatch.setenv(name, value)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("takes", TAKES_STEPS)
def test_every_hook_of_a_step_is_called_in_its_place(takes: Callable[..., None], tmp_path: Path) -> None:
    Tells.told.clear()
    takes(tmp_path, "+regularization.tells._target_=tests.support.odd.TellsOfSteps")
    step = ["batch", "batch", "loss", "loss", "gradients", "step", "after_step"]
    began = Tells.told.index("fit_start")
    first = Tells.told.index("after_step")
    second = Tells.told.index("after_step", first + 1)
    assert Tells.told[first - 7 : first + 1] == ["epoch_start", *step]
    assert Tells.told[first + 1 : second + 1] == step
    assert Tells.told[:began] == ["model", "param_groups"]


ALGORITHMS = ("regularization=[sam,ema,label_smoothing]", "augment=[mixup,cutmix]", "optimizer=sgd")


@pytest.mark.parametrize("takes", TAKES_STEPS[1:4])
def test_the_weights_after_a_step_are_those_of_the_run(takes: Callable[..., None], tmp_path: Path) -> None:
    """Bit for bit: SAM goes to where the gradient is taken, both clippings, an average, and of two mixings the one whose
    turn it is."""
    words = (*ALGORITHMS, "+regularization.weights._target_=tests.support.odd.Weights")
    Weights.seen.clear()
    in_a_run(tmp_path / "run", *words)
    expected = list(Weights.seen)
    Weights.seen.clear()
    takes(tmp_path / "other", *words)
    assert len(expected) == 2
    assert Weights.seen[:2] == expected


@pytest.mark.parametrize("takes", TAKES_STEPS[1:])
def test_monitors_have_no_part_before_the_run(takes: Callable[..., None], tmp_path: Path) -> None:
    """Some go wrong where the loop is not there that they watch."""
    Tells.told.clear()
    takes(tmp_path, "monitor=[step_time,flops]", "+regularization.tells._target_=tests.support.odd.TellsOfSteps")
    assert Tells.told.count("after_step") >= 2


def test_what_sam_and_an_average_hold_counts_in_the_estimate() -> None:
    """SAM holds its move and the weights from before, EMA the average: each as large as the weights."""
    words = ("model=mlp", "model.width=1024", "training.batch_size=8", "training.eval_batch_size=8", "tracker=[]")
    plain, sam = (
        Estimator(config).estimate(config)
        for config in (config_of(*words, *more) for more in ((), ("regularization=[sam]",)))
    )
    assert sam.peak - plain.peak == pytest.approx(2 * plain.parameters, rel=0.25)
    assert sam.activations == plain.activations, "the second pass needs what the first one did"
    assert sam.flops == 2 * plain.flops
