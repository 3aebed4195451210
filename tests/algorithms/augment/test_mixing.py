"""Mixup and CutMix: shares, targets, partners, and that evaluation sees plain samples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from launcher.algorithms.augment.mixing import Mixing
from launcher.core.run import Run
from launcher.errors import ConfigError
from launcher.functional.mixing import box, cut
from tests.support.runs import build, judged, train


def mixed(run: Run, batch: dict[str, Tensor], steps: int) -> Iterator[tuple[int, dict[str, Tensor], Mixing | None]]:
    """Each step, the batch as its forward pass gets it, and which algorithm changed it."""
    algorithms = [each for each in run.algorithms if isinstance(each, Mixing)]
    for each in algorithms:
        each.fit_start(run)
    for step in range(steps):
        run.progress.step = step
        result, chosen = batch, None
        for each in algorithms:
            changed = each.batch(run, result)
            if changed is not result:
                assert chosen is None, "one a step"
                result, chosen = changed, each
        yield step, result, chosen


def numbered(num: int, labels: Tensor) -> dict[str, Tensor]:
    """Pictures [num, 1, 8, 8] whose pixels say which of them they are from."""
    return {
        "images": torch.arange(num, dtype=torch.float64).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).clone(),
        "labels": labels,
    }


def test_cutmixs_targets_are_the_shares_of_the_pixels(tmp_path: Path) -> None:
    run = build(tmp_path, "augment=[cutmix]")
    batch = numbered(10, torch.arange(10))
    areas = set()
    for _, result, chosen in mixed(run, batch, 60):
        assert chosen is not None
        assert result["labels"].sum(dim=1).tolist() == pytest.approx([1.0] * 10, abs=1e-6)
        for sample in range(10):
            pixels = torch.bincount(result["images"][sample].long().flatten(), minlength=10) / 64
            assert torch.equal(result["labels"][sample], pixels), "each class in exactly its share"
        areas.add(round(float(result["labels"].amax(dim=1).min()), 4))
    assert len(areas) > 10
    assert torch.equal(batch["images"], numbered(10, batch["labels"])["images"]), "the samples themselves stay"


def test_the_box_is_the_papers_but_for_the_border() -> None:
    rng = np.random.default_rng(0)
    sizes = []
    for share in (0.0, 0.19, 0.5, 0.9, 1.0):
        for _ in range(300):
            rows, columns = box(share, 64, 32, rng)
            assert 0 <= rows.start <= rows.stop <= 64
            assert 0 <= columns.start <= columns.stop <= 32
            side = (1 - share) ** 0.5
            assert rows.stop - rows.start <= 64 * side
            assert columns.stop - columns.start <= 32 * side
            sizes.append((share, rows.stop - rows.start, columns.stop - columns.start))
    for share, height, width in ((0.19, 57, 28), (0.5, 45, 22), (0.9, 20, 10)):
        largest = [size for size in sizes if size[0] == share and size[1] > height - 2 and size[2] > width - 2]
        assert largest, "whole where the border is far"
    images = torch.rand(4, 3, 64, 32)
    pasted, own = cut(images, torch.tensor([1, 2, 3, 0]), slice(0, 0), slice(0, 32))
    assert own == 1.0
    assert torch.equal(pasted, images)


def test_mixups_shares_are_beta_and_both_mix_alike(tmp_path: Path) -> None:
    run = build(tmp_path, "augment=[mixup]", "augment.mixup.alpha=0.4")
    batch = numbered(10, torch.arange(10)) | {"images": torch.eye(10).view(10, 1, 1, 10).expand(10, 1, 10, 10).clone()}
    shares = []
    for _, result, _ in mixed(run, batch, 1500):
        assert torch.allclose(result["images"][:, 0, 0], result["labels"], atol=1e-6), (
            "pictures and targets in one share"
        )
        own = result["labels"].diagonal()
        other = own[own < 1 - 1e-6]
        if len(other):
            shares.append(float(other[0]))
    assert stats.kstest(shares, stats.beta(0.4, 0.4).cdf).pvalue > 0.05
    assert stats.kstest(shares, stats.beta(1.0, 1.0).cdf).pvalue < 1e-6


def test_of_both_each_step_takes_one(tmp_path: Path) -> None:
    words = ["augment=[mixup,cutmix]", "augment.cutmix.probability=0.5"]
    run = build(tmp_path, *words)
    names = [
        type(chosen).__name__ if chosen else "none" for _, _, chosen in mixed(run, numbered(8, torch.arange(8)), 1200)
    ]
    counts = {name: names.count(name) / 1200 for name in set(names)}
    assert counts == pytest.approx({"Mixup": 0.5, "CutMix": 0.25, "none": 0.25}, abs=0.05)
    again = [
        type(chosen).__name__ if chosen else "none" for _, _, chosen in mixed(run, numbered(8, torch.arange(8)), 1200)
    ]
    assert names == again, "keyed by the step"
    other = build(tmp_path / "other", *words, "seed=1")
    assert names != [
        type(chosen).__name__ if chosen else "none" for _, _, chosen in mixed(other, numbered(8, torch.arange(8)), 1200)
    ]


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_how_a_step_is_cut_changes_partners_alone(tmp_path: Path, kind: str) -> None:
    """Shares and boxes are those of the step, whatever a micro-batch's size."""
    run = build(tmp_path, f"augment=[{kind}]")
    for (_, whole, _), (_, part, _) in zip(
        mixed(run, numbered(12, torch.arange(12) % 10), 40), mixed(run, numbered(4, torch.arange(4)), 40), strict=True
    ):
        kept = [sorted({round(float(x), 5) for x in each["labels"].flatten()} - {0.0, 1.0}) for each in (whole, part)]
        assert kept[0] == kept[1] or not kept[0] or not kept[1], "but for samples that are their own partners"
    with pytest.raises(ConfigError, match="holds one sample, which has no partner"):
        train(build(tmp_path / "one", f"augment=[{kind}]", "training.accumulate=32"))


