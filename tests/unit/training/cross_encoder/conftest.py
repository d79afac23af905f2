"""What tests of passes over parts of a batch share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def one_core() -> Iterator[None]:
    """As in a thread that computes a part of a pass."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
