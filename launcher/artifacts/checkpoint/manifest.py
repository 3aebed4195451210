"""The manifest of a checkpoint: what files belong to it, how large they are, and whether they are as they were written."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

from launcher.artifacts.folder import FORMAT
from launcher.errors import ConfigError

from .tensors import checksum

MANIFEST = "manifest.json"


class TornCheckpoint(Exception):
    """A checkpoint that is missing files, cut short or changed; the message says which file."""


def write_manifest(path: Path, content: dict[str, Any]) -> None:
    """The content and its own checksum: JSON has no other way to tell a changed number from a number."""
    text = json.dumps({"crc32": zlib.crc32(json.dumps(content).encode())} | content)
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def verified(folder: Path) -> dict[str, Any]:
    """A checkpoint's manifest, when every file is as it was written."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise TornCheckpoint(f"{MANIFEST} is missing") from error
    except OSError as error:
        raise TornCheckpoint(f"{MANIFEST}: {error.strerror}") from error
    except ValueError as error:
        raise TornCheckpoint(f"{MANIFEST} is no JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise TornCheckpoint(f"{MANIFEST} has changed since it was written")
    known, actual = manifest.pop("crc32", None), zlib.crc32(json.dumps(manifest).encode())
    if known in (actual, None) and manifest.get("format") != FORMAT:
        raise ConfigError(f"{folder} is of format {manifest.get('format')}; this version reads format {FORMAT}")
    if known != actual:
        raise TornCheckpoint(f"{MANIFEST} has changed since it was written")
    for name, written in manifest["files"].items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != written["bytes"]:
                raise TornCheckpoint(f"{name} has {size} bytes of {written['bytes']}")
            if checksum(path) != written["crc32"]:
                raise TornCheckpoint(f"{name} has changed since it was written")
        except FileNotFoundError as error:
            raise TornCheckpoint(f"{name} is missing") from error
        except OSError as error:
            raise TornCheckpoint(f"{name}: {error.strerror}") from error
    return manifest


def sync(folder: Path) -> None:
    """Flush a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
