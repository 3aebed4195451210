"""Where a run comes from: its command, code, packages, machine and data, in provenance.json and changes.patch."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import threading
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import __version__
from launcher.errors import ConfigError

from .files import object_of
from .masking import mask, mask_code

if TYPE_CHECKING:
    from launcher.data.samples import Datasets, Samples

FILE, PATCH = "provenance.json", "changes.patch"
COMMAND = "LAUNCHER_COMMAND"
"""The environment variable that hands the person's command line down to the processes that work for it."""
PACKAGES = (
    "torch",
    "accelerate",
    "hydra-core",
    "omegaconf",
    "numpy",
    "scikit-learn",
    "torchmetrics",
    "transformers",
    "datasets",
)
"""The versions that stand in every result; provenance.json has those of all packages."""
LARGEST_PATCH = 4 << 20
_LEFT_OUT = tuple(
    f":(top,exclude,icase,glob)**/{name}"
    for name in (
        ".env", ".env.*", "*.env", ".envrc", ".netrc", ".npmrc", ".pypirc", ".pgpass", ".htpasswd", "*.pem", "*.key", "*.p12",
        "*.pfx", "*.keystore", "id_rsa*", "id_ed25519*", "secrets.y*ml", "secrets.json", "secrets.toml", "credentials*",
    )
)  # fmt: skip
"""Files whose changes are not kept in changes.patch: what stands in them is mostly a secret."""
HASHED_BYTES = 16 << 20
"""Samples in memory up to this size are hashed whole; of more, and of those that are decoded, `SAMPLED` of them."""
SAMPLED = 16

_VARIABLES = (
    "CUDA_", "NVIDIA_VISIBLE", "NCCL_", "GLOO_", "OMP_", "MKL_", "TORCH_", "PYTORCH_", "PYTHONHASHSEED", "SLURM_JOB_ID",
    "SLURM_ARRAY", "SLURM_NNODES", "SLURM_JOB_NODELIST", "SLURM_JOB_PARTITION", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "LAUNCHER_TRUST",
    "CONDA_DEFAULT_ENV", "VIRTUAL_ENV",
)  # fmt: skip


def remember(words: list[str]) -> None:
    """Keep the command line for `provenance.json`, unless this process already works for another command.

    What looks like a secret is left out, such as the password in an address.
    """
    shown = [mask(word) for word in words]
    os.environ.setdefault(COMMAND, shlex.join(["python", "-m", "launcher", *shown]))


def provenance() -> dict[str, Any]:
    """The versions that computed it and the commit of the folder it was started in."""
    return {"versions": dict(_versions()), "git": git_state()}


@cache
def _versions() -> dict[str, str]:
    """Read once: a trial is made of several fits in one process."""
    versions = {"python": platform.python_version(), "launcher": __version__}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def git_state() -> dict[str, Any] | None:
    """Commit and cleanliness of the current folder's repository; None outside one."""
    found = _git("status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if found is None:
        return None
    lines = found.decode(errors="replace").splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid")), None)
    return {"commit": commit, "dirty": any(not line.startswith("#") for line in lines)}


@cache
def _harmless(folder: str) -> tuple[str, ...]:
    """Options by which git starts no program that the settings of this folder's repository name: a folder that somebody
    has handed on may bring a .git of its own."""
    options = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]
    listed = subprocess.run(
        ["git", "config", "--local", "--name-only", "--get-regexp", r"^filter\."], capture_output=True, timeout=5
    ).stdout
    for name in {key.rpartition(".")[0] for key in listed.decode(errors="replace").split()}:
        options += ["-c", f"{name}.clean=", "-c", f"{name}.process=", "-c", f"{name}.required=false"]
    return tuple(options)


