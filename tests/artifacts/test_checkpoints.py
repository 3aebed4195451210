"""Checkpoints: what goes in comes out, what is torn is passed over, and the last good one outlives every failure."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from launcher.artifacts.checkpoint.checkpoints import Checkpoints
from launcher.artifacts.checkpoint.manifest import TornCheckpoint
from launcher.artifacts.checkpoint.tensors import _NAMES, pack, read_tensors, unpack, write_tensors
from launcher.artifacts.checkpoint.weights import load_weights
from launcher.artifacts.folder import remove_leftovers
from launcher.errors import ConfigError, TrainingError


def state(value: float = 1.0) -> dict[str, Any]:
    """The shape of a run's state, in little."""
    weight = torch.arange(6, dtype=torch.float32).view(2, 3) * value
    return {
        "parts": {
            "main": {
                "model": {"weight": weight, "tied": weight},
                "optimizer": {
                    "state": {0: {"step": torch.tensor(3.0), "exp_avg": weight / 7}},
                    "param_groups": [{"betas": (0.9, 0.999)}],
                },
            }
        },
        "best": {"value": -math.inf, "metrics": {"val/loss": 0.1 + 0.2}},
        "nothing": [None, True, 2**70, "ü", math.nan, [], {}, ()],
    }


def same(left: Any, right: Any) -> bool:
    """Equal in type and value, NaN to NaN, bit for bit."""
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and math.isnan(left):
        return math.isnan(right)
    return type(left) is type(right) and left == right


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def checkpoints(tmp_path: Path, said: list[str]) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", keep=2, say=said.append)


# -- files


def test_a_state_comes_back_as_it_was(checkpoints: Checkpoints) -> None:
    checkpoints.save(5, state(), best_step=5, wait=True)
    loaded = checkpoints.load_last()
    assert same(loaded, state())
    assert loaded is not None
    model = loaded["parts"]["main"]["model"]
    assert model["weight"].data_ptr() == model["tied"].data_ptr(), "kept once"
    assert same(load_weights(checkpoints.folder / "step-5"), state()["parts"]["main"]["model"])


def test_files_are_those_of_safetensors(tmp_path: Path) -> None:
    numbers = torch.Generator().manual_seed(0)
    tensors = {
        str(dtype): torch.randint(0, 256, (3, 16), dtype=torch.uint8, generator=numbers).view(dtype)
        if dtype != torch.bool
        else torch.tensor([[True], [False]])
        for dtype in _NAMES
    }
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 4), "odd": torch.arange(3, dtype=torch.int8)}
    written = write_tensors(tensors, tmp_path / "file.safetensors")
    assert written["bytes"] == (tmp_path / "file.safetensors").stat().st_size
    for loaded in (load_file(tmp_path / "file.safetensors"), read_tensors(tmp_path / "file.safetensors")):
        assert loaded.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert loaded[name].dtype == tensor.dtype
            assert loaded[name].shape == tensor.shape
            raw = (
                [each.reshape(-1).view(torch.uint8) for each in (loaded[name], tensor)]
                if tensor.numel()
                else [tensor, tensor]
            )
            assert torch.equal(*raw)


