"""Seeds: one number from the user, a seed of its own for each thing that draws."""

from __future__ import annotations

import hashlib


def derive(seed: int, *what: str | int) -> int:
    """A 63-bit seed that depends on `seed` and on what it is for, and on nothing else.

    The words are length-prefixed, so that ("ab", "c") and ("a", "bc") differ. The same arguments give the
    same seed on every machine and in every process (Python's own `hash` does not).
    """
    text = "".join(f"{len(str(word))}:{word};" for word in (seed, *what))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def seed_everything(seed: int, rank: int, deterministic: bool) -> None:
    """Seed every generator of this process: weights alike on each rank, dropout of each rank's own."""
    import random

    import numpy as np
    import torch

    own = derive(seed, "train", rank)
    random.seed(own)
    np.random.seed(own % 2**32)
    torch.manual_seed(own)
    if deterministic:
        import os

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
