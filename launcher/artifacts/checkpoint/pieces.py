"""Tensors that no rank holds whole: the piece of each in a state, in a checkpoint's files, and put together again."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


@dataclass
class Piece:
    """This rank's part of a tensor of `shape`: blocks of it, each with the offset at which it begins.

    There is none where another rank holds it all, or holds the same blocks and writes them.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    blocks: list[tuple[tuple[int, ...], Tensor]]


@dataclass
class Pieces:
    """A whole tensor as the blocks that were saved of it, each with the offset at which it begins."""

    shape: tuple[int, ...]
    parts: list[tuple[tuple[int, ...], Tensor]]

    @property
    def dtype(self) -> torch.dtype:
        return self.parts[0][1].dtype

    def whole(self) -> Tensor:
        """The tensor; the block itself where there is only one."""
        if len(self.parts) == 1:
            return self.parts[0][1]
        return self.region((0,) * len(self.shape), self.shape)

    def region(self, offset: Sequence[int], shape: Sequence[int]) -> Tensor:
        """A copy of the block of `shape` at `offset`; of the files only what lies in it is read."""
        block = torch.empty(tuple(shape), dtype=self.dtype)
        for start, part in self.parts:
            low = [max(a, b) for a, b in zip(offset, start, strict=True)]
            high = [min(a + m, b + n) for a, m, b, n in zip(offset, shape, start, part.shape, strict=True)]
            if any(a >= b for a, b in zip(low, high, strict=True)):
                continue
            ours = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, offset, strict=True))
            theirs = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, start, strict=True))
            block[ours] = part[theirs]
        return block


def region(saved: Tensor | Pieces, offset: Sequence[int], shape: Sequence[int]) -> Tensor:
    """The block of `shape` at `offset` of what was saved whole or in pieces."""
    if isinstance(saved, Pieces):
        return saved.region(offset, shape)
    return saved[tuple(slice(start, start + num) for start, num in zip(offset, shape, strict=True))]


def run_blocks(shape: Sequence[int], start: int, length: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The blocks (offset, shape) that `length` elements of a flattened tensor from `start` on consist of, in their order."""
    if not length:
        return []
    if len(shape) < 2:
        return [((start,), (length,)) if shape else ((), ())]
    inner = math.prod(shape[1:])
    row, first = divmod(start, inner)
    found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def part_of_row(begin: int, count: int) -> None:
        found.extend(((row, *offset), (1, *size)) for offset, size in run_blocks(shape[1:], begin, count))

    if first:
        count = min(length, inner - first)
        part_of_row(first, count)
        row, length = row + 1, length - count
    rows, rest = divmod(length, inner)
    if rows:
        found.append(((row, *(0,) * (len(shape) - 1)), (rows, *shape[1:])))
        row += rows
    if rest:
        part_of_row(0, rest)
    return found


def whole(state: Any) -> Any:
    """A state in which every tensor is whole."""
    if isinstance(state, Pieces):
        return state.whole()
    if isinstance(state, dict):
        return {key: whole(value) for key, value in state.items()}
    if isinstance(state, list):
        return [whole(value) for value in state]
    return state


def numbered(name: str, index: int) -> str:
    """The name of a rank's block of a tensor in its file: of its first one the tensor's own."""
    return name if index == 0 else f"{name}#{index}"


def blocks_by_name(pieces: Mapping[str, Piece]) -> dict[str, Tensor]:
    """The blocks of pieces by their names in a rank's file."""
    return {
        numbered(name, index): tensor
        for name, piece in pieces.items()
        for index, (_, tensor) in enumerate(piece.blocks)
    }


def described(shapes: Mapping[str, list[int]], records: list[dict[str, Any]]) -> dict[str, Any]:
    """What a manifest says of tensors in pieces: the shape of each, and each file's blocks by their offsets."""
    return {
        path: {
            "shape": shape,
            "parts": [[each["name"], each["offsets"][path]] for each in records if path in each["offsets"]],
        }
        for path, shape in shapes.items()
    }


def file_of(rank: int) -> str:
    """The file of a rank's pieces in a checkpoint's folder."""
    return f"rank-{rank}.safetensors"


def publish(folder: Path, rank: int, record: dict[str, Any]) -> None:
    """Tell the rank that commits the checkpoint what this one has written, or why it could not (`failure`)."""
    beside = folder / f".rank-{rank}.part"
    beside.write_text(json.dumps(record), encoding="utf-8")
    beside.replace(folder / f".rank-{rank}.json")


def collect(folder: Path, num_ranks: int, limit_s: float) -> list[dict[str, Any]]:
    """What the ranks from 1 on published, in their order. Waits for it at most `limit_s`, then raises OSError."""
    records = []
    deadline = time.monotonic() + limit_s
    for rank in range(1, num_ranks):
        path = folder / f".rank-{rank}.json"
        while not path.exists():
            if time.monotonic() > deadline:
                raise OSError(f"rank {rank} has not written its part within {limit_s:g} s")
            time.sleep(0.01)
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        if "failure" in record:
            raise OSError(record["errno"], f"rank {rank}: {record['failure']}")
        records.append(record)
    return records
