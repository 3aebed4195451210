"""The zero-cost proxies against their papers' equations, in float64 and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from launcher.functional.zero_cost import activations, grad_norm, naswot, ntk, synflow


def test_ntk_is_the_condition_of_the_gradients_gram_matrix() -> None:
    """Chen et al., 2021: kappa = largest / smallest eigenvalue; the better conditioned, the higher."""
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(5, 40))
    singular = np.linalg.svd(gradients, compute_uv=False)
    assert ntk(torch.from_numpy(gradients)) == pytest.approx(-2 * math.log(singular[0] / singular[-1]), rel=1e-9)
    assert ntk(torch.eye(4)) == 0.0
    assert ntk(torch.zeros(4, 3)) == ntk(torch.full((4, 3), math.nan)) == -math.inf
    assert ntk(torch.ones(4, 3)) == pytest.approx(math.log(1e-9)), "samples that pull alike"


def test_naswot_is_the_determinant_of_the_hamming_kernel() -> None:
    """Mellor et al., 2021, equation 2: K[i, j] is the number of units less the distance of the samples' codes."""
    rng = np.random.default_rng(0)
    codes = [rng.random((6, units)) < 0.5 for units in (17, 40)]
    whole = np.concatenate(codes, axis=1)
    kernel = np.array([[57 - (a != b).sum() for b in whole] for a in whole], dtype=float)
    found = naswot([torch.from_numpy(each) for each in codes])
    assert found == pytest.approx(math.log(abs(np.linalg.det(kernel))), rel=1e-12)


def test_samples_that_no_unit_tells_apart_are_worth_nothing() -> None:
    assert naswot([torch.ones(3, 8, dtype=torch.bool)]) == -math.inf


def test_codes_are_the_sides_of_zero_of_each_rectifier() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 4), nn.GELU(), nn.Linear(4, 2))
    x = torch.randn(9, 5)
    with activations(model) as codes:
        model(x)
    model(x)
    assert len(codes) == 2, "of that pass alone"
    assert (codes[0] == (model[0](x) > 0)).all()
    assert (codes[1] == (model[:3](x) > 0)).all()


def test_grad_norm_is_a_sum_of_norms() -> None:
    model = nn.Linear(2, 1)
    model(torch.tensor([[3.0, 4.0]])).sum().backward()
    assert grad_norm(list(model.parameters())) == 5.0 + 1.0
    assert grad_norm([nn.Parameter(torch.ones(2))]) == 0.0


@pytest.mark.parametrize("depth", [1, 3])
def test_synflow_is_conserved_from_layer_to_layer(depth: int) -> None:
    """Tanaka et al., 2020, theorem 1: without biases every layer's sum is R, the sum of the absolute path products."""
    torch.manual_seed(1)
    layers: list[nn.Module] = [nn.Linear(6, 6, bias=False) for _ in range(depth)]
    model = nn.Sequential(*(each for layer in layers for each in (layer, nn.BatchNorm1d(6), nn.ReLU())))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    paths = torch.ones(1, 6, dtype=torch.float64)
    for layer in layers:
        paths = paths @ layer.weight.detach().double().abs().T
    found = synflow(model, lambda given: given(torch.ones(1, 6, dtype=torch.float64)))
    assert found == pytest.approx(math.log(depth * float(paths.sum())), rel=1e-12)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(each.dtype == torch.float32 and each.grad is None for each in model.parameters())
    assert model.training
