"""What the tests of algorithms share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def generator_as_it_was() -> Iterator[None]:
    """A test's own seeds are not those of the next."""
    with torch.random.fork_rng(devices=[]):
        yield
