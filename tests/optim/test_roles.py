"""The role of each parameter, and options of the optimizer by role and pattern."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from launcher import CONF
from launcher.errors import ConfigError
from launcher.optim.groups import param_groups, roles
from launcher.tasks.models.llama import llama
from launcher.tasks.models.mlp import MLP
from launcher.tasks.models.transformer import Transformer
from launcher.tasks.models.vit import ViT
from tests.support.fits import config_of, fit
from tests.support.harness import ROOT
from tests.support.runs import build


def shown(groups: list[dict[str, Any]], model: nn.Module) -> list[tuple[dict[str, Any], set[str]]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [
        (
            {key: value for key, value in group.items() if key != "params"},
            {names[id(parameter)] for parameter in group["params"]},
        )
        for group in groups
    ]


def test_a_transformer_has_one_of_each() -> None:
    found = roles(Transformer(50, 3, 16, width=8, depth=1, num_heads=2))
    assert found == {
        "tokens.weight": "embedding",
        "positions.weight": "embedding",
        **{f"blocks.0.{name}.{part}": "norm" for name in ("norm1", "norm2") for part in ("weight", "bias")},
        **{f"blocks.0.{name}.weight": "matrix" for name in ("qkv", "out", "mlp.0", "mlp.3")},
        **{f"blocks.0.{name}.bias": "bias" for name in ("qkv", "out", "mlp.0", "mlp.3")},
        "norm.weight": "norm",
        "norm.bias": "norm",
        "head.weight": "head",
        "head.bias": "head",
    }


def test_positions_are_embeddings_and_patches_the_input() -> None:
    found = roles(ViT((1, 8, 8), 10, width=8, depth=1, num_heads=2))
    assert found["positions"] == "embedding"
    assert found["patches.weight"] == "input"
    assert found["patches.bias"] == "bias"
    assert found["head.weight"] == "head"


SHIPPED: dict[str, tuple[tuple[str, ...], dict[str, set[str]]]] = {
    "mlp": ((), {"input": {"body.0.weight"}, "matrix": {"body.2.weight"}, "head": {"head.weight", "head.bias"}}),
    "cnn": (
        (),
        {
            "input": {"body.0.weight"},
            "matrix": {f"body.{index}.weight" for index in (3, 7, 10)},
            "head": {"head.weight", "head.bias"},
        },
    ),
    "vit": (
        ("model.depth=1",),
        {
            "input": {"patches.weight"},
            "embedding": {"positions"},
            "matrix": {f"blocks.0.{name}.weight" for name in ("qkv", "out", "mlp.0", "mlp.3")},
            "head": {"head.weight", "head.bias"},
        },
    ),
    "transformer": (
        ("task=text_classification", "data=stdlib_snippets", "model.depth=1"),
        {
            "embedding": {"tokens.weight", "positions.weight"},
            "matrix": {f"blocks.0.{name}.weight" for name in ("qkv", "out", "mlp.0", "mlp.3")},
            "head": {"head.weight", "head.bias"},
        },
    ),
    "llama": (
        ("task=pretrain_clm", "model.depth=1", "model.tie_embeddings=false", "task.tokenizer=bytes"),
        {
            "embedding": {"model.embed_tokens.weight"},
            "matrix": {
                f"model.layers.0.{name}.weight"
                for name in (
                    *(f"self_attn.{letter}_proj" for letter in "qkvo"),
                    *(f"mlp.{word}_proj" for word in ("gate", "up", "down")),
                )
            },
            "head": {"lm_head.weight"},
        },
    ),
}
"""Of each shipped network as its task makes it: who has which role; what is not named is a bias or a norm."""


def test_every_shipped_network_is_among_them() -> None:
    """But for `hub`, whose networks are others'."""
    networks = {path.stem for path in (CONF / "model").glob("*.yaml") if "launcher.tasks.models" in path.read_text()}
    assert networks - {"hub"} == set(SHIPPED)


@pytest.mark.parametrize("entry", SHIPPED)
def test_roles_of_what_is_shipped_and_muon_trains_what_lies_between(entry: str, tmp_path: Path) -> None:
    words, expected = SHIPPED[entry]
    run = build(tmp_path, *words, f"model={entry}", "optimizer=muon")
    model = run.main.model
    found: dict[str, set[str]] = {}
    for name, role in roles(model).items():
        found.setdefault(role, set()).add(name)
    assert {role: names for role, names in found.items() if role not in ("bias", "norm")} == expected
    groups = shown(run.main.optimizer.param_groups, model)
    assert set().union(*(names for group, names in groups if group["role"] == "matrix")) == expected["matrix"]


def test_a_lone_layer_is_the_last_one() -> None:
    assert roles(nn.Linear(3, 2)) == {"weight": "head", "bias": "head"}


def test_commands_of_the_page_are_taken_by_the_default_model(tmp_path: Path) -> None:
    """Those that give groups options of their own, each as it stands there."""
    page = (ROOT / "docs" / "optimizers.md").read_text(encoding="utf-8")
    commands = [
        shlex.split(line)[3:] for line in page.splitlines() if line.startswith("python -m") and "groups" in line
    ]
    assert len(commands) == 2
    for number, words in enumerate(commands):
        chosen = next(word for word in words if word.startswith("optimizer.groups="))
        given = config_of(*words).optimizer.groups
        run = build(tmp_path / str(number), "model=cnn", *words)
        full = zip(run.main.optimizer.param_groups, run.main.scheduler.first, strict=True)
        rates = {group["name"]: rate for group, rate in full if "name" in group}
        assert rates == {key: options["lr"] for key, options in given.items() if "lr" in options}, chosen