def test_loaded_tensors_outlive_their_file(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write_tensors({"x": torch.ones(1000)}, path)
    loaded = read_tensors(path)["x"]
    path.write_bytes(b"")
    assert loaded.sum() == 1000


def test_the_copy_is_of_the_moment(checkpoints: Checkpoints) -> None:
    moving = state()
    checkpoints.save(1, moving, best_step=None)
    moving["parts"]["main"]["model"]["weight"].fill_(-1)
    moving["best"]["metrics"].clear()
    checkpoints.wait()
    assert same(checkpoints.load(1), state())


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), torch.empty(1, dtype=torch.complex128)])
def test_what_can_not_be_kept_is_named(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^a/1/b: a .* can not be kept"):
        pack({"a": [0, {"b": value}]})


def test_keys_of_any_plain_type() -> None:
    odd = {1: "a", "__tensor__": "b", (2, "x"): torch.ones(1), None: 0.5}
    tree, tensors = pack(odd)
    assert same(unpack(json.loads(json.dumps(tree)), tensors), odd)


# -- which ones stay


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_the_newest_stay_and_the_best(checkpoints: Checkpoints) -> None:
    for step, best in ((10, 10), (20, 20), (30, 20), (40, 20), (50, 20)):
        checkpoints.save(step, state(step), best_step=best, wait=True)
    assert names(checkpoints) == ["best", "last", "step-20", "step-40", "step-50"]
    assert (checkpoints.folder / "last").readlink() == Path("step-50")
    assert (checkpoints.folder / "best").readlink() == Path("step-20")
    checkpoints.save(60, state(60), best_step=60, wait=True)
    assert names(checkpoints) == ["best", "last", "step-50", "step-60"]
    assert (checkpoints.folder / "best").resolve().name == "step-60"


def test_what_a_kill_after_the_last_rename_left_is_put_right(checkpoints: Checkpoints) -> None:
    """The run goes on at its end, where nothing more is saved."""
    for step in (10, 20, 30):
        checkpoints.save(step, state(step), best_step=step, wait=True)
    whole = names(checkpoints)
    shutil.copytree(checkpoints.folder / "step-30", checkpoints.folder / "step-10")
    for link in ("last", "best"):
        (checkpoints.folder / link).unlink()
        (checkpoints.folder / link).symlink_to("step-20")
    checkpoints.tidy(30, 30)
    assert names(checkpoints) == whole
    assert {(checkpoints.folder / link).readlink() for link in ("last", "best")} == {Path("step-30")}
    checkpoints.tidy(40, 30)  # of a step that has none nothing follows
    assert names(checkpoints) == whole


def test_leftovers_of_a_killed_write_go(tmp_path: Path, checkpoints: Checkpoints) -> None:
    checkpoints.save(1, state(), best_step=None, wait=True)
    for name in (".model", ".git", "checkpoints/.step-2", "checkpoints/.step-1-old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "checkpoints" / ".last").symlink_to("step-2")
    (tmp_path / ".result.json").write_text("{")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", "checkpoints"]
    assert names(checkpoints) == ["last", "step-1"]


# -- torn


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def delete(path: Path) -> None:
    path.unlink()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(content)


def swap_numbers(path: Path) -> None:
    """Still JSON, or still tensors of the right size; only the numbers have changed."""
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0.999", b"0.989") if path.suffix == ".json" else content[:-4] + b"\0\0\0\1")


@pytest.mark.parametrize("damage", [truncate, empty, delete, flip, swap_numbers])
@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "state.safetensors"])
def test_a_torn_one_falls_back_to_the_one_before(
    checkpoints: Checkpoints, said: list[str], name: str, damage: Callable[[Path], None]
) -> None:
    for step in (10, 20):
        checkpoints.save(step, state(step), best_step=10, wait=True)
    damage(checkpoints.folder / "step-20" / name)
    assert same(checkpoints.load_last(), state(10))
    assert len(said) == 1
    assert said[0].startswith(f"checkpoint step-20 is torn ({name} ")
    assert said[0].endswith("): falling back to step-10")


def test_no_changed_byte_goes_unseen(checkpoints: Checkpoints) -> None:
    checkpoints.save(1, state(), best_step=None, wait=True)
    numbers = random.Random(0)
    for path in sorted((checkpoints.folder / "step-1").iterdir()):
        whole = path.read_bytes()
        for place in numbers.sample(range(len(whole)), 60):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << numbers.randrange(8)]) + whole[place + 1 :])
            try:
                loaded = checkpoints.load(1)
            except TornCheckpoint:
                continue
            assert same(loaded, state()), "white space may change; nothing else"
        path.write_bytes(whole)


def test_all_torn_starts_over_and_the_new_ones_count(checkpoints: Checkpoints, said: list[str]) -> None:
    for step in (10, 20):
        checkpoints.save(step, state(step), best_step=10, wait=True)
        delete(checkpoints.folder / f"step-{step}" / "manifest.json")
    assert checkpoints.load_last() is None
    assert said == [
        "checkpoint step-20 is torn (manifest.json is missing): falling back to step-10",
        "checkpoint step-10 is torn (manifest.json is missing): starting over",
    ]
    checkpoints.save(3, state(3), best_step=3, wait=True)
    assert names(checkpoints) == ["best", "last", "step-3"], "an older, torn one is not among the newest"
    assert same(checkpoints.load_last(), state(3))


