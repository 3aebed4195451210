"""What a checkpoint's files hold: nested plain values as JSON, the tensors among them in safetensors files.

The safetensors files are written here and not by the library, so that the checksum is taken on the way instead of
reading hundreds of megabytes again, and a full disk is the system's own error.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .pieces import Piece, Pieces, numbered

_CHUNK = 8 << 20  # bytes; written while the processor's cache still holds what the checksum has just read

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The format's names of the types that it can hold."""


def pack(state: Any) -> tuple[Any, dict[str, Tensor | Piece]]:
    """Nested dicts, lists and tuples as (a tree that JSON can hold, the tensors and pieces in it by their path).

    A tensor or piece that stands at two places (tied weights) is kept once. Raises TypeError naming the path of a value
    that is neither a tensor of a type that safetensors has, nor plain.
    """
    tensors: dict[str, Tensor | Piece] = {}
    seen: dict[tuple[Any, ...], str] = {}

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, Piece):
            name = seen.setdefault((id(value),), path)
            tensors.setdefault(name, value)
            return {"__tensor__": name}
        if isinstance(value, Tensor):
            if value.dtype not in _NAMES:
                raise TypeError(f"{path}: a tensor of {value.dtype} can not be kept in a checkpoint")
            identity = (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
            name = seen.setdefault(identity, path) if value.numel() else path
            tensors.setdefault(name, value.detach())
            return {"__tensor__": name}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, tuple):
            return {"__tuple__": [walk(entry, f"{path}/{index}") for index, entry in enumerate(value)]}
        if isinstance(value, list):
            return [walk(entry, f"{path}/{index}") for index, entry in enumerate(value)]
        if isinstance(value, dict):
            if all(isinstance(key, str) and not key.startswith("__") for key in value):
                return {key: walk(entry, f"{path}/{key}" if path else key) for key, entry in value.items()}
            return {"__items__": [[walk(key, path), walk(entry, f"{path}/{key}")] for key, entry in value.items()]}
        raise TypeError(
            f"{path}: a {type(value).__name__} can not be kept in a checkpoint; keep tensors and plain values"
        )

    return walk(state, ""), tensors


def unpack(tree: Any, tensors: Mapping[str, Tensor | Pieces]) -> Any:
    """The reverse of `pack`."""
    if isinstance(tree, list):
        return [unpack(entry, tensors) for entry in tree]
    if isinstance(tree, dict):
        if "__tensor__" in tree:
            return tensors[tree["__tensor__"]]
        if "__tuple__" in tree:
            return tuple(unpack(entry, tensors) for entry in tree["__tuple__"])
        if "__items__" in tree:
            return {unpack(key, tensors): unpack(entry, tensors) for key, entry in tree["__items__"]}
        return {key: unpack(entry, tensors) for key, entry in tree.items()}
    return tree


def write_tensors(tensors: Mapping[str, Tensor | Pieces], path: Path) -> dict[str, int]:
    """A safetensors file of tensors on the CPU, contiguous, flushed to the disk; returns its `bytes` and `crc32`.

    Pieces are put together one tensor at a time.

    The interpreter is free meanwhile. Raises OSError where the disk does not take it.
    """
    # The largest elements first, so that each tensor begins at a multiple of its element's size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + math.prod(tensor.shape) * tensor.dtype.itemsize
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    checksum = size = 0
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        first = memoryview(len(text).to_bytes(8, "little") + text)
        for content in itertools.chain((first,), (_bytes(tensor) for _, tensor in ordered)):
            for start in range(0, len(content), _CHUNK):
                chunk: memoryview = content[start : start + _CHUNK]
                checksum = zlib.crc32(chunk, checksum)
                size += len(chunk)
                while chunk:
                    chunk = chunk[os.write(file, chunk) :]
        os.fsync(file)
    finally:
        os.close(file)
    return {"bytes": size, "crc32": checksum}


def read_tensors(path: Path, mapped: bool = False) -> dict[str, Tensor]:
    """The tensors in a safetensors file, in memory of their own: the file may be deleted while they are used.

    With `mapped` they lie in the file, and what is not looked at is not read.
    """
    from safetensors.torch import load_file

    return {name: tensor if mapped else tensor.clone() for name, tensor in load_file(path).items()}


def read_pieces(folder: Path, described: dict[str, Any]) -> dict[str, Pieces]:
    """The tensors that a manifest says to be in pieces, mapped from the files."""
    names = {file for each in described.values() for file, _ in each["parts"]}
    files = {name: read_tensors(folder / name, mapped=True) for name in names}
    return {
        name: Pieces(
            tuple(each["shape"]),
            [
                (tuple(offset), files[file][numbered(name, index)])
                for file, offsets in each["parts"]
                for index, offset in enumerate(offsets)
            ],
        )
        for name, each in described.items()
    }


def checksum(path: Path) -> int:
    """The CRC-32 of a file's content. Raises OSError."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def _bytes(tensor: Tensor | Pieces) -> memoryview:
    if isinstance(tensor, Pieces):
        tensor = tensor.whole()
    if tensor.numel() == 0:
        return memoryview(b"")
    return tensor.reshape(-1).view(torch.uint8).numpy().data