def test_it_goes_with_label_smoothing(tmp_path: Path) -> None:
    """The loss of a step is the cross-entropy against the smoothed mixture, by hand in float64."""
    words = [
        "augment=[mixup,cutmix]",
        "regularization=[label_smoothing]",
        "optimizer=sgd",
        "optimizer.lr=1e-30",
        "scheduler=constant",
    ]
    run = build(tmp_path, *words, "training.max_steps=12", "training.eval_every=0")
    losses = []
    seen: list[dict[str, Tensor]] = []
    original = run.task.forward
    run.task.forward = lambda model, batch: seen.append(batch) or original(model, batch)  # type: ignore[func-returns-value,method-assign]
    train(run)
    for batch in seen[:12]:
        logits = original(run.main.model.eval(), batch).double().detach()
        smoothed = 0.9 * batch["labels"].double() + 0.1 / 10
        losses.append(float(-(smoothed * logits.log_softmax(dim=1)).sum(dim=1).mean()))
    from tests.support.fits import values

    assert values(tmp_path)[:12] == pytest.approx(losses, rel=1e-5)
    assert any(float(before) != pytest.approx(float(after)) for before, after in pairwise(losses))


def test_evaluation_is_of_plain_samples(tmp_path: Path) -> None:
    words = ["training.max_steps=5", "optimizer=sgd", "optimizer.lr=1e-30", "scheduler=constant"]
    plain, both = (train(build(tmp_path / name, *words, f"augment=[{name}]")) for name in ("", "mixup,cutmix"))
    assert judged(plain) == judged(both)


def text(tmp_path: Path, *words: str) -> Run:
    chosen = [
        "task=text_classification",
        "model=transformer",
        "model.width=16",
        "model.num_heads=2",
        "data.max_per_class=40",
        "data.min_per_class=20",
    ]
    return build(tmp_path, *chosen, "model.dropout=0", "model.attention_dropout=0", *words)


def test_texts_are_mixed_where_their_tokens_are_vectors(tmp_path: Path) -> None:
    run = text(tmp_path, "augment=[mixup]", "augment.mixup.alpha=1")
    model: torch.nn.Module = run.main.model
    (algorithm,) = run.algorithms
    batch = run.loaders.train.samples.fetch(torch.arange(6))
    assert isinstance(algorithm, Mixing)
    algorithm.fit_start(run)
    plain = run.task.forward(model.eval(), batch)
    for step in range(4):
        run.progress.step = step
        result = algorithm.batch(run, batch)
        share, partners, _ = algorithm.draw(run, batch["labels"])  # type: ignore[misc]  # every step is mixed
        assert result["labels"].sum(dim=1).tolist() == pytest.approx([1.0] * 6, abs=1e-6)
        found = run.task.forward(model.train(), result)
        vectors = model.tokens.weight[batch["input_ids"]]  # type: ignore[union-attr,index]
        own = F.one_hot(batch["labels"], run.task.num_classes())
        assert torch.allclose(result["labels"], share * own + (1 - share) * own[partners], atol=1e-6)
        x = share * vectors + (1 - share) * vectors[partners]
        real = (batch["attention_mask"] | batch["attention_mask"][partners]).bool()
        x = x + model.positions.weight[: x.shape[1]]  # type: ignore[union-attr,index]
        for block in model.blocks:  # type: ignore[union-attr]
            x = block(x, real[:, None, None, :])
        weight = real[..., None].float()
        expected = model.head((model.norm(x) * weight).sum(1) / weight.sum(1))  # type: ignore[operator]
        assert torch.allclose(found, expected, atol=1e-5)
        assert not torch.allclose(found, plain, atol=1e-3)
        assert torch.equal(run.task.forward(model.eval(), batch), plain), "evaluation between two steps"


def test_texts_learn_with_it(tmp_path: Path) -> None:
    words = [
        "augment=[mixup]",
        "regularization=[ema,sam]",
        "training.max_steps=40",
        "training.max_epochs=null",
        "optimizer.lr=3e-3",
    ]
    run = text(tmp_path, *words, "training.eval_every=0")
    before = judged(run)["loss"]
    assert judged(train(run))["loss"] < before - 0.1
