"""A fit on the processor and in the memory that it finds: threads that suit its size, pages kept between steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from launcher.train.threads import SMALL, small, suitable_threads
from tests.support.runs import build

PRODUCTS = 64 * 128 + 128 * 128 + 128 * 10
"""Multiply-adds of a sample in the digits' perceptron."""
FAULTS = """
import resource, sys
import torch
from launcher.train.threads import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
def step():
    held = [torch.ones(3 << 18) for _ in range(40)]  # 3 MiB each: more than glibc keeps at first
step()
before = resource.getrusage(resource.RUSAGE_SELF)
for _ in range(5):
    step()
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_minflt - before.ru_minflt, after.ru_maxrss - before.ru_maxrss)
"""


@pytest.mark.parametrize(
    ("words", "alone"),
    [
        (["training.batch_size=32"], True),
        (["training.batch_size=64"], False),
        (["training.batch_size=64", "training.accumulate=2"], True),
    ],
)
def test_a_micro_batch_of_few_operations_has_one_thread(
    words: list[str], alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = int(words[0].partition("=")[2]) // (2 if len(words) > 1 else 1)
    assert (2 * PRODUCTS * rows <= SMALL) == alone, "the table goes by the formula"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    run = build(tmp_path, "model=mlp", *words)
    assert small(run) == alone
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with suitable_threads(run):
            assert torch.get_num_threads() == (1 if alone else 2)
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with suitable_threads(run):
            assert torch.get_num_threads() == 2, "a person's word counts"
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("words", [["model=cnn"], ["model=vit", "model.dropout=0.5"]])
def test_looking_at_the_size_leaves_no_trace(words: list[str], tmp_path: Path) -> None:
    run = build(tmp_path, *words)
    run.main.model.train()
    before = {name: tensor.clone() for name, tensor in run.main.model.state_dict().items()}
    generator = torch.get_rng_state()
    small(run)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.main.model.state_dict().items())
    assert run.main.model.training
    assert all(parameter.grad is None for parameter in run.main.model.parameters())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_what_a_step_frees_is_there_for_the_next() -> None:
    found = {
        way: [int(word) for word in subprocess.check_output([sys.executable, "-c", FAULTS, way], text=True).split()]
        for way in ("kept", "given back")
    }
    assert found["kept"][0] * 10 < found["given back"][0]
    assert found["kept"][1] < 8 << 10, "and the peak stays what it is (KiB)"
