"""ZeRO by DeepSpeed's engine on two processes: the curve of one, and checkpoints that are everybody's."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from launcher.artifacts.checkpoint.pieces import run_blocks
from launcher.errors import ConfigError
from tests.parallel.test_sharded import held
from tests.support.fits import config_of, curve, fit, values
from tests.support.harness import Outcome, Warm
from tests.support.sameness import lines, model, state

COMMON = ("parallel=deepspeed", "tracker=[]", "training.log_every=1", "scheduler=constant", "hydra.run.dir=run")
VIT = ("model=vit", "model.depth=2", "model.width=32", "optimizer=adamw", "training.clip_norm=0.5")
LLAMA = (
    "task=pretrain_clm",
    "model=llama",
    "model.width=32",
    "model.depth=2",
    "task.sequence_length=32",
    "optimizer=lion",
)
STEPS = ("training.max_steps=8", "training.eval_every=4")
WEIGHTS = (*VIT, "model.dropout=0", "validation.fraction=0.02", "training.eval_every=4")
RUNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "weights": (
        (*WEIGHTS, "training.max_steps=8"),
        ("parallel.stage=3", "training.accumulate=2", "memory=checkpointing"),
    ),
    "gradients": ((*LLAMA, *STEPS, "validation.fraction=0.05"), ("parallel.stage=2", "training.accumulate=2")),
    "moments": (
        ("model=cnn", "model.dropout=0", "optimizer=sgd", "precision=bf16", *STEPS),
        ("parallel.stage=1",),
    ),
    "cut": (
        (*WEIGHTS, "training.max_steps=4"),
        ("parallel.stage=3", "training.accumulate=2", "memory=checkpointing"),
    ),
}
"""Runs, and what their ranks do in another way. The first has one batch to judge by, Llama's embeddings are one matrix,
cnn has batch norms; the last is the first one, cut in the middle."""


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    """As the suite's, with DeepSpeed, which each rank would import anew; not where that may start CUDA before a fork."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DS_ACCELERATOR", "cpu")  # else it looks for others, and says that there are none
        server = Warm(also=() if torch.cuda.is_available() else ("deepspeed",))
    yield server
    server.close()


@pytest.fixture(scope="module")
def ran(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Outcome]]:
    folder = tmp_path_factory.mktemp("deepspeed")
    outcomes = {}
    for name, (words, otherwise) in RUNS.items():
        (folder / name).mkdir()
        outcomes[name] = warm(*COMMON, *words, *otherwise, cwd=folder / name)
        assert outcomes[name].returncode == 0, outcomes[name].stderr
    return folder, outcomes


@pytest.mark.parametrize(
    ("name", "engine", "tolerance"),
    [("weights", "ZeRO-3", 2e-6), ("gradients", "ZeRO-2", 2e-6), ("moments", "ZeRO-1", 5e-3)],
)
def test_the_engine_has_the_curve_of_one_process(
    ran: tuple[Path, dict[str, Outcome]], name: str, engine: str, tolerance: float, tmp_path: Path
) -> None:
    folder, outcomes = ran
    assert outcomes[name].stderr == ""
    assert f"{engine}, 2 parts\n" in outcomes[name].stdout
    assert "parallel  DeepSpeed " in outcomes[name].stdout
    words, _ = RUNS[name]
    fit(tmp_path, *words, "scheduler=constant")
    both = folder / name / "run"
    for metric in ("train/loss", "val/loss"):
        assert curve(both, metric) == pytest.approx(curve(tmp_path, metric), rel=tolerance)
    assert values(both)[-1] < values(both)[0]
    results = [json.loads((each / "result.json").read_text()) for each in (tmp_path, both)]
    assert results[0]["parameters"] == results[1]["parameters"]
    assert results[1]["world_size"] == 2


