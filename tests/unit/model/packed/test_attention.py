"""The attentions of inference against each other."""

from __future__ import annotations

import pytest
import torch

from app.model.packed.dropout import NoDropout
from app.model.packed.fused_attention import attend_fused
from app.model.packed.grid_attention import attend_in_grid
from app.model.packed.layout import Layout, groups_of, places

LENGTHS = [9, 6, 6, 6, 2, 1]


@pytest.mark.parametrize("window", [None, 1, 3, 40])
@pytest.mark.parametrize("empty", [0, 3])
def test_attention_in_a_grid_is_attention_by_length(window: int | None, empty: int) -> None:
    """Also with rows of no tokens behind the real ones, and a grid that is wider than the longest row."""
    tokens = sum(LENGTHS)
    ends = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0).tolist(), *[tokens] * empty], dtype=torch.int32)
    ids = torch.zeros(tokens, dtype=torch.long)
    layout = Layout(
        *(ids, ids, *places(ends, tokens), ends), tokens=tokens, longest=16 if empty else 9, groups=groups_of(LENGTHS)
    )
    torch.manual_seed(0)
    qkv = torch.randn(tokens, 3, 2, 8)
    expected = attend_fused(qkv, layout, 0.0, NoDropout(), window)
    found = attend_in_grid(qkv, layout, 0.0, NoDropout(), window)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
