"""Documents as one stream of tokens in a file, read a batch of windows at a time.

The stream is made once and kept in the user's cache under a name that stands for all it depends on. Any number of
processes may ask for it at once: one writes, beside its final place, and renames; the others wait, or find it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from launcher.data.samples import Batch, Samples
from launcher.errors import ConfigError

FORMAT = 1
"""Part of every key: a new layout does not read an old file."""


class PackedSamples(Samples):
    """Windows of `length` tokens over a stream of tokens in a file.

    Sample i holds the tokens from i * length on as `input_ids` and the ones that follow each of them as `labels`
    (int64, [batch, length]): over all samples each token is an input once and each but the first a target once.
    The last `left_over` tokens, fewer than a window, have no sample.

    Raises ConfigError for a stream shorter than one window.
    """

    alike = True

    def __init__(self, path: Path, dtype: str, length: int) -> None:
        self.path, self.dtype, self.length = path, dtype, length
        self.num_tokens = path.stat().st_size // np.dtype(dtype).itemsize
        self.num = (self.num_tokens - 1) // length
        if self.num < 1:
            raise ConfigError(f"task.sequence_length={length} is longer than the whole text: {self.num_tokens} tokens")
        self.left_over = self.num_tokens - 1 - self.num * length
        self._stream: np.ndarray | None = None

    def __len__(self) -> int:
        return self.num

    def tokens(self, limit: int) -> np.ndarray:
        """The first `limit` tokens of the stream, as int64."""
        return np.asarray(self._opened()[:limit], dtype=np.int64)

    def _opened(self) -> np.ndarray:
        if self._stream is None:  # opened in the process that reads
            self._stream = np.memmap(self.path, dtype=self.dtype, mode="r")
        return self._stream

    def fetch(self, indices: Tensor) -> Batch:
        where = indices.numpy()[:, None] * self.length + np.arange(self.length + 1)
        window = torch.from_numpy(self._opened()[where].astype(np.int64))
        return {"input_ids": window[:, :-1].contiguous(), "labels": window[:, 1:].contiguous()}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stream": None}  # a memory map would be pickled as all of its values


def cache_folder() -> Path:
    """Where prepared data is kept: `$XDG_CACHE_HOME/launcher`, or `~/.cache/launcher`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "launcher"


def key(**what: Any) -> str:
    """A name for what a prepared file depends on."""
    text = json.dumps({"format": FORMAT, **what}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def cached(kind: str, name: str, build: Callable[[Path], None]) -> Path:
    """The folder `<cache>/<kind>/<name>`, filled by `build(folder)` where it is not there yet.

    `build` is given a folder beside the final one, which is renamed when it returns: the final folder is whole or
    not there. Raises ConfigError where the cache can not be written.
    """
    place = cache_folder() / kind / name
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.parent / f"{name}.lock") as alone:
            if place.is_dir():
                return place
            if alone:  # what a killed process left
                for remains in place.parent.glob(f"{name}.*.part"):
                    shutil.rmtree(remains, ignore_errors=True)
            part = Path(tempfile.mkdtemp(prefix=f"{name}.", suffix=".part", dir=place.parent))
            try:
                build(part)
                part.rename(place)
            except OSError:
                if not place.is_dir():  # else another process without the lock was faster, with the same content
                    raise
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise ConfigError(
            f"can not keep prepared data in {place.parent}: {error.strerror or error}; XDG_CACHE_HOME names another place"
        ) from error
    return place


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold a lock on `path` among processes; gives False where the file system or the platform has none."""
    try:
        import fcntl
    except ImportError:
        yield False
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
            return
        yield True


def write_stream(path: Path, documents: Iterable[list[int] | np.ndarray], end_id: int, dtype: str) -> None:
    """Write the documents' tokens one after another, `end_id` after each, to the disk itself before returning."""
    with path.open("wb") as file:
        for document in documents:
            file.write(np.asarray(document, dtype=dtype).tobytes())
            file.write(np.array([end_id], dtype=dtype).tobytes())
        file.flush()
        os.fsync(file.fileno())
