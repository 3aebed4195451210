"""Which parameters are decayed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from launcher.optim.groups import param_groups
from launcher.tasks.models.cnn import CNN
from launcher.tasks.models.mlp import MLP
from launcher.tasks.models.transformer import Transformer
from launcher.tasks.models.vit import ViT


class Parts(nn.Module):
    """One of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.bag = nn.EmbeddingBag(5, 4)
        self.picture_norm = nn.LayerNorm([3, 4, 4])
        self.rms = nn.RMSNorm(4)
        self.batch_norm = nn.BatchNorm2d(3)
        self.group_norm = nn.GroupNorm(1, 4)
        self.conv = nn.Conv2d(4, 1, 3)
        self.linear = nn.Linear(4, 1)
        self.attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
        self.positions = nn.Parameter(torch.zeros(1, 7, 4))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def names(model: nn.Module) -> tuple[set[str], set[str]]:
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, plain = param_groups(model, decays=True)
    assert "weight_decay" not in decayed
    assert plain["weight_decay"] == 0
    return {known[id(each)] for each in decayed["params"]}, {known[id(each)] for each in plain["params"]}


def test_matrices_and_convolutions_are_decayed_and_nothing_else() -> None:
    decayed, plain = names(Parts())
    assert decayed == {"conv.weight", "linear.weight", "attention.in_proj_weight", "attention.out_proj.weight"}
    trainable = {name for name, parameter in Parts().named_parameters() if parameter.requires_grad}
    assert plain == trainable - decayed


@pytest.mark.parametrize(
    "model",
    [
        MLP((1, 8, 8), 10, norm="layer"),
        CNN((1, 8, 8), 10),
        ViT((1, 8, 8), 10, width=8, num_heads=2, depth=1),
        Transformer(30, 4, 16, width=8, num_heads=2, depth=1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_the_models_of_the_catalogue(model: nn.Module) -> None:
    decayed, plain = names(model)
    assert all(name.endswith("weight") for name in decayed)
    assert not {name for name in decayed if "norm" in name or "positions" in name or "tokens" in name}
    assert all(
        any(word in name for word in ("bias", "norm", "positions", "tokens"))
        or dict(model.named_parameters())[name].ndim == 1
        for name in plain
    )
    assert len(decayed) + len(plain) == len(list(model.parameters()))


def test_tied_weights_count_once_and_as_an_embedding() -> None:
    model = nn.ModuleDict({"tokens": nn.Embedding(9, 4), "head": nn.Linear(4, 9, bias=False), "body": nn.Linear(4, 4)})
    model["head"].weight = model["tokens"].weight
    decayed, plain = param_groups(model, decays=True)
    assert [tuple(each.shape) for each in decayed["params"]] == [(4, 4)]
    assert [tuple(each.shape) for each in plain["params"]] == [(9, 4), (4,)]


def test_one_group_where_nothing_decays() -> None:
    (group,) = param_groups(Parts(), decays=False)
    assert group.keys() == {"params"}
    assert len(group["params"]) == sum(parameter.requires_grad for parameter in Parts().parameters())


def test_nothing_to_train_is_no_group() -> None:
    assert param_groups(nn.Linear(2, 2).requires_grad_(False), decays=True) == []
