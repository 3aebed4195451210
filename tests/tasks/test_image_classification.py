"""Pictures: the three models, digits, and folders of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from launcher.artifacts.export import load_facts, load_module
from launcher.data.samples import TensorSamples
from launcher.data.splits import Holdout
from launcher.errors import ConfigError
from launcher.tasks.data.digits import Digits
from launcher.tasks.data.files import Files
from launcher.tasks.image_classification import ImageClassification, PictureSamples
from launcher.tasks.models.cnn import CNN
from launcher.tasks.models.mlp import MLP
from launcher.tasks.models.transformer import Block
from launcher.tasks.models.vit import ViT
from tests.tasks.conftest import factory, train


def task(model: Any, data: Any = None, **keywords: Any) -> Any:
    return ImageClassification(data or Digits(), factory(model, **keywords), Holdout(0.2, seed=0))


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (MLP, {}),
        (CNN, {}),
        (CNN, {"block": "residual"}),
        (CNN, {"block": "separable", "width": 32}),
        (ViT, {"depth": 2, "dropout": 0.0}),
    ],
)
def test_learns_digits(model: Any, options: dict[str, Any]) -> None:
    _, metrics = train(task(model, **options), 250, lr=3e-3)
    assert metrics["accuracy"] > 0.9
    assert abs(metrics["accuracy"] - metrics["f1"]) < 0.03


def test_blocks_are_what_they_are_called() -> None:
    torch.manual_seed(0)
    plain, residual, separable = (
        CNN((1, 8, 8), 10, width=4, depth=1, norm="none", block=name) for name in ("plain", "residual", "separable")
    )
    sizes = [
        [tuple(each.weight.shape) for each in model.body.modules() if isinstance(each, nn.Conv2d)]
        for model in (plain, residual, separable)
    ]
    assert sizes == [
        [(4, 1, 3, 3), (4, 4, 3, 3)],
        [(4, 1, 3, 3), (4, 4, 3, 3), (4, 1, 1, 1)],
        [(1, 1, 3, 3), (4, 1, 1, 1), (4, 1, 3, 3), (4, 4, 1, 1)],
    ]
    x = torch.randn(2, 1, 8, 8)
    block = residual.body[0]
    expected = torch.relu(block.widen(x) + block.layers(x))
    torch.testing.assert_close(residual.body(x), expected, rtol=0, atol=0)
    for model in (plain, residual, separable):
        y = x
        for piece in model.eval().pieces():
            y = piece(y, {})
        torch.testing.assert_close(y, model(x))


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    ours, theirs = Digits().images(), load_digits()
    np.testing.assert_array_equal(ours.pixels[:, 0] * 16, theirs.images)
    np.testing.assert_array_equal(ours.labels, theirs.target)


def test_the_mean_is_that_of_the_training_pictures() -> None:
    mine = task(MLP)
    data = mine.datasets()
    images = data.train.columns["images"]
    assert images.mean().abs() < 1e-5
    assert (images.std() - 1).abs() < 1e-4
    whole = torch.cat([images, data.val.columns["images"]])
    assert whole.mean().abs() > 1e-5  # the held-out pictures took no part


def test_vit_equals_its_formula() -> None:
    """One block by hand, in float64, with numpy's own softmax."""
    torch.manual_seed(0)
    block = Block(8, 2, dropout=0.0, attention_dropout=0.0).double()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    normed = nn.functional.layer_norm(x, (8,))
    query, key, value = block.qkv(normed).detach().numpy().reshape(3, 5, 3, 2, 4).transpose(2, 0, 3, 1, 4)
    scores = np.exp(query @ key.swapaxes(-1, -2) / 2.0)
    mixed = (scores / scores.sum(-1, keepdims=True)) @ value
    y = x + block.out(torch.from_numpy(mixed.transpose(0, 2, 1, 3).reshape(3, 5, 8)))
    expected = y + block.mlp(nn.functional.layer_norm(y, (8,)))
    torch.testing.assert_close(block(x), expected)


def test_vit_cuts_pictures_into_patches() -> None:
    """Swapping two patches and their positions changes nothing; swapping the patches alone does."""
    torch.manual_seed(0)
    model = ViT((1, 4, 4), 3, width=8, depth=1, num_heads=2, patch_size=2, dropout=0.0).eval()
    x = torch.rand(2, 1, 4, 4)
    swapped = torch.cat([x[..., 2:], x[..., :2]], dim=-1)
    before = model(x)
    assert not torch.allclose(model(swapped), before, atol=1e-4)
    with torch.no_grad():
        model.positions.copy_(model.positions[:, [1, 0, 3, 2]])
    torch.testing.assert_close(model(swapped), before)