def test_a_torn_one_is_replaced_by_its_step(checkpoints: Checkpoints) -> None:
    for step in (10, 20):
        checkpoints.save(step, state(step), best_step=10, wait=True)
    flip(checkpoints.folder / "step-20" / "model.safetensors")
    checkpoints.load_last()
    checkpoints.save(13, state(13), best_step=10, wait=True)
    assert names(checkpoints) == ["best", "last", "step-10", "step-13"]
    checkpoints.save(20, state(20), best_step=10, wait=True)
    assert same(checkpoints.load_last(), state(20))


@pytest.mark.parametrize("link", ["step-99", "nowhere", None])
def test_links_are_for_people(checkpoints: Checkpoints, link: str | None) -> None:
    for step in (10, 20):
        checkpoints.save(step, state(step), best_step=10, wait=True)
    for name in ("last", "best"):
        (checkpoints.folder / name).unlink()
        if link is not None:
            (checkpoints.folder / name).symlink_to(link)
    assert same(checkpoints.load_last(), state(20))
    checkpoints.save(30, state(30), best_step=10, wait=True)
    assert (checkpoints.folder / "last").readlink() == Path("step-30")
    assert (checkpoints.folder / "best").readlink() == Path("step-10")


def test_none_yet_is_said(checkpoints: Checkpoints, said: list[str]) -> None:
    assert checkpoints.load_last() is None
    assert said == [f"there is no checkpoint in {checkpoints.folder} yet: starting over"]


@pytest.mark.parametrize("mark", [{"format": 3}, {"format": 3, "crc32": None}])
def test_another_format_is_refused(checkpoints: Checkpoints, mark: dict[str, Any]) -> None:
    checkpoints.save(1, state(), best_step=None, wait=True)
    path = checkpoints.folder / "step-1" / "manifest.json"
    path.write_text(json.dumps({"step": 1} | mark))
    with pytest.raises(ConfigError, match=r"step-1 is of format 3; this version reads format 2"):
        checkpoints.load_last()


# -- the disk


@pytest.fixture
def small_files() -> Iterator[None]:
    """This process may write files of at most 4 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failed_write_keeps_the_last_good_one(checkpoints: Checkpoints, small_files: None) -> None:
    checkpoints.save(1, state(), best_step=1, wait=True)
    large = state() | {"large": torch.ones(10_000)}
    checkpoints.save(2, large, best_step=2)
    good = checkpoints.folder / "step-1"
    with pytest.raises(TrainingError) as raised:
        checkpoints.wait()
    assert str(raised.value) == (
        f"a checkpoint could not be written to {checkpoints.folder}: {os.strerror(errno.EFBIG)}; the last good checkpoint is {good}"
    )
    assert names(checkpoints) == ["best", "last", "step-1"], "what was begun is gone"
    assert same(checkpoints.load_last(), state())
    checkpoints.save(3, state(3), best_step=1, wait=True)


def test_a_failure_before_the_rename_changes_nothing(tmp_path: Path) -> None:
    def full() -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"line")

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2, before_commit=full)
    checkpoints.save(1, state(), best_step=1)
    with pytest.raises(TrainingError, match=r"^the disk is full: a checkpoint .*; there is none before it$"):
        checkpoints.wait()
    assert list(checkpoints.folder.iterdir()) == []


def test_a_folder_that_is_gone_is_told(checkpoints: Checkpoints) -> None:
    checkpoints.save(1, state(), best_step=None, wait=True)
    shutil.rmtree(checkpoints.folder)
    checkpoints.folder.write_text("a file")
    checkpoints.save(2, state(), best_step=None)
    with pytest.raises(TrainingError, match=r"could not be written to \S+: .+; there is none before it"):
        checkpoints.wait()
