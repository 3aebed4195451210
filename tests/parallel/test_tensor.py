"""Layers in parts: the curve of one process from two and four, checkpoints that any placement takes up, and plans."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from launcher.artifacts.checkpoint.checkpoints import Checkpoints
from launcher.artifacts.checkpoint.pieces import whole
from launcher.errors import ConfigError
from launcher.parallel.tensor_layers import Region
from launcher.parallel.tensor_plan import heads, plan
from launcher.tasks.models.llama import llama
from launcher.tasks.models.mlp import MLP
from launcher.tasks.models.transformer import Transformer
from launcher.tasks.models.vit import ViT
from tests.conftest import Launch
from tests.support.double import TRUST
from tests.support.fits import config_of, curve, fit, values
from tests.support.harness import Outcome, Warm
from tests.support.sameness import lines, model

COMMON = ("tracker=[]", "training.log_every=1", "scheduler=constant", "training.clip_norm=0.5")
STEPS = "training.max_steps=20"
FEW = "training.max_steps=8"
VIT = ("model=vit", "model.dropout=0", *(SMALL := ("model.depth=2", "model.width=32", "optimizer=adamw")))
LLAMA = (
    "task=pretrain_clm",
    "model=llama",
    "model.width=32",
    "model.depth=2",
    "task.sequence_length=32",
    "training.batch_size=8",
    "validation.fraction=0.05",
)
TEXT = (
    "task=text_classification",
    "data=stdlib_snippets",
    "model=transformer",
    "model.dropout=0",
    "model.attention_dropout=0",
    "model.width=32",
    "optimizer=lion",
    "task._target_=tests.support.double.Texts",  # Lion takes the sign of what rounding in float32 turns round: a whole step
)
FOUR = ("parallel.num_processes=4", "parallel.shard_size=2")
RUNS: dict[str, tuple[tuple[str, ...], tuple[str, ...], float]] = {
    "heads": (VIT, ("training.accumulate=2",), 2e-6),
    "tied vocabulary": ((*LLAMA, "model.num_kv_heads=2"), ("memory=checkpointing",), 2e-6),
    "tokens": (TEXT, (), 1e-12),
    "heads x fsdp": (VIT, (*FOUR, "training.checkpoint_format=full"), 2e-6),
    "tied vocabulary x fsdp": (LLAMA, FOUR, 2e-6),
}
"""By what is split: a run, what its ranks do in another way, and how far a loss may be off. 257 tokens go to two ranks."""


@pytest.fixture(scope="module")
def ran(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Outcome]]:
    folder = tmp_path_factory.mktemp("tensor")
    outcomes = {}
    for name, (words, otherwise, _) in RUNS.items():
        (folder / name).mkdir()
        steps = FEW if FOUR[0] in otherwise else STEPS
        outcomes[name] = warm(
            "parallel=tensor", "hydra.run.dir=run", steps, *COMMON, *words, *otherwise, cwd=folder / name, env=TRUST
        )
    return folder, outcomes


@pytest.mark.parametrize("name", RUNS)
def test_ranks_that_split_layers_have_the_curve_of_one(
    ran: tuple[Path, dict[str, Outcome]], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*next(iter(TRUST.items())))
    folder, outcomes = ran
    assert outcomes[name].returncode == 0, outcomes[name].stderr
    assert outcomes[name].stderr == ""
    words, otherwise, tolerance = RUNS[name]
    fit(tmp_path, FEW if FOUR[0] in otherwise else STEPS, *COMMON, *words)
    both = folder / name / "run"
    for metric in ("train/loss", "val/loss"):
        assert curve(both, metric) == pytest.approx(curve(tmp_path, metric), rel=tolerance)
    assert len(values(both)) == (8 if FOUR[0] in otherwise else 20)
    assert values(both)[-1] < values(both)[0]
    mine, theirs = (load_file(each / "model" / "model.safetensors") for each in (tmp_path, both))
    assert {key: each.shape for key, each in mine.items()} == {key: each.shape for key, each in theirs.items()}
    apart, all_of_it = (
        torch.cat(
            [(each - other * share).flatten() for each, other in zip(mine.values(), theirs.values(), strict=True)]
        )
        for share in (1, 0)
    )
    assert apart.norm() < 5e-3 * all_of_it.norm()
    results = [json.loads((each / "result.json").read_text()) for each in (tmp_path, both)]
    assert results[0]["parameters"] == results[1]["parameters"]
    assert results[1]["world_size"] == (4 if FOUR[0] in otherwise else 2)
    assert "layers in 2 parts" in outcomes[name].stdout
    assert ("x torch fully_shard, 2 parts" in outcomes[name].stdout) == (FOUR[0] in otherwise)


def test_each_rank_has_half_of_what_is_split(ran: tuple[Path, dict[str, Outcome]]) -> None:
    """The blocks in the files of two ranks: each of a weight is half of it, and heads of each of three matrices."""
    last = (ran[0] / "heads" / "run" / "checkpoints" / "last").resolve()
    written = json.loads((last / "manifest.json").read_text())["pieces"]
    name = "parts/main/model/blocks.0.qkv.weight"
    assert written[name] == {
        "shape": [96, 32],
        "parts": [
            ["rank-0.safetensors", [[0, 0], [32, 0], [64, 0]]],
            ["rank-1.safetensors", [[16, 0], [48, 0], [80, 0]]],
        ],
    }
    for rank in (0, 1):
        held = load_file(last / f"rank-{rank}.safetensors")
        assert held[name].shape == held[f"{name}#2"].shape == (16, 32)
        assert held["parts/main/model/blocks.0.out.weight"].shape == (32, 16)
        assert "parts/main/model/blocks.0.norm1.weight" not in held, "it is whole on every rank"


def test_a_run_moves_between_strategies(warm: Warm, tmp_path: Path) -> None:
    words = (*COMMON, *VIT)
    first = warm("parallel=ddp", *words, "training.max_steps=4", "hydra.run.dir=run", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    moves = (("tensor", ()), ("tensor", FOUR), ("single", ()))
    for number, (placement, sizes) in enumerate(moves, start=2):
        steps = f"training.max_steps={4 * number}"
        moved = warm("resume=run", f"parallel={placement}", *sizes, steps, cwd=tmp_path)
        assert moved.returncode == 0, moved.stderr
    fit(tmp_path / "whole", *words, "training.max_steps=16")
    assert curve(tmp_path / "run") == pytest.approx(curve(tmp_path / "whole"), rel=5e-6)


def test_a_resumed_run_is_the_same_run(launch: Launch, tmp_path: Path) -> None:
    """With dropout of what is whole and of what is split: bit for bit."""
    words = (
        "parallel=tensor",
        *COMMON,
        "model=vit",
        *SMALL,
        "model.dropout=0.2",
        "model.attention_dropout=0.2",
        "training.eval_every=4",
    )
    for folder, steps in (("whole", 8), ("cut", 4)):
        done = launch(*words, f"training.max_steps={steps}", f"hydra.run.dir={folder}")
        assert done.returncode == 0, done.stderr
    resumed = launch("resume=cut", "training.max_steps=8")
    assert resumed.returncode == 0, resumed.stderr
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert model(tmp_path / "cut") == model(tmp_path / "whole")
    states = [
        whole(Checkpoints(tmp_path / each / "checkpoints", keep=1).load(8)["parts"]["main"])
        for each in ("cut", "whole")
    ]
    for key, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][key])
    for index, moments in states[0]["optimizer"]["state"].items():
        for key, value in moments.items():
            assert torch.equal(value, states[1]["optimizer"]["state"][index][key])


def test_a_model_that_can_not_be_split_is_refused_by_name(launch: Launch, tmp_path: Path) -> None:
    outcome = launch("parallel=tensor", "model=mlp", "model.norm=layer")
    assert outcome.returncode == 2
    assert "error: MLP does not say how its layers are split (tp_plan)" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.folder is None


REFUSED = {
    (
        "model=cnn",
    ): "parallel=tensor: TensorParallel needs tensor plan, and CNN has none. Of conf/model these have: hub, llama, mlp,",
    (
        "model=vit",
        "model.num_heads=1",
    ): "model.num_heads=1: 1 attention heads can not be dealt out to parallel.tensor_size=2",
    ("model=vit", "parallel.tensor_size=4"): "can not be laid out as tensor 4: parallel.num_processes=4 can",
    ("model=vit", "optimizer=adafactor"): "optimizer: Adafactor needs full params",
    ("model=vit", "regularization=[ema]"): "ema needs full params, and TensorParallel has none",
}


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_what_can_not_work_is_refused_before_launch(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as refusal:
        config_of("parallel=tensor", *words)
    assert REFUSED[words] in str(refusal.value)


def test_plans() -> None:
    assert plan(MLP((8, 8), 10, depth=3, dropout=0.1)) == {"body.0": "colwise", "body.3": "rowwise"}
    block = {"qkv": "packed_colwise:3", "out": "rowwise", "mlp.0": "colwise", "mlp.3": "rowwise"}
    named = {f"blocks.0.{name}": style for name, style in block.items()}
    assert plan(ViT((1, 8, 8), 10, depth=1)) == named
    assert plan(Transformer(50, 2, 16, depth=1)) == {"tokens": "embedding_rowwise", **named}
    assert heads(Transformer(50, 2, 16, depth=1)) == {"num_heads": 4}


@pytest.mark.parametrize("tied", [True, False])
def test_the_plan_of_a_model_of_transformers(tied: bool) -> None:
    made = llama(257, 32, 0, width=32, depth=1, num_kv_heads=2, tie_embeddings=tied)
    found = plan(made)
    layer = "model.layers.0."
    assert found[f"{layer}self_attn.k_proj"] == found[f"{layer}mlp.up_proj"] == "colwise"
    assert found[f"{layer}self_attn.o_proj"] == found[f"{layer}mlp.down_proj"] == "rowwise"
    assert found["lm_head"] == "colwise_gather_output"
    assert found["model.embed_tokens"] == "embedding_rowwise"
    assert (made.lm_head.weight is made.model.embed_tokens.weight) == tied
    assert heads(made) == {"num_attention_heads": 4, "num_key_value_heads": 2}


def test_a_plan_that_can_not_be_followed_is_refused_by_name() -> None:
    made = Transformer(50, 2, 16, depth=1)
    made.tp_plan = {"norm": "sequence_parallel"}  # type: ignore[misc]  # in place of the class's
    with pytest.raises(ConfigError, match="has norm split as sequence_parallel, which is not there; parallel=fsdp"):
        plan(made)
    made.tp_plan = {"norm": "colwise"}  # type: ignore[misc]
    with pytest.raises(ConfigError, match="splits norm, a LayerNorm and no plain Linear"):
        plan(made)
    made.tp_plan = {"head": "colwise_rep"}  # type: ignore[misc]
    made.head.weight = nn.Parameter(made.positions.weight[:2].detach())
    made.norm.weight = made.head.weight
    with pytest.raises(ConfigError, match="splits head, and norm has its weight too"):
        plan(made)


@pytest.fixture
def alone() -> Iterator[None]:
    """A process group of this process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_between_split_layers_other_numbers_are_drawn(alone: None) -> None:
    """And outside the same as ever: one number of the ordinary generator is what it costs."""
    region = Region(init_device_mesh("cpu", (1,)), True, torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        seed = int(torch.randint(1 << 62, ()))
        after = torch.rand(3)
        inside = torch.rand(3, generator=torch.Generator().manual_seed(seed + 1))
        for rank, expected in ((0, None), (1, inside)):
            region.rank = rank
            torch.manual_seed(5)
            region.enter(torch.zeros(1), training=True)
            drawn = torch.rand(3)
            region.leave()
            assert torch.equal(torch.rand(3), after)
            assert not torch.equal(drawn, after)
            assert expected is None or torch.equal(drawn, expected)
        torch.manual_seed(5)
        region.enter(torch.zeros(1), training=False)
        region.leave()
        assert int(torch.randint(1 << 62, ())) == seed, "an evaluation draws nothing"
