"""memory=…: the same numbers, dropout included, from less that is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from launcher.core.run import Run
from launcher.errors import ConfigError
from launcher.memory.activations import Checkpointing, Offload, blocks
from tests.support.fits import config_of, fit, values
from tests.support.runs import build

SMALL = ("training.max_steps=4", "training.batch_size=8")
MODELS = {
    "vit": ("model=vit", "model.norm=batch", "model.dropout=0.2", "model.attention_dropout=0.2"),
    "transformer": ("task=text_classification", "model=transformer", "model.depth=3"),
    "llama": ("task=pretrain_clm", "model=llama", "model.attention_dropout=0.2"),
}


def kept(run: Run) -> int:
    """Bytes that the forward pass of a step keeps for backward, weights left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in run.main.model.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = run.loaders.train.samples.fetch(torch.arange(32))
    run.main.model.train()
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = run.task.loss(run.task.forward(run.main.model, batch), batch).sum
    size = sum(found.values())
    loss.backward()
    return size


@pytest.mark.parametrize("model", sorted(MODELS))
def test_checkpointing_changes_nothing_but_what_is_kept(model: str, tmp_path: Path) -> None:
    """Losses and weights bit for bit, with dropout; the running statistics of batch norms are moved once."""
    words = [*MODELS[model], *SMALL]
    for memory in ("none", "checkpointing_offload"):
        fit(tmp_path / memory, f"memory={memory}", *words)
    assert values(tmp_path / "none") == values(tmp_path / "checkpointing_offload")
    plain, saving = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("none", "checkpointing_offload")
    )
    assert list(plain) == list(saving)
    assert all(torch.equal(value, saving[name]) for name, value in plain.items())


@pytest.mark.parametrize("words", [MODELS["vit"], MODELS["llama"]], ids=["vit", "llama"])
def test_checkpointing_keeps_the_inputs_of_blocks(words: tuple[str, ...], tmp_path: Path) -> None:
    sizes = {memory: kept(build(tmp_path / memory, *words, f"memory={memory}")) for memory in ("none", "checkpointing")}
    assert sizes["checkpointing"] < 0.4 * sizes["none"]


def test_evaluations_are_not_computed_twice(tmp_path: Path) -> None:
    run = build(tmp_path, *MODELS["vit"], "memory=checkpointing")
    count = 0

    def counted(*_: object) -> None:
        nonlocal count
        count += 1

    for block in blocks(run.main.model):
        block.register_forward_hook(counted)
        next(iter(block.children())).register_forward_hook(counted)
    batch = run.loaders.train.samples.fetch(torch.arange(4))
    run.main.model.eval()
    with torch.no_grad():
        run.task.forward(run.main.model, batch)
    assert count == 8
    run.main.model.train()
    run.task.loss(run.task.forward(run.main.model, batch), batch).sum.backward()
    assert count == 8 + 8 + 4, "of the blocks' insides twice"


def test_blocks_are_those_of_one_class_in_a_row() -> None:
    row = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(3))
    model = nn.Sequential(nn.Linear(2, 2), nn.ModuleDict({"row": row}), nn.ModuleList([nn.ReLU(), nn.ReLU()]))
    assert blocks(model) == list(row)
    with pytest.raises(ConfigError, match=r"Linear has no blocks of one class in a row"):
        Checkpointing().prepare(nn.Linear(2, 2), torch.device("cpu"))


def test_offload_says_where_it_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Linear(2, 2)
    assert type(Offload().prepare(model, torch.device("cpu"))) is nn.Linear
    assert Offload().notice(torch.device("cpu")) == "memory: offload moves nothing here, the device is the CPU"
    assert Offload().notice(torch.device("cuda")) is None


@pytest.mark.gpu
def test_offload_moves_what_is_kept_and_changes_no_number(tmp_path: Path) -> None:
    for memory in ("none", "offload", "checkpointing_offload"):
        fit(tmp_path / memory, f"memory={memory}", *MODELS["vit"], *SMALL, "deterministic=true")
    assert values(tmp_path / "none") == values(tmp_path / "offload") == values(tmp_path / "checkpointing_offload")
    peaks = {}
    for memory in ("none", "offload"):
        run = build(tmp_path / f"{memory}-kept", *MODELS["vit"], f"memory={memory}", "model.width=256")
        batch = run.parallel.place(run.loaders.train.samples.fetch(torch.arange(512)))
        run.main.model.train()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        loss = run.task.loss(run.task.forward(run.main.model, batch), batch).sum
        torch.cuda.synchronize()
        peaks[memory] = torch.cuda.memory_allocated() - before
        loss.backward()
    assert peaks["offload"] < 0.3 * peaks["none"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("memory=checkpointing",),
            "memory=checkpointing: it needs blocks, and CNN has none. Of conf/model these have: hub, llama",
        ),
        (("task=tabular", "memory=offload"), "memory=offload: RandomForestClassifier is fitted in one call"),
    ],
)
def test_what_can_not_be_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_of(*words)
    assert message in str(refused.value)