def test_each_rank_has_half(ran: tuple[Path, dict[str, Outcome]]) -> None:
    """Of the weights in stage 3, of the moments alone in stage 2."""
    for name, split in (("weights", True), ("gradients", False)):
        last = (ran[0] / name / "run" / "checkpoints" / "last").resolve()
        pieces = json.loads((last / "manifest.json").read_text())["pieces"]
        sizes = [int(torch.Size(each["shape"]).numel()) for each in pieces.values()]
        written = [held(last / f"rank-{rank}.safetensors") for rank in (0, 1)]
        assert sum(written) == sum(sizes)
        assert min(written) > 0.49 * sum(sizes)
        assert any(path.startswith("parts/main/model/") for path in pieces) == split


def test_a_run_that_was_cut_goes_on_bit_for_bit(
    ran: tuple[Path, dict[str, Outcome]], warm: Warm, tmp_path: Path
) -> None:
    shutil.copytree(ran[0] / "cut" / "run", tmp_path / "run", symlinks=True)
    resumed = warm("resume=run", "training.max_steps=8", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    straight = ran[0] / "weights" / "run"
    assert lines(tmp_path / "run") == lines(straight)
    assert model(tmp_path / "run") == model(straight)
    ours, theirs = state(tmp_path / "run"), state(straight)
    assert any("exp_avg" in path for path in ours)
    assert ours == theirs


def test_a_run_moves_between_engines(ran: tuple[Path, dict[str, Outcome]], warm: Warm, tmp_path: Path) -> None:
    """DeepSpeed's three parts, torch's two, DeepSpeed's again with moments alone split, and one process."""
    shutil.copytree(ran[0] / "weights" / "run", tmp_path / "run", symlinks=True)
    moves = ("parallel=zero3",), ("parallel=deepspeed", "parallel.stage=1"), ("parallel=single",)
    for number, words in enumerate(moves, start=3):
        moved = warm("resume=run", *words, f"training.max_steps={4 * number}", cwd=tmp_path)
        assert moved.returncode == 0, moved.stderr
    words = [word for word in RUNS["weights"][0] if "max_steps" not in word]
    fit(tmp_path / "whole", *words, "training.max_steps=20", "scheduler=constant")
    assert curve(tmp_path / "run") == pytest.approx(curve(tmp_path / "whole"), rel=5e-6)


REFUSED = {
    ("optimizer=adafactor",): "optimizer: Adafactor needs full params, which a rank of DeepSpeed does not have",
    ("regularization=[ema]",): "ema needs full params, and DeepSpeed has none",
    ("parallel.stage=4",): "parallel.stage=4: expected 1 or 2 or 3",
}


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_what_can_not_work_is_refused_by_name(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as refusal:
        config_of("parallel=deepspeed", *words)
    assert REFUSED[words] in str(refusal.value)


def test_half_precision_is_refused_before_there_is_a_rank(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="precision=fp16: DeepSpeed's ranks share no loss scale"):
        fit(tmp_path, "parallel=deepspeed", "precision=fp16", "parallel.num_processes=1")


def test_where_it_is_not_installed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(
        ConfigError, match=r"DeepSpeed needs deepspeed, .*: pip install 'training-launcher\[deepspeed\]'"
    ):
        config_of("parallel=deepspeed")
    config_of("parallel=zero3")


def test_one_process_of_it_is_one_process(tmp_path: Path) -> None:
    words = ("training.max_steps=5", "training.clip_norm=1")
    fit(tmp_path / "engine", "parallel=deepspeed", "parallel.num_processes=1", *words)
    fit(tmp_path / "single", *words)
    assert values(tmp_path / "engine") == values(tmp_path / "single")


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (1, 3, 1, 2), ()])
def test_a_run_of_a_flat_tensor_is_blocks_of_the_whole(shape: tuple[int, ...]) -> None:
    tensor = torch.arange(torch.Size(shape).numel()).view(shape)
    for start in range(tensor.numel()):
        for length in range(tensor.numel() - start + 1):
            found = run_blocks(shape, start, length)
            cut = [tensor[tuple(slice(o, o + s) for o, s in zip(offset, size, strict=True))] for offset, size in found]
            flat = torch.cat([each.reshape(-1) for each in cut]) if cut else tensor.reshape(-1)[:0]
            assert torch.equal(flat, tensor.reshape(-1)[start : start + length])
            assert len(found) <= max(1, 2 * len(shape) - 1)
