"""The points of a search space: the whole product, and draws that follow from the seed and the trial's number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from launcher.errors import ConfigError
from launcher.search import space


def parsed(*words: str) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(words))


def test_a_grid_is_the_exact_product_the_last_fastest() -> None:
    points = list(space.grid(parsed("optimizer.lr=1e-3,1e-2", "model=mlp,cnn", "seed=range(3)")))
    assert points == [
        [f"optimizer.lr={rate}", f"model={model}", f"seed={seed}"]
        for rate in ("0.001", "0.01")
        for model in ("mlp", "cnn")
        for seed in (0, 1, 2)
    ]


def test_lists_and_quoted_words_stay_whole() -> None:
    points = list(space.grid(parsed("tracker=[],[tensorboard]", "name='a, b','c=d'")))
    read = [[OverridesParser.create().parse_override(word).value() for word in point] for point in points]
    assert [(lists, quoted) for lists, quoted in read] == [
        ([], "a, b"), ([], "c=d"), (["tensorboard"], "a, b"), (["tensorboard"], "c=d")
    ]  # fmt: skip


def test_an_interval_has_no_grid() -> None:
    with pytest.raises(
        ConfigError, match=r"optimizer\.lr=interval\(0\.1,1\): an interval has no grid; search=random draws from it"
    ):
        list(space.grid(parsed("optimizer.lr=interval(0.1,1)")))


def draws(word: str, num: int = 400, seed: int = 0) -> list[str]:
    return [space.random(parsed(word), seed, number)[0].partition("=")[2] for number in range(num)]


def test_a_draw_is_a_function_of_seed_and_number() -> None:
    words = parsed("optimizer.lr=interval(0,1)", "model=mlp,cnn,vit")
    forwards = [space.random(words, 3, number) for number in range(10)]
    assert [space.random(words, 3, number) for number in reversed(range(10))] == forwards[::-1]
    assert [space.random(words[:1], 3, number) for number in range(10)] == [point[:1] for point in forwards], (
        "another key changes nothing"
    )
    assert [space.random(words, 4, number) for number in range(10)] != forwards
    assert len({tuple(point) for point in forwards}) == 10


def test_an_interval_is_drawn_evenly() -> None:
    values = np.array(draws("x=interval(-2,6)"), dtype=float)
    assert (values >= -2).all()
    assert (values < 6).all()
    assert np.histogram(values, 4, (-2, 6))[0] == pytest.approx([100] * 4, abs=30)


def test_a_logarithmic_interval_is_drawn_evenly_by_its_logarithm() -> None:
    values = np.log10(np.array(draws("x=tag(log,interval(1e-5,1e-1))"), dtype=float))
    assert np.histogram(values, 4, (-5, -1))[0] == pytest.approx([100] * 4, abs=30)


def test_a_whole_interval_gives_whole_numbers() -> None:
    values = draws("x=tag(int,interval(1,4))")
    assert {int(value) for value in values} == {1, 2, 3, 4}
    assert all(value == str(int(value)) for value in values)


def test_choices_and_ranges_are_drawn_evenly() -> None:
    for word, options in (("x=a,b,c,d", "abcd"), ("x=range(0,8,2)", "0246"), ("x=choice(a,b,c,d)", "abcd")):
        values = draws(word)
        counts = [values.count(option) for option in options]
        assert sum(counts) == len(values)
        assert counts == pytest.approx([100] * 4, abs=30)


def test_a_logarithmic_range_favours_small_ones() -> None:
    values = [int(value) for value in draws("x=tag(log,range(1,100))")]
    assert set(values) <= set(range(1, 100))
    assert sum(value <= 10 for value in values) == pytest.approx(400 * math.log(10.5) / math.log(99), abs=40)


def test_a_logarithm_starts_above_zero() -> None:
    with pytest.raises(ConfigError, match="a logarithmic interval starts above zero"):
        draws("x=tag(log,interval(0,1))", 1)
