"""Pipelines of two and four processes: the curve of one process, whole checkpoints, and the bubble beside its formula."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from launcher.errors import TrainingError
from launcher.parallel.pipeline import Pipeline
from launcher.parallel.pipeline_stage import alike
from launcher.tasks.models.mlp import MLP
from launcher.tasks.stages import in_stages
from tests.conftest import Launch
from tests.support.fits import curve, fit
from tests.support.harness import Outcome, Warm
from tests.support.sameness import assert_same
from tests.support.slots import TRUST, noted, waiting

RUN = ("tracker=[]", "training.log_every=1", "training.max_steps=8", "training.clip_norm=0.5", "training.eval_every=4")
DEEP = ("model=mlp", "model.depth=4")
TEXT = (
    "task=text_classification",
    "data=stdlib_snippets",
    "model=transformer",
    "model.dropout=0",
    "model.attention_dropout=0",
    "model.width=32",
)
NOTED = ("task._target_=tests.support.slots.Noted", "+task.path=slots")
LLAMA = ("task=pretrain_clm", "model=llama", "model.width=32", "model.depth=3", "training.batch_size=8")
PIPELINES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "1f1b": (DEEP, ("monitor=[bubble]", *NOTED)),
    "gpipe": (DEEP, ("parallel.schedule=gpipe", "training.accumulate=2", *NOTED)),
    "interleaved": (DEEP, ("parallel.schedule=interleaved", "monitor=[bubble]", *NOTED)),
    "copies": (TEXT, ("parallel.num_processes=4", "parallel.num_stages=2")),
    "batch norm": (("model=cnn", "model.dropout=0", "training.accumulate=4"), ("training.accumulate=1",)),
    "pictures": (("model=vit", "model.dropout=0", "model.width=16", "model.depth=2"), ()),
    "texts of their own lengths": (
        (*TEXT, "task.max_length=400", "validation.fraction=0.05", "training.batch_size=8", "model.depth=1"),
        ("parallel.num_microbatches=2", "training.accumulate=2"),
    ),
    "tied embeddings": (LLAMA, ("parallel.schedule=interleaved",)),
}
"""What one process does, and what two do in another way. Batch norms see a portion at a time, in both."""


class Ran(NamedTuple):
    outcomes: dict[str, Outcome]
    folder: Path


def changed(words: tuple[str, ...], otherwise: tuple[str, ...]) -> list[str]:
    keys = {word.partition("=")[0] for word in otherwise}
    return [*(word for word in words if word.partition("=")[0] not in keys), *otherwise]


@pytest.fixture(scope="module")
def ran(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("pipeline")
    outcomes = {}
    for name, (words, otherwise) in PIPELINES.items():
        (folder / name).mkdir()
        given = ("parallel=pipeline", *RUN, "hydra.run.dir=run")
        outcomes[name] = warm(*given, *changed(words, otherwise), cwd=folder / name, env=TRUST)
    return Ran(outcomes, folder)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_has_the_curve_of_one_process(ran: Ran, name: str, tmp_path: Path) -> None:
    outcome = ran.outcomes[name]
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == ""
    run = ran.folder / name / "run"
    fit(tmp_path, *RUN[1:], *PIPELINES[name][0])
    for metric in ("train/loss", "val/loss"):
        assert curve(run, metric) == pytest.approx(curve(tmp_path, metric), rel=1e-5)
    mine, theirs = (load_file(each / "model" / "model.safetensors") for each in (tmp_path, run))
    assert mine.keys() == theirs.keys()
    assert all(torch.allclose(mine[key], theirs[key], rtol=1e-2, atol=1e-4) for key in mine)


@pytest.mark.parametrize(("name", "formula"), [("1f1b", 1 / 5), ("interleaved", 1 / 9)])
def test_the_bubble_stands_beside_the_formula(ran: Ran, name: str, formula: float) -> None:
    run = ran.folder / name / "run"
    assert set(curve(run, "pipeline/bubble_formula").values()) == {formula}
    assert all(0 < share < 1 for share in curve(run, "pipeline/bubble").values())


@pytest.mark.parametrize(
    ("name", "stages", "portions", "kept"), [("1f1b", 2, 4, 2), ("gpipe", 2, 8, 8), ("interleaved", 4, 4, 5)]
)
def test_stages_compute_in_the_order_that_the_formula_is_of(
    ran: Ran, name: str, stages: int, portions: int, kept: int
) -> None:
    """What was computed when in the last step, were every slot as long. `kept` is of the first process, at the most:
    portions that have passed and wait for their backward pass, of GPipe all of them."""
    each = stages * portions  # a forward and a backward slot of a portion, in half of the stages
    orders = [noted(ran.folder / name / f"slots-{rank}")[-each:] for rank in (0, 1)]
    assert waiting(orders, stages) == pytest.approx(1 / (stages // 2 * portions + 1))
    waited = list(accumulate(-1 if slot.backward else 1 for slot in orders[0]))
    assert (max(waited), waited[-1]) == (kept, 0)
    planned = Pipeline.shares(
        {
            "num_processes": 2,
            "num_stages": None,
            "schedule": name,
            "num_microbatches": portions,
            "stages_per_process": 2,
        }
    )
    assert planned.activations == stages * portions / kept, "what action=plan counts by"


@pytest.mark.parametrize(("name", "writers"), [("1f1b", {0, 1}), ("copies", {0, 2}), ("tied embeddings", {0, 1})])
def test_each_process_writes_its_own_stages(ran: Ran, name: str, writers: set[int]) -> None:
    """Of copies the first; a tensor once, also one that two stages share. Nothing but descriptions is sent for it."""
    last = (ran.folder / name / "run" / "checkpoints" / "last").resolve()
    pieces = json.loads((last / "manifest.json").read_text())["pieces"]
    files = [[file for file, _ in each["parts"]] for each in pieces.values()]
    assert all(len(each) == 1 for each in files)
    assert {each[0] for each in files} == {f"rank-{rank}.safetensors" for rank in writers}
    held = [sum(each.numel() for each in load_file(last / f"rank-{rank}.safetensors").values()) for rank in writers]
    assert max(held) < 0.75 * sum(held)


def test_a_pipeline_that_was_cut_goes_on_bit_for_bit(launch: Launch, tmp_path: Path) -> None:
    """With dropout: the pass that learns shapes, once in each process, leaves the generators as they were."""
    words = ["parallel=pipeline", *RUN, *DEEP, "model.dropout=0.2"]
    assert (
        launch(*changed(tuple(words), ("training.max_steps=4",)), "scheduler=constant", "hydra.run.dir=cut").returncode
        == 0
    )
    assert launch(*words, "scheduler=constant", "hydra.run.dir=whole").returncode == 0
    resumed = launch("resume=cut", "training.max_steps=8")
    assert resumed.returncode == 0, resumed.stderr
    assert_same(tmp_path / "cut", tmp_path / "whole", but=("recorder",))


def test_a_run_moves_into_a_pipeline_and_out_of_it(launch: Launch, tmp_path: Path) -> None:
    words = ("scheduler=constant", *RUN, *DEEP)
    assert launch(*changed(words, ("training.max_steps=3",)), "hydra.run.dir=run").returncode == 0
    for steps, parallel in ((6, "pipeline"), (8, "single")):
        moved = launch("resume=run", f"training.max_steps={steps}", f"parallel={parallel}")
        assert moved.returncode == 0, moved.stderr
    fit(tmp_path / "straight", "scheduler=constant", *RUN[1:], *DEEP)
    assert curve(tmp_path / "run") == pytest.approx(curve(tmp_path / "straight"), rel=1e-5)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["world_size"] == 1


def test_batches_of_other_shapes_are_refused_by_name() -> None:
    """Of samples that do not know how to be `evened`."""
    batches = [{"x": torch.zeros(4, 7), "y": torch.zeros(4)}, {"x": torch.zeros(4, 9), "y": torch.zeros(4)}]
    assert [each.device.type for each in alike(batches[:1])[0].values()] == ["meta", "meta"]
    with pytest.raises(TrainingError, match=r"x of a batch has the shape \[4, 9\], and of the first one \[4, 7\]"):
        alike(batches)


def test_stages_are_as_even_as_can_be() -> None:
    model = MLP(input_shape=(10,), num_outputs=3, width=8, depth=3)  # 88, 72, 72 and 27 parameters
    sizes = [
        [sum(p.numel() for p in stage.parameters()) for stage in in_stages(model, num, "x")] for num in (1, 2, 3, 4)
    ]
    assert sizes == [[259], [160, 99], [88, 72, 99], [88, 72, 72, 27]]
    x = torch.randn(5, 10)
    found = None
    for stage in in_stages(model, 3, "x"):
        found = stage(found, {"x": x})
    assert found is not None
    assert torch.equal(found, model(x))
