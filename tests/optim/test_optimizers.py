"""Every entry of conf/optimizer: beside its paper's formula, beside a reference library, saved, in bfloat16, on digits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor, nn

from launcher import CONF
from launcher.artifacts.checkpoint.checkpoints import Checkpoints
from launcher.artifacts.checkpoint.tensors import pack, unpack
from launcher.errors import ConfigError
from launcher.optim.base import PORTION, portions
from launcher.optim.build import guard, optimizer_of
from launcher.optim.muon import orthogonalize
from tests.conftest import Launch
from tests.support.runs import build, train

ENTRIES = sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml"))
Node = dict[str, Any]
Gradients = list[Tensor]


def node(entry: str) -> Node:
    found: Node = yaml.safe_load((CONF / "optimizer" / f"{entry}.yaml").read_text())
    return found


def made(entry: str, weights: list[nn.Parameter], **options: Any) -> torch.optim.Optimizer:
    return guard(optimizer_of(OmegaConf.create(node(entry) | options))[0](weights))


def tensors(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def stepped(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], num: int, first: int = 0) -> list[Tensor]:
    """The weights after `num` steps with gradients that depend on the number of the step alone."""
    for step in range(first, first + num):
        drawn = tensors(*(tuple(weight.shape) for weight in weights), seed=1000 + step)
        for weight, gradient in zip(weights, drawn, strict=True):
            weight.grad = torch.empty_like(weight).copy_(gradient * (1 + step % 3))  # laid out as autograd does it
        optimizer.step()
    return [weight.detach().clone() for weight in weights]


# -- the formulas, each for one weight tensor and its gradients, in float64


def sgd(w: Tensor, gradients: Gradients, c: Node) -> Tensor:
    momentum = torch.zeros_like(w)
    for g in gradients:
        momentum = c["momentum"] * momentum + g
        w = w - c["lr"] * (g + c["momentum"] * momentum)
    return w


def adamw(w: Tensor, gradients: Gradients, c: Node) -> Tensor:
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    b1, b2 = c["betas"]
    for t, g in enumerate(gradients, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        step = (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + c["eps"])
        w = w - c["lr"] * (step + c["weight_decay"] * w)
    return w


def adam(w: Tensor, gradients: Gradients, c: Node) -> Tensor:
    assert c["weight_decay"] == 0
    return adamw(w, gradients, c)


def lion(w: Tensor, gradients: Gradients, c: Node) -> Tensor:
    m = torch.zeros_like(w)
    b1, b2 = c["betas"]
    for g in gradients:
        w = w - c["lr"] * ((b1 * m + (1 - b1) * g).sign() + c["weight_decay"] * w)
        m = b2 * m + (1 - b2) * g
    return w


def adafactor(w: Tensor, gradients: Gradients, c: Node) -> Tensor:
    def rms(x: Tensor) -> Tensor:
        return x.square().mean().sqrt()

    flat = w.flatten(1) if w.ndim > 1 else w
    row, column, v = torch.zeros(len(flat)), torch.zeros(flat.shape[-1]), torch.zeros_like(flat)
    for t, gradient in enumerate(gradients, start=1):
        g = gradient.view_as(flat)
        b2 = 1 - t ** -c["decay_rate"]
        if w.ndim > 1:
            square = g**2 + c["eps"][0]
            row = b2 * row + (1 - b2) * square.sum(dim=1)
            column = b2 * column + (1 - b2) * square.sum(dim=0)
            estimate = torch.outer(row, column) / row.sum()
        else:
            v = b2 * v + (1 - b2) * (g**2 + c["eps"][0])
            estimate = v
        u = g / estimate.sqrt()
        u = u / max(1.0, float(rms(u)) / c["clip_threshold"])
        flat = flat - max(c["eps"][1], float(rms(flat))) * min(c["lr"], t**-0.5) * u
    return flat.view_as(w)


def muon(w: Tensor, gradients: Gradients, c: Node) -> Tensor:
    if w.ndim == 1:
        return adamw(w, gradients, c | {"betas": c["adamw_betas"], "eps": c["adamw_eps"]})
    flat, m = w.flatten(1), torch.zeros_like(w.flatten(1))
    for gradient in gradients:
        g = gradient.flatten(1)
        m = c["momentum"] * m + (1 - c["momentum"]) * g
        x = c["momentum"] * m + (1 - c["momentum"]) * g
        x = x / x.norm()
        for _ in range(c["num_iterations"]):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        flat = flat - c["lr"] * (0.2 * max(flat.shape) ** 0.5 * x + c["weight_decay"] * flat)
    return flat.view_as(w)


def schedule_free(w: Tensor, gradients: Gradients, c: Node) -> Tensor:
    """The y that the parameters hold; x stands here as in the paper."""
    x, z, v, y = w, w, torch.zeros_like(w), w
    b1, b2 = c["betas"]
    for t, g in enumerate(gradients, start=1):
        v = b2 * v + (1 - b2) * g**2
        z = z - c["lr"] * (g / ((v / (1 - b2**t)).sqrt() + c["eps"]) + c["weight_decay"] * y)
        x = (1 - 1 / t) * x + z / t
        y = (1 - b1) * z + b1 * x
    return y


FORMULAS: dict[str, Callable[[Tensor, Gradients, Node], Tensor]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "lion": lion,
    "adafactor": adafactor,
    "muon": muon,
    "adamw_8bit": adamw,
    "schedule_free": schedule_free,
}


def test_every_entry_has_its_formula() -> None:
    assert sorted(FORMULAS) == ENTRIES


@pytest.mark.parametrize("num", [1, 4])
@pytest.mark.parametrize("entry", ENTRIES)
def test_steps_are_the_papers(entry: str, num: int) -> None:
    """A matrix, a wide one, a vector and a convolution; eight bits are compared where they are not yet rounded."""
    quantised = entry == "adamw_8bit"
    dtype = torch.float32 if quantised else torch.float64
    shapes = ((7, 5), (3, 11), (6,), (4, 3, 2, 2))
    first = tensors(*shapes, dtype=dtype)
    weights = [nn.Parameter(weight.clone()) for weight in first]
    found = stepped(made(entry, weights), weights, num)
    torch.set_default_dtype(torch.float64)
    try:
        drawn = [tensors(*shapes, seed=1000 + step) for step in range(num)]
        for index, start in enumerate(first):
            gradients = [(step[index] * (1 + number % 3)).to(dtype).double() for number, step in enumerate(drawn)]
            expected = FORMULAS[entry](start.double(), gradients, node(entry))
            tolerance = 2e-6 if quantised else 1e-12
            torch.testing.assert_close(found[index].double(), expected, rtol=tolerance, atol=tolerance)
            assert not torch.equal(found[index], start)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry not in ("adamw_8bit",)])
def test_a_tensor_of_several_portions_is_updated_whole(entry: str) -> None:
    """What is cut for the cache comes out as in one piece, and tensors laid out differently are no exception."""
    size = PORTION * torch.get_num_threads() + 1000
    whole, part = tensors((1, size), (1, 40), dtype=torch.float32)
    weights = [nn.Parameter(whole), nn.Parameter(part), nn.Parameter(torch.ones(30, 20).t())]
    found = stepped(made(entry, weights), weights, 2)
    double = [nn.Parameter(weight.double()) for weight in tensors((1, size), (1, 40), dtype=torch.float32)]
    double.append(nn.Parameter(torch.ones(20, 30, dtype=torch.float64)))
    expected = stepped(made(entry, double), double, 2)
    for ours, theirs in zip(found, expected, strict=True):
        # The sign of a sum that is zero to rounding, and products in bfloat16, may differ.
        near = (ours - theirs).abs() < 1e-4 * (1 + theirs.abs())
        assert near.double().mean() > (0.97 if entry == "muon" else 0.99999)


def test_portions_hold_every_element_once() -> None:
    most = PORTION * torch.get_num_threads()
    shapes = ((10,), (most,), (3 * most + 1,), (5, 5), (2, most))
    first = [torch.zeros(shape) for shape in shapes]
    second = [torch.ones(shape) for shape in shapes]
    count = 0
    for ones, zeros in portions(second, first):
        count += 1
        assert sum(each.numel() for each in ones) <= most
        torch._foreach_add_(zeros, ones)
    assert all(torch.equal(each, torch.ones(shape)) for each, shape in zip(first, shapes, strict=True))
    assert count == 1 + 1 + 4 + 2 + 1


# -- beside a reference library


def reference(entry: str, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    c = node(entry)
    if entry == "sgd":
        return torch.optim.SGD(weights, lr=c["lr"], momentum=c["momentum"], nesterov=True, foreach=False)
    if entry == "adam":
        return torch.optim.Adam(weights, lr=c["lr"], foreach=False)
    if entry in ("adamw", "adamw_8bit"):
        return torch.optim.AdamW(weights, lr=c["lr"], weight_decay=c["weight_decay"], foreach=False)
    if entry == "lion":
        from pytorch_optimizer import Lion

        return Lion(weights, lr=c["lr"], betas=tuple(c["betas"]), weight_decay=c["weight_decay"], foreach=False)
    if entry == "adafactor":
        from transformers import Adafactor

        return Adafactor(weights, lr=c["lr"], scale_parameter=True, relative_step=False, warmup_init=False)
    if entry == "muon":
        return torch.optim.Muon(
            weights,
            lr=c["lr"],
            momentum=c["momentum"],
            weight_decay=c["weight_decay"],
            adjust_lr_fn="match_rms_adamw",
        )
    from schedulefree import AdamWScheduleFree

    assert entry == "schedule_free"
    optimizer: Any = AdamWScheduleFree(weights, lr=c["lr"], betas=tuple(c["betas"]), weight_decay=c["weight_decay"])
    optimizer.train()
    return optimizer


TOLERANCE = {"muon": 0.02, "adamw_8bit": 0.15}
"""Of the way that the weights go in 50 steps: bfloat16 inside the reference's iteration, eight bits. Else: rounding."""


