"""From a config's nodes to objects: lengths, models, seeds, refusals."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from launcher.config.instantiate import instantiate
from launcher.data.samples import TensorSamples
from launcher.errors import ConfigError
from launcher.memory.precision import Precision
from launcher.parallel.devices import choose_device
from launcher.parallel.single import Single
from launcher.process.seeds import seed_everything
from launcher.tasks.models.mlp import MLP
from launcher.train.build import build_loaders, build_parallel, build_plan, build_task, model_factory
from tests.support.fits import TRUST, config_of, fit


@pytest.mark.parametrize(
    ("words", "total", "log", "evaluate", "checkpoint"),
    [
        (["training.max_epochs=2"], 80, 50, 40, 40),
        (["training.max_epochs=0.01"], 1, 50, 40, 40),
        (["training.max_steps=7", "training.eval_every=0.25epoch", "training.log_every=3 steps"], 7, 3, 10, 40),
        (["training.max_steps=99", "training.max_epochs=1", "training.checkpoint_every=2epochs"], 40, 50, 40, 80),
        (
            [
                "training.max_steps=9",
                "training.log_every=null",
                "training.eval_every=0",
                "training.checkpoint_every=0.001epoch",
            ],
            9,
            None,
            None,
            1,
        ),
        (["training.max_steps=9", "training.log_every=0steps", "training.eval_every=0epoch"], 9, None, None, 40),
        (["debug=one_batch"], 1, 50, 40, 40),
    ],
)
def test_lengths_and_intervals_in_steps(
    words: list[str], total: int, log: int | None, evaluate: int | None, checkpoint: int | None
) -> None:
    base = [] if any("checkpoint_every" in word for word in words) else ["training.checkpoint_every=1epoch"]
    plan = build_plan(config_of(*words, *base), steps_per_epoch=40)
    assert (plan.total_steps, plan.log_every, plan.eval_every, plan.checkpoint_every) == (
        total,
        log,
        evaluate,
        checkpoint,
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5m", 90), ("1h30m", 5400), ("2d", 172800), ("null", None)]
)
def test_times_in_seconds(text: str, seconds: float | None) -> None:
    assert build_plan(config_of(f"training.max_time={text}"), 40).max_time == seconds


def test_a_models_factory_passes_on_what_it_has_a_name_for() -> None:
    make = model_factory(functools.partial(MLP, width=7, num_outputs=3))
    model = make(input_shape=(2, 2), num_outputs=10, image_shape=(1, 2, 2), vocab_size=99)
    assert model.head.out_features == 3, "the config's word counts"
    assert model.launcher_config == {
        "_target_": "launcher.tasks.models.mlp.MLP",
        "width": 7,
        "num_outputs": 3,
        "input_shape": (2, 2),
    }
    assert make.target is MLP  # type: ignore[attr-defined]


def test_initial_weights_are_the_seeds_alone() -> None:
    def weights(*words: str) -> dict[str, torch.Tensor]:
        from launcher.process.seeds import derive

        config = config_of("model=mlp", *words)
        task = build_task(config)
        task.datasets()
        torch.manual_seed(derive(config.seed, "init"))
        state: dict[str, torch.Tensor] = task.model().state_dict()
        return state

    one, same, other = weights(), weights("training.batch_size=8", "optimizer=sgd"), weights("seed=1")
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_every_generator_is_seeded_each_rank_with_its_own() -> None:
    def drawn(seed: int, rank: int) -> tuple[float, float, float]:
        seed_everything(seed, rank, deterministic=False)
        return float(torch.rand(())), float(np.random.rand()), random.random()

    with torch.random.fork_rng(devices=[]):
        assert drawn(0, 0) == drawn(0, 0)
        seen = [drawn(0, 0), drawn(0, 1), drawn(1, 0)]
        assert all(len({each[index] for each in seen}) == 3 for index in range(3))


def test_deterministic_is_torchs_own() -> None:
    try:
        with torch.random.fork_rng(devices=[]):
            seed_everything(0, 0, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_target_outside_the_list_is_refused_here_too(tmp_path: Path) -> None:
    node = OmegaConf.create({"_target_": "os.mkdir", "path": str(tmp_path / "made")})
    with pytest.raises(ConfigError, match=r"os\.mkdir, which a config may not run"):
        instantiate(node, group="data")
    assert not (tmp_path / "made").exists()


def test_a_constructors_refusal_stays_a_refusal() -> None:
    with pytest.raises(ConfigError, match="expected a share between 0 and 1"):
        instantiate(OmegaConf.create({"_target_": "launcher.data.splits.Holdout", "fraction": 1.5}), group="validation")


def test_a_model_without_parameters_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*next(iter(TRUST.items())))
    own = tmp_path / "mine" / "model"
    own.mkdir(parents=True)
    words = ["model._target_=tests.support.odd.Empty", "~model.width", "~model.depth", "~model.dropout", "~model.norm"]
    with pytest.raises(ConfigError, match="the model has no parameter to train"):
        fit(tmp_path / "run", *words)


def test_overfitting_takes_the_first_batches_for_both() -> None:
    config = config_of("model=mlp", "debug=overfit", "debug.overfit_batches=2")
    task = build_task(config)
    data = task.datasets()
    loaders = build_loaders(config, data, build_parallel(config))
    assert isinstance(loaders.train.samples, TensorSamples)
    first = data.train.fetch(torch.arange(64))
    assert torch.equal(loaders.train.samples.columns["images"], first["images"])
    assert loaders.val is not None
    assert torch.equal(next(iter(loaders.val))["labels"], first["labels"])


def test_devices() -> None:
    assert choose_device("cpu") == choose_device("auto") == torch.device("cpu")
    for name in ("cuda", "quantum", "cuda:7"):
        with pytest.raises(
            ConfigError, match=f"parallel.device={name}: no such device here .*parallel.device=auto takes what there is"
        ):
            choose_device(name)


def test_clipping_is_torchs() -> None:
    class Shown:
        pass

    parallel = Single(Precision(), device="cpu")
    for max_norm in (0.1, 1e6):
        models = [nn.Linear(5, 3) for _ in range(2)]
        models[1].load_state_dict(models[0].state_dict())
        for model in models:
            (model(torch.arange(10.0).view(2, 5)) ** 2).sum().backward()
        run = Shown()
        run.main = Shown()  # type: ignore[attr-defined]
        run.main.optimizer = torch.optim.SGD(models[0].parameters())  # type: ignore[attr-defined]
        ours = parallel.clip(run, max_norm)  # type: ignore[arg-type]
        torchs = nn.utils.clip_grad_norm_(models[1].parameters(), max_norm)
        torch.testing.assert_close(ours, torchs)
        for left, right in zip(models[0].parameters(), models[1].parameters(), strict=True):
            torch.testing.assert_close(left.grad, right.grad)
