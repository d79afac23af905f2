"""Encoding in several processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.sentence_transformer.tiny import TEXTS
from training import SentenceTransformer


@pytest.fixture(scope="module")
def model(prompted_dir: Path) -> SentenceTransformer:
    """A model with prompts that are not pooled."""
    return SentenceTransformer(str(prompted_dir), device="cpu")


def test_a_pool_gives_what_one_process_gives(model: SentenceTransformer) -> None:
    options = {"prompt_name": "query", "normalize_embeddings": True, "truncate_dim": 9}
    expected = model.encode(TEXTS, **options)
    pool = model.start_multi_process_pool(["cpu"])
    try:
        np.testing.assert_allclose(model.encode(TEXTS, pool=pool, chunk_size=2, **options), expected, atol=1e-6)
        np.testing.assert_allclose(model.encode_multi_process(TEXTS, pool, **options), expected, atol=1e-6)
        np.testing.assert_allclose(model.encode(TEXTS[0], pool=pool, **options), expected[0], atol=1e-6)
        assert model.encode([], pool=pool).shape == (0,)
    finally:
        model.stop_multi_process_pool(pool)


def test_a_list_of_devices_makes_a_pool_of_its_own(static_dir: Path) -> None:
    model = SentenceTransformer(str(static_dir), device="cpu")
    np.testing.assert_allclose(model.encode(TEXTS, device=["cpu"]), model.encode(TEXTS), atol=1e-6)