@pytest.mark.parametrize("entry", ENTRIES)
def test_fifty_steps_are_those_of_a_reference_library(entry: str) -> None:
    shapes = ((40, 120), (120, 40)) + (() if entry == "muon" else ((50,),))
    first = tensors(*shapes, dtype=torch.float32)
    ours, theirs = ([nn.Parameter(weight.clone()) for weight in first] for _ in range(2))
    found = stepped(made(entry, ours), ours, 50)
    expected = stepped(reference(entry, theirs), theirs, 50)
    for start, mine, other in zip(first, found, expected, strict=True):
        way = (other - start).norm()
        assert (mine - other).norm() < TOLERANCE.get(entry, 1e-5) * way
        assert way > 0


# -- state


@pytest.mark.parametrize("entry", ENTRIES)
def test_state_is_saved_and_restored_bit_for_bit(entry: str) -> None:
    shapes = ((80, 60), (30,), (4, 3, 2, 2))
    weights = [nn.Parameter(weight) for weight in tensors(*shapes, dtype=torch.float32)]
    optimizer = made(entry, weights)
    middle = stepped(optimizer, weights, 5)
    tree, packed = pack(optimizer.state_dict())
    kept = {name: tensor.clone() for name, tensor in packed.items()}
    end = stepped(optimizer, weights, 5, first=5)

    again = [nn.Parameter(weight) for weight in middle]
    resumed = made(entry, again)
    resumed.load_state_dict(unpack(json.loads(json.dumps(tree)), kept))
    for ours, theirs in zip(end, stepped(resumed, again, 5, first=5), strict=True):
        assert torch.equal(ours, theirs)


