"""The memory and the operations that a plan foresees: by formulas, beside a real step, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from launcher.core.memory_shares import Shares
from launcher.errors import ConfigError
from launcher.preflight.advice import changes, cheapest, fits, refuse
from launcher.preflight.capacity import Room, shape_of
from launcher.preflight.fake_tensors import Tracker
from launcher.preflight.memory_estimate import Estimate, Estimator
from tests.conftest import Launch
from tests.support.fits import config_of
from tests.support.runs import build

MLP = ("model=mlp", "model.width=512", "model.norm=none", "training.eval_batch_size=4", "parallel.device_memory_gb=1")
WEIGHTS = [64 * 512, 512 * 512, 512 * 10]
PARAMETERS = 4 * (sum(WEIGHTS) + 512 + 512 + 10)

FACTORS = 4 * (64 + 512 + 512 + 512 + 512 + 10 + 512 + 512 + 10)
"""A row and a column of each matrix, and the vectors in full."""


def estimate(*words: str) -> Estimate:
    config = config_of("tracker=[]", *words)
    return Estimator(config).estimate(config)


@pytest.mark.parametrize(
    ("optimizer", "share"), [("adamw", 2), ("lion", 1), ("sgd", 1), ("adafactor", FACTORS / PARAMETERS)]
)
def test_what_does_not_change_is_exact(optimizer: str, share: float) -> None:
    found = estimate(*MLP, f"optimizer={optimizer}", "optimizer.lr=auto" if optimizer == "lion" else "seed=1")
    assert found.parameters == found.gradients == PARAMETERS
    assert found.optimizer == pytest.approx(share * PARAMETERS, rel=1e-4)
    assert found.peak >= found.parameters + found.gradients + found.optimizer


def test_an_optimizer_that_looks_into_its_weights_is_counted_by_small_real_ones() -> None:
    found = estimate(*MLP, "optimizer=adamw_8bit")
    assert found.optimizer == pytest.approx(2.05 * sum(WEIGHTS), rel=0.03)


def test_operations_are_those_of_the_matrix_products() -> None:
    """Forward, and backward of weights and of inputs; of the first layer's input there is none."""
    rows = 32
    expected = 2 * rows * (3 * sum(WEIGHTS) - WEIGHTS[0])
    assert estimate(*MLP, "training.batch_size=32").flops == expected
    assert estimate(*MLP, "training.batch_size=32", "training.accumulate=4").flops == expected
    assert estimate(*MLP, "training.batch_size=32", "regularization=[sam]").flops == 2 * expected
    whole = estimate("model=vit", "training.eval_batch_size=4").flops
    again = estimate("model=vit", "training.eval_batch_size=4", "memory=checkpointing").flops
    assert 1.3 * whole < again < 1.35 * whole, "one more forward pass of the blocks"


def test_activations_follow_the_portion_and_the_memory() -> None:
    words = ("model=vit", "training.batch_size=64", "training.eval_batch_size=4")
    plain, half, saving = (
        estimate(*words, *more) for more in ((), ("training.accumulate=2",), ("memory=checkpointing",))
    )
    assert half.activations == pytest.approx(plain.activations / 2, rel=0.02)
    assert saving.activations < 0.15 * plain.activations
    assert saving.peak < 0.5 * plain.peak
    assert (plain.parameters, plain.optimizer) == (saving.parameters, saving.optimizer)


@pytest.mark.parametrize("words", [("model=vit", "model.dropout=0.1"), ("model=cnn", "optimizer=schedule_free")])
def test_the_peak_is_that_of_a_real_step(words: tuple[str, ...], tmp_path: Path) -> None:
    """The same bytes counted over real tensors, in the second step as there."""
    words = (*words, "training.batch_size=64", "training.eval_batch_size=1", "parallel.device_memory_gb=1")
    found = estimate(*words)
    run = build(tmp_path, *words)
    batches = run.loaders.train.start(0)
    tracker = Tracker()
    for tensor in (*run.main.model.parameters(), *run.main.model.buffers()):
        tracker.see(tensor)
    run.main.model.train()
    for _ in range(2):
        micro = next(batches)
        for column in micro[0].values():
            tracker.see(column)
        tracker.peak = tracker.now
        with tracker:
            run.parallel.forward_backward(run, micro, [])
            run.parallel.step(run)
            run.main.optimizer.zero_grad()
    assert found.moment == "training"
    assert found.peak == pytest.approx(tracker.peak, rel=0.02)


def test_it_leaves_the_generators_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    estimate(*MLP, "augment=[mixup]")
    assert torch.equal(before, torch.get_rng_state())


def test_an_average_of_the_weights_and_the_copies_of_ddp_count() -> None:
    plain, ema = estimate(*MLP), estimate(*MLP, "regularization=[ema]")
    assert ema.extra - plain.extra == pytest.approx(PARAMETERS, rel=1e-3)
    ranks = estimate(*MLP, "parallel=ddp", "parallel.num_processes=2")
    assert ranks.extra - plain.extra == PARAMETERS, "the buckets that are sent"
    assert ranks.activations == pytest.approx(plain.activations / 2, rel=0.1)
    assert ranks.flops == plain.flops


