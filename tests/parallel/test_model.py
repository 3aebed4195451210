"""One process and several devices: layers placed by their size, and copies that share out a batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from launcher.errors import ConfigError
from launcher.parallel.model import places
from tests.conftest import Launch
from tests.support.fits import config_of, curve, fit
from tests.support.sameness import assert_same, model

RUN = (
    "training.max_steps=6",
    "training.clip_norm=0.5",
    "scheduler=constant",
    "optimizer=adamw",
    "training.accumulate=2",
)
MODELS: dict[str, tuple[str, ...]] = {
    "vit": ("model=vit", "model.dropout=0.1", "model.width=16", "model.depth=3"),
    "tied embeddings": (
        "task=pretrain_clm",
        "model=llama",
        "model.width=16",
        "model.depth=2",
        "task.sequence_length=16",
        "training.batch_size=8",
        "validation.fraction=0.02",
    ),
    "text": ("task=text_classification", "data=stdlib_snippets", "model=transformer", "model.width=16"),
}
THREE = ("parallel=model", "parallel.devices=[cpu,cpu,cpu]")


@pytest.mark.parametrize("name", MODELS)
def test_layers_on_several_devices_are_the_model_on_one(name: str, tmp_path: Path) -> None:
    """Dropout too: one process draws in one order. So all of it is the same, bit for bit."""
    for folder, words in (("one", ()), ("three", THREE)):
        fit(tmp_path / folder, *words, *RUN, *MODELS[name])
    for metric in ("train/loss", "val/loss"):
        assert curve(tmp_path / "three", metric) == curve(tmp_path / "one", metric)
    assert model(tmp_path / "three") == model(tmp_path / "one")


def test_it_says_where_layers_lie_and_goes_on_bit_for_bit(launch: Launch, tmp_path: Path) -> None:
    words = (*THREE, "tracker=[]", "training.log_every=1", *RUN[1:], *MODELS["vit"], "training.eval_every=3")
    for folder, steps in (("whole", 6), ("cut", 3)):
        done = launch(*words, f"training.max_steps={steps}", f"hydra.run.dir={folder}")
        assert done.returncode == 0, done.stderr
    assert "parallel  layers by their size on cpu 2, cpu 1, cpu 2\n" in done.stdout
    assert launch("resume=cut", "training.max_steps=6").returncode == 0
    assert_same(tmp_path / "cut", tmp_path / "whole", but=("recorder",))
    moved = launch("resume=cut", "parallel=ddp", "training.max_steps=8")
    assert moved.returncode == 0, moved.stderr
    assert json.loads((tmp_path / "cut" / "result.json").read_text())["world_size"] == 2


def test_on_one_device_both_are_what_single_is(launch: Launch, tmp_path: Path) -> None:
    words = ("device=cpu", "tracker=[]", "model=mlp", "training.max_steps=5")
    told = {"single": "", "dp": "nothing to deal out, as with parallel=single", "model": "it has all layers"}
    weights = {}
    for name, words_of_it in told.items():
        done = launch(f"parallel={name}", f"parallel.{words[0]}", *words[1:], f"hydra.run.dir={name}")
        assert done.returncode == 0, done.stderr
        assert words_of_it in done.stdout
        assert ("parallel  " in done.stdout) == (name != "single")
        weights[name] = load_file(tmp_path / name / "model" / "model.safetensors")
    for key, weight in weights["single"].items():
        assert torch.equal(weights["dp"][key], weight)
        assert torch.equal(weights["model"][key], weight)


REFUSED = {
    ("parallel=dp", "parallel.num_processes=2"): "parallel.num_processes=2: expected 1",
    ("parallel=model", "regularization=[ema]"): "ema needs full params, and ModelParallel has none",
    ("parallel=model", "optimizer=muon"): "optimizer: Muon needs full params",
}


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_what_can_not_work_is_refused_by_name(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as refusal:
        config_of(*words)
    assert REFUSED[words] in str(refusal.value)


def test_what_only_a_machine_and_a_model_can_tell(tmp_path: Path) -> None:
    said = {
        ("parallel=dp", "parallel.devices=[cpu,cpu]"): "copies in one process are for GPUs; parallel=ddp",
        ("parallel=model", "parallel.devices=[cpu,cpu,cpu,cpu]"): "4 devices, and MLP can be cut into 3 parts",
        ("parallel=model", "parallel.devices=[cpu,cuda:7]"): "parallel.device=cuda:7: no such device here",
    }
    for words, message in said.items():
        with pytest.raises(ConfigError, match=message):
            fit(tmp_path, *words, "model=mlp")


def test_layers_are_placed_by_size_and_with_those_they_share_weights_with() -> None:
    layers = [nn.Linear(4, width) for width in (10, 2, 2, 2, 4)]  # 50, 10, 10, 10 and 20 numbers
    assert places(layers, 2) == [0, 1, 1, 1, 1]
    layers[4].weight = layers[0].weight
    assert places(layers, 2) == [0, 1, 1, 1, 0]
    with pytest.raises(ConfigError, match="5 devices, and the model has 4 parts that share no weight"):
        places(layers, 5)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["vit", "tied embeddings"])
def test_layers_on_a_gpu_and_in_the_hosts_memory(name: str, tmp_path: Path) -> None:
    words = (*RUN, *MODELS[name], *(("model.dropout=0",) if name == "vit" else ()))
    words = tuple(word for word in words if word != "model.dropout=0.1")
    fit(tmp_path / "one", "parallel.device=cpu", *words)
    fit(tmp_path / "both", "parallel=model", "parallel.devices=[cuda:0,cpu]", *words)
    assert curve(tmp_path / "both") == pytest.approx(curve(tmp_path / "one"), rel=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", ["dp", "model"])
def test_two_gpus_have_the_curve_of_one(strategy: str, tmp_path: Path) -> None:
    words = (*RUN, "model=vit", "model.dropout=0", "model.width=16", "model.depth=3")
    fit(tmp_path / "one", "parallel.device=cuda:0", *words)
    fit(tmp_path / "two", f"parallel={strategy}", "parallel.devices=[cuda:0,cuda:1]", *words)
    for metric in ("train/loss", "val/loss"):
        assert curve(tmp_path / "two", metric) == pytest.approx(curve(tmp_path / "one", metric), rel=1e-4)