BYTES = {
    "sgd": 4.0,
    "adam": 8.0,
    "adamw": 8.0,
    "lion": 4.0,
    "adafactor": 0.0234,
    "muon": 4.0,
    "adamw_8bit": 2.04,
    "schedule_free": 8.0,
}
"""Of state a weight, of a matrix 512 x 256 in float32."""


@pytest.mark.parametrize("entry", ENTRIES)
def test_state_takes_the_memory_that_the_paper_promises(entry: str) -> None:
    weight = nn.Parameter(torch.randn(512, 256))
    optimizer = made(entry, [weight])
    stepped(optimizer, [weight], 1)
    size = sum(
        value.numel() * value.element_size()
        for name, value in optimizer.state[weight].items()
        if isinstance(value, Tensor) and not name.startswith("qmap")  # bitsandbytes' table, shared by all weights
    )
    assert size / weight.numel() == pytest.approx(BYTES[entry], rel=0.01)


def test_lion_holds_one_tensor_and_adafactor_a_row_and_a_column() -> None:
    weight = nn.Parameter(torch.randn(20, 30, 3, 3))
    for entry, shapes in (("lion", [(20, 30, 3, 3)]), ("adafactor", [(20,), (270,)])):
        optimizer = made(entry, [weight])
        stepped(optimizer, [weight], 1)
        tensors_of = [value for value in optimizer.state[weight].values() if isinstance(value, Tensor)]
        assert [tuple(value.shape) for value in tensors_of] == shapes


@pytest.mark.parametrize("entry", ENTRIES)
def test_weights_in_bfloat16_descend(entry: str) -> None:
    target = tensors((64, 80), dtype=torch.float32)[0]
    weight, bias = nn.Parameter(torch.zeros(64, 80, dtype=torch.bfloat16)), nn.Parameter(torch.zeros(80).bfloat16())
    # Adafactor's steps are shares of the weight, which is zero here: without them its rate is one as the others'.
    options = {"scale_parameter": False} if entry == "adafactor" else {}
    optimizer = made(entry, [weight, bias], lr=0.02 if entry == "sgd" else 0.05, weight_decay=0.0, **options)
    losses = []
    for _ in range(60):
        loss = (weight.float() - target).square().sum() + (bias.float() - 0.5).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert weight.dtype == bias.dtype == torch.bfloat16
    assert losses[-1] < 0.6 * losses[0]