def test_what_is_split_counts_by_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    from launcher.parallel.ddp import DDP

    words = (*MLP, "parallel=ddp", "parallel.num_processes=4", "parallel.timeout_s=60")
    monkeypatch.setattr(DDP, "shares", classmethod(lambda cls, settings: Shares(4, 4, 4, samples=4)))
    found = estimate(*words)
    assert found.parameters == found.gradients == PARAMETERS // 4
    assert found.optimizer == pytest.approx(PARAMETERS / 2, rel=1e-3)
    assert found.peak < 2 * PARAMETERS


def test_each_way_of_splitting_counts_what_it_keeps_and_what_it_sends() -> None:
    """Between split layers activations are in parts; of a pipeline's portions as many wait as the schedule lets."""
    words = ("model=vit", "training.batch_size=64", "training.eval_batch_size=4", "parallel.device_memory_gb=1")
    plain = estimate(*words)
    tensor = estimate(*words, "parallel=tensor", "parallel.num_processes=2")
    assert 0.5 * plain.activations < tensor.activations < 0.85 * plain.activations
    pipeline = ("parallel=pipeline", "parallel.num_processes=2")
    for schedule, accumulate, share in (("1f1b", 1, 4), ("gpipe", 2, 2)):
        pipe = estimate(*words, *pipeline, f"parallel.schedule={schedule}", f"training.accumulate={accumulate}")
        assert pipe.activations == pytest.approx(plain.activations / share, rel=0.02)
    ddp, zero1 = (estimate(*MLP, f"parallel={name}", "parallel.num_processes=2") for name in ("ddp", "zero1"))
    assert zero1.optimizer == pytest.approx(ddp.optimizer / 2, rel=0.01)
    assert zero1.peak == pytest.approx(ddp.peak - ddp.optimizer / 2 + PARAMETERS, rel=0.01), "weights, as they are sent"
    engine = estimate(*MLP, "parallel=deepspeed", "parallel.stage=2", "parallel.num_processes=2")
    assert engine.extra == pytest.approx(PARAMETERS, rel=0.01), (
        "the weights that the optimizer works on, and its gradients"
    )


def test_the_cheapest_change_is_tried_first() -> None:
    config = config_of("model=vit", "training.batch_size=64", "training.eval_batch_size=4", "tracker=[]")
    estimator = Estimator(config)
    found = estimator.estimate(config)
    tried = [words for words, _ in changes(config, found, Room(found.peak, ""))]
    assert tried[:2] == ["training.accumulate=2", "training.accumulate=4"]
    assert tried[-1] == "memory=checkpointing training.accumulate=64"
    for share, expected in ((1 / 3, "training.accumulate=4"), (2 / 3, "training.accumulate=2")):
        limit = found.peak * share / (1 << 30)
        stated = OmegaConf.merge(config, {"parallel": {"device_memory_gb": limit}})
        assert isinstance(stated, type(config))
        change = cheapest(estimator, stated, found, Room(int(limit * (1 << 30)), "stated"))
        assert change is not None
        assert change[0] == expected
        assert fits(change[1], Room(int(limit * (1 << 30)), "stated"))
        with pytest.raises(ConfigError, match=rf"does not fit: .* the cheapest change that fits: {expected} "):
            refuse(stated)


def test_a_run_that_can_not_fit_says_so_before_it_starts(launch: Launch, tmp_path: Path) -> None:
    words: tuple[Any, ...] = ("model=mlp", "training.batch_size=64", "tracker=[]", "hydra.run.dir=run")
    outcome = launch(*words, "parallel.device_memory_gb=0.0001")
    assert outcome.returncode == 2
    assert "error: parallel.device_memory_gb=0.0001: the run does not fit: " in outcome.stderr
    assert "no change of portions, memory or strategy makes it fit" in outcome.stderr
    assert not (tmp_path / "run").exists()
    assert launch(*words, "parallel.device_memory_gb=1", "training.max_steps=2").returncode == 0
    planned = launch("action=plan", *words, "parallel.device_memory_gb=0.0001")
    assert planned.returncode == 0
    assert "does not fit: " in planned.stdout
    assert "FLOP a step" in planned.stdout


@pytest.mark.parametrize("words", [(), ("parallel=zero3",)], ids=["one process", "two"])
def test_a_model_that_can_not_fit_into_what_there_is_is_refused_at_sight(
    words: tuple[str, ...], launch: Launch
) -> None:
    """640 GB of weights and gradients, none of which is taken; nobody has stated a memory."""
    outcome = launch("model=mlp", "model.width=200000", "tracker=[]", "hydra.run.dir=run", *words)
    assert outcome.returncode == 2
    assert "error: the run does not fit: " in outcome.stderr
    assert "of this machine" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert outcome.folder is None


def test_the_shape_of_a_model_takes_no_memory_and_leaves_the_task_alone(tmp_path: Path) -> None:
    run = build(tmp_path, "model=mlp")
    shape = shape_of(run.task)
    assert {each.device.type for each in shape.parameters()} == {"meta"}
    assert [each.shape for each in shape.parameters()] == [each.shape for each in run.main.model.parameters()]
    assert next(run.task.model().parameters()).device.type == "cpu"