def _git(*words: str) -> bytes | None:
    try:
        return subprocess.run(
            ["git", *_harmless(str(Path.cwd())), *words], capture_output=True, timeout=5, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def _packages() -> dict[str, str]:
    """Installed packages and their versions, read off the names of their folders: two hundred files of metadata take as
    long as a tenth of the start."""
    found: dict[str, str] = {}
    for entry in sys.path:
        for path in Path(entry or ".").glob("*.dist-info"):
            name, _, number = path.name.removesuffix(".dist-info").partition("-")
            found.setdefault(name.replace("_", "-").lower(), number)
    return found


class Provenance:
    """What is to be known of a session. A thread asks git while the run is built, whose code is what git knows now."""

    def __init__(self) -> None:
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._training: dict[str, Any] = {}
        self._git: dict[str, Any] | None = None
        self._patch: bytes | None = None
        self._written: dict[str, Any] | None = None
        self._thread = threading.Thread(target=self._ask, name="provenance", daemon=True)
        self._thread.start()

    def training(self, time_s: float) -> None:
        """The training of this session begins now, after so many seconds of it in earlier ones: what tells the time of day
        of each line of metrics.jsonl."""
        self._training = {"began": datetime.now(UTC).isoformat(timespec="milliseconds"), "time_s": time_s}

    def write(self, folder: Path, data: Datasets) -> dict[str, Any]:
        """Write both files and return what stands in the first; a resumed run's earlier sessions stay in it.

        `data` is told apart by `fingerprint`. Called again, it returns what it has written.
        """
        if self._written is not None:
            return self._written
        self._thread.join()
        self._written = self._session() | {"data": fingerprint(data)}
        path = folder / FILE
        try:
            earlier = read(folder)
        except ConfigError:  # the sessions before are lost, the run is not
            if path.is_dir():  # which no file can take the place of
                raise
            earlier = None
        before = [] if earlier is None else [*earlier.pop("before", []), earlier]
        beside = folder / f".{FILE}"
        beside.write_text(json.dumps(self._written | {"before": before}, indent=2) + "\n", encoding="utf-8")
        beside.replace(path)
        if self._patch:
            (folder / PATCH).write_bytes(self._patch)
        return self._written

    def _ask(self) -> None:
        self._git = git_state()
        if self._git is not None and self._git["dirty"]:
            patch = _git("diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--", ":/", *_LEFT_OUT) or b""
            kept = mask_code(patch.decode(errors="surrogateescape")) if len(patch) <= LARGEST_PATCH else ""
            self._patch = kept.encode(errors="surrogateescape")

    def _session(self) -> dict[str, Any]:
        return {
            "started": self._started,
            "training": self._training,
            "command": os.environ.get(COMMAND, shlex.join(sys.argv)),
            "git": self._git,
            "host": platform.node(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "environment": {key: mask(os.environ[key]) for key in sorted(os.environ) if key.startswith(_VARIABLES)},
            "packages": dict(sorted(_packages().items())),
        }


def read(folder: Path) -> dict[str, Any] | None:
    """What stands in a run's provenance.json; None where there is none. Raises ConfigError for one that is damaged."""
    return object_of(folder / FILE, "take it away, and the rest is shown without")


def fingerprint(data: Datasets) -> dict[str, Any]:
    """The number of samples of each split and a hash of what is in them: alike for the same data, rows and order.

    A split in memory of up to 16 MB is hashed whole, else 16 samples spread evenly stand for it.
    """
    return {
        name: {"samples": len(samples), "hash": _hashed(samples)}
        for name, samples in (("train", data.train), ("val", data.val))
        if samples is not None
    }


def _hashed(samples: Samples) -> str | None:
    import numpy as np
    import torch

    digest = hashlib.blake2b(digest_size=8)
    length = len(samples)
    small = samples.in_memory and getattr(samples, "bytes_per_sample", HASHED_BYTES) * length <= HASHED_BYTES
    indices = torch.arange(length) if small else torch.linspace(0, length - 1, min(SAMPLED, length)).round().long()
    try:
        batch = samples.fetch(indices)
    except TypeError:  # a table for an estimator: its rows have hashes of their own
        rows = samples.fingerprints()
        return None if rows is None else hashlib.blake2b(rows.tobytes(), digest_size=8).hexdigest()
    for name, column in sorted(batch.items()):
        digest.update(f"{name} {column.dtype} {tuple(column.shape)}".encode())
        plain = column.cpu()
        digest.update(
            np.ascontiguousarray(plain.float().numpy() if plain.dtype == torch.bfloat16 else plain.numpy()).tobytes()
        )
    return digest.hexdigest()