def test_gradients_are_left_as_they_are() -> None:
    for entry in ENTRIES:
        weights = [nn.Parameter(torch.randn(9, 4)), nn.Parameter(torch.randn(5))]
        gradients = [torch.randn_like(weight) for weight in weights]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient.clone()
        made(entry, weights).step()
        assert all(torch.equal(weight.grad, kept) for weight, kept in zip(weights, gradients, strict=True)), entry  # type: ignore[arg-type]


@pytest.mark.parametrize("entry", ENTRIES)
def test_it_learns_digits(entry: str, tmp_path: Path) -> None:
    run = train(build(tmp_path, f"optimizer={entry}", "model=mlp", "training.max_epochs=5"))
    assert run.best.metrics["val/accuracy"] > 0.9  # ten classes: chance is 0.1


# -- what is special to one


def test_muon_makes_matrices_orthogonal_and_leaves_the_rest_to_adamw(tmp_path: Path) -> None:
    values = torch.linalg.svdvals(orthogonalize(torch.randn(3, 60, 20, dtype=torch.float64)))
    assert 0.6 < values.min() < values.max() < 1.3
    run = build(tmp_path, "optimizer=muon", "model=mlp")
    names = {id(weight): name for name, weight in run.main.model.named_parameters()}
    found = {
        names[id(weight)]: group["role"] for group in run.main.optimizer.param_groups for weight in group["params"]
    }
    assert [name for name, role in found.items() if role == "matrix"] == ["body.2.weight"]
    run.settings.max_steps = run.plan.total_steps = 2
    train(run)
    states = {names[id(weight)]: set(state) for weight, state in run.main.optimizer.state.items()}
    assert states["body.2.weight"] == {"momentum"}
    assert states["body.0.weight"] == {"step", "exp_avg", "exp_avg_sq"}
    assert states["head.weight"] == {"step", "exp_avg", "exp_avg_sq"}


@pytest.mark.parametrize("shape", [(40, 60), (150, 300), (2, 200, 130)])
def test_the_iteration_is_the_same_in_whatever_this_processor_multiplies_fast(shape: tuple[int, ...]) -> None:
    (matrices,) = tensors(shape)
    exact, found = orthogonalize(matrices), orthogonalize(matrices.float())
    assert found.shape == exact.shape
    assert (found - exact).norm() < 0.03 * exact.norm()


def test_schedule_free_judges_and_exports_the_average(launch: Launch, tmp_path: Path) -> None:
    words = ["model=mlp", "scheduler=constant", "training.max_epochs=2", "tracker=[]"]
    outcome = launch("optimizer=schedule_free", *words)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.folder is not None
    result = json.loads((outcome.folder / "result.json").read_text())
    state = Checkpoints(outcome.folder / "checkpoints", 2).load(result["best_step"])["parts"]["main"]
    run = build(tmp_path / "again", "optimizer=schedule_free", *words[:2])
    run.main.model.load_state_dict(state["model"])
    run.main.optimizer.load_state_dict(state["optimizer"])
    exported = load_file(outcome.folder / "model" / "model.safetensors")
    for name, trained in run.main.model.named_parameters():
        z = run.main.optimizer.state[trained]["z"]
        average = (trained - (1 - 0.9) * z) / 0.9  # y = (1 - beta1) z + beta1 x
        torch.testing.assert_close(exported[name], average.detach(), rtol=1e-5, atol=1e-6)
        assert (exported[name] - trained).abs().max() > 1e-4
    assert launch("action=evaluate", f"run={outcome.folder}").returncode == 0
    told = json.loads((outcome.folder / "evaluation.json").read_text())
    assert told["metrics"]["val/loss"] == pytest.approx(result["metrics"]["val/loss"], rel=1e-6)


def test_eight_bits_spare_embeddings(tmp_path: Path) -> None:
    words = ["task=text_classification", "model=transformer", "optimizer=adamw_8bit", "training.max_steps=1"]
    run = train(build(tmp_path, *words))
    names = {id(weight): name for name, weight in run.main.model.named_parameters()}
    kinds = {names[id(weight)]: state["state1"].dtype for weight, state in run.main.optimizer.state.items()}
    assert kinds["tokens.weight"] == torch.float32
    assert kinds["blocks.0.qkv.weight"] == torch.uint8


def test_options_that_no_parameter_takes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'haed' matches no parameter. Did you mean 'head'"):
        build(tmp_path, "model=mlp", "optimizer.groups={haed:{lr:0.1}}")