@pytest.mark.parametrize(("norm", "kind"), [("layer", nn.LayerNorm), ("batch", nn.BatchNorm1d)])
def test_vit_norm(norm: str, kind: type[nn.Module]) -> None:
    model = ViT((1, 4, 4), 3, width=8, depth=2, num_heads=2, norm=norm)
    assert sum(isinstance(module, kind) for module in model.modules()) == 5
    assert model(torch.rand(2, 1, 4, 4)).shape == (2, 3)


def test_vit_batch_norm_normalises_over_batch_and_tokens() -> None:
    model = ViT((1, 4, 4), 3, width=8, depth=1, num_heads=2, norm="batch")
    normed = model.norm(torch.randn(16, 4, 8) * 3 + 1)
    torch.testing.assert_close(normed.mean(dim=(0, 1)), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(normed.var(dim=(0, 1), unbiased=False), torch.ones(8), atol=1e-3, rtol=0)


def test_vit_dropout_acts_on_dense_and_on_attention_while_training() -> None:
    x = torch.rand(2, 1, 4, 4)
    for rates in ({"dropout": 0.5}, {"dropout": 0.0, "attention_dropout": 0.5}):
        model = ViT((1, 4, 4), 3, width=8, depth=2, num_heads=2, **rates)
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 3}, "model.patch_size=3 does not divide pictures of 8x8 pixels"),
        ({"num_heads": 5}, "model.width=64 is not a multiple of model.num_heads=5"),
        ({"norm": "none"}, "model.norm=none: a transformer takes layer or batch"),
    ],
)
def test_vit_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ViT((1, 8, 8), 10, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty pictures of 12x9 pixels in each of two classes, told apart by their colour."""
    draw = np.random.default_rng(0)
    for name, channel in (("red", 0), ("green", 1)):
        (tmp_path / name).mkdir()
        for number in range(40):
            pixels = draw.integers(0, 90, (9, 12, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_a_folder_of_pictures(folder: Path) -> None:
    mine = task(CNN, Files(str(folder), size=8), width=4, depth=1)
    _, metrics = train(mine, 40, lr=1e-2, batch_size=16)
    assert mine.classes == ["green", "red"]
    assert mine.image_shape == (3, 8, 8)
    assert metrics["accuracy"] > 0.95


def test_pictures_keep_their_values(tmp_path: Path) -> None:
    for name, value in (("a", 51), ("b", 204)):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4), value).save(tmp_path / name / "x.png")
    Image.fromarray(np.full((4, 4), 257 * 51, dtype=np.uint16)).save(tmp_path / "a" / "y.png")  # 16 bits
    found = Files(str(tmp_path), size=4, channels=1).images()
    assert found.pixels.shape == (3, 1, 4, 4)
    np.testing.assert_allclose(found.pixels.mean(axis=(1, 2, 3)), [0.2, 0.2, 0.8], atol=1e-6)
    assert found.labels.tolist() == [0, 0, 1]


def test_many_pictures_are_decoded_when_they_are_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lazy path gives the same batches as the one in memory, also after a trip to a data worker."""
    import pickle

    from launcher.tasks.data import pictures

    eager = task(CNN, Files(str(folder), size=8)).datasets()
    monkeypatch.setattr(pictures, "SMALL", 0)
    lazy = task(CNN, Files(str(folder), size=8)).datasets()
    assert isinstance(eager.train, TensorSamples)
    assert isinstance(lazy.train, PictureSamples)
    assert lazy.train.decodes
    assert not lazy.train.in_memory
    worker = pickle.loads(pickle.dumps(lazy.train))
    indices = torch.tensor([5, 0, 17])
    for name, values in eager.train.fetch(indices).items():
        torch.testing.assert_close(lazy.train.fetch(indices)[name], values)
        torch.testing.assert_close(worker.fetch(indices)[name], values)


def test_a_broken_picture_is_named(folder: Path) -> None:
    (folder / "red" / "0.png").write_bytes((folder / "red" / "1.png").read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"red/0\.png: can not be decoded"):
        Files(str(folder)).images()
    (folder / "red" / "0.png").write_text("no picture")
    with pytest.raises(ConfigError, match=r"red/0\.png: not a picture"):
        Files(str(folder)).images()


def test_pictures_without_classes_are_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    with pytest.raises(ConfigError, match="pictures are expected in a folder for each class"):
        Files(str(tmp_path)).images()
    with pytest.raises(ConfigError, match="a file; pictures are expected in a folder"):
        Files(str(tmp_path / "x.png"), format="text").images()


def test_export_and_back(tmp_path: Path) -> None:
    mine = task(ViT, depth=1)
    data = mine.datasets()
    model = mine.model().eval()
    mine.export(model, tmp_path)
    again = load_module(tmp_path)
    batch = data.val.fetch(torch.arange(8))
    assert torch.equal(mine.forward(again, batch), mine.forward(model, batch))
    facts = load_facts(tmp_path)
    assert facts["classes"] == mine.classes
    assert len(facts["mean"]) == 1