def test_models_of_transformers_name_their_head_and_their_norms() -> None:
    sizes = {"vocab_size": 32, "max_length": 8, "eos_token_id": 0, "width": 16, "depth": 1, "num_heads": 2}
    found = roles(llama(**sizes, tie_embeddings=False))  # type: ignore[arg-type]
    assert found["model.embed_tokens.weight"] == "embedding"
    assert {role for name, role in found.items() if "norm" in name} == {"norm"}
    assert [name for name, role in found.items() if role == "head"] == ["lm_head.weight"]
    tied = roles(llama(**sizes, tie_embeddings=True))  # type: ignore[arg-type]
    assert "head" not in tied.values()


def test_shared_weights_are_what_they_are_first() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(5, 4)
            self.body = nn.Linear(4, 4)
            self.head = nn.Linear(4, 5, bias=False)
            self.head.weight = self.embedding.weight

    assert roles(Tied()) == {"embedding.weight": "embedding", "body.weight": "matrix", "body.bias": "bias"}


def test_options_by_role_and_pattern_and_the_later_one_decides() -> None:
    model = MLP((4,), 3, width=5, depth=2)
    options = {"head": {"lr": 1.0, "weight_decay": 0.5}, "body.0.*": {"lr": 2.0}, "*.bias": {"lr": 3.0}}
    found = shown(param_groups(model, decays=True, options=options), model)
    expected: list[tuple[dict[str, Any], set[str]]] = [
        ({}, {"body.2.weight"}),
        ({"lr": 2.0, "name": "body.0.*"}, {"body.0.weight"}),
        ({"weight_decay": 0.0, "lr": 3.0, "name": "body.0.*+*.bias"}, {"body.0.bias"}),
        ({"weight_decay": 0.0, "lr": 3.0, "name": "*.bias"}, {"body.2.bias"}),
        ({"lr": 1.0, "weight_decay": 0.5, "name": "head"}, {"head.weight"}),
        ({"lr": 3.0, "weight_decay": 0.5, "name": "head+*.bias"}, {"head.bias"}),
    ]
    assert found == expected


def test_groups_are_as_few_as_their_options_allow() -> None:
    model = Transformer(50, 3, 16, width=8, depth=3, num_heads=2)
    assert len(param_groups(model, decays=True)) == 2
    assert len(param_groups(model, decays=False)) == 1
    assert len(param_groups(model, decays=True, options={"embedding": {"weight_decay": 0.0}})) == 2
    apart = shown(param_groups(model, decays=False, apart=("matrix",)), model)
    assert [group["role"] for group, _ in apart] == ["other", "matrix"]
    assert all(role == "matrix" for name, role in roles(model).items() if name in apart[1][1])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("haed", r"'haed' matches no parameter. Did you mean 'head'"),
        ("boddy.*", r"'boddy.\*' matches no parameter. Did you mean 'body.*'"),
        (
            "decoder.layers.7.*",
            r"Roles are input, matrix, bias, norm, embedding, head; the parameters are body.0.weight",
        ),
        ("embedding", r"this model has no embedding to train; it has input, matrix, bias, head"),
    ],
)
def test_a_key_that_matches_nothing_is_refused(key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        param_groups(MLP((4,), 3), decays=True, options={key: {"lr": 1.0}})


def test_rates_by_pattern_reach_the_optimizer_and_the_log(tmp_path: Path) -> None:
    words = ["optimizer.groups={head.*:{lr:0.02},body.0.*:{weight_decay:0.3}}", "scheduler=constant"]
    run = build(tmp_path / "built", *words)
    found = shown(run.main.optimizer.param_groups, run.main.model)
    assert {
        name: group["lr"] for group, names in found for name in names if name.endswith("2.weight") or "head" in name
    } == {
        "body.2.weight": 0.001,
        "head.weight": 0.02,
        "head.bias": 0.02,
    }
    assert {group["weight_decay"] for group, names in found if "body.0.weight" in names} == {0.3}
    metrics = fit(tmp_path / "fitted", *words, "training.max_steps=2")["metrics"]
    assert (metrics["lr"], metrics["lr/head.*"]) == (0.001, 0.02)


def test_a_body_with_a_rate_of_almost_zero_stays_where_it_was(tmp_path: Path) -> None:
    from tests.support.runs import train

    run = build(tmp_path, "optimizer.groups={body.*:{lr:1e-12,weight_decay:0.0}}", "training.max_steps=20")
    before = {name: value.clone() for name, value in run.main.model.state_dict().items()}
    after = train(run).main.model.state_dict()
    moved = {name: float((after[name] - value).abs().max()) for name, value in before.items()}
    assert max(change for name, change in moved.items() if name.startswith("body")) < 1e-9
    assert min(change for name, change in moved.items() if name.startswith("head")) > 1e-3
