"""Models that several tests read; none changes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer as Theirs
from sentence_transformers.sentence_transformer import modules

from tests.unit.training.sentence_transformer.tiny import write_embedder, write_static
from training import SentenceTransformer

Pair = tuple[SentenceTransformer, Any]
"""Ours and theirs; the hints of theirs are narrower than what it takes."""


def both(directory: Path, **kwargs: Any) -> Pair:
    """The same model in both libraries."""
    return SentenceTransformer(str(directory), device="cpu", **kwargs), Theirs(str(directory), device="cpu", **kwargs)


def assert_close(found: Any, expected: Any) -> None:
    """Both the same within 1e-5."""
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=1e-5)


@pytest.fixture(scope="session")
def family_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a mean-pooled model of a family, written once."""
    known: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in known:
            known[family] = write_embedder(tmp_path_factory.mktemp(family), family)
        return known[family]

    return get


@pytest.fixture(scope="session")
def bert_dir(family_dir: Callable[[str], Path]) -> Path:
    """A mean-pooled BERT."""
    return family_dir("bert")


@pytest.fixture(scope="session")
def prompted_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with Dense and Normalize, prompts that are not pooled, and settings."""
    torch.manual_seed(3)
    more = [modules.Dense(32, 24), modules.Normalize()]
    return write_embedder(
        tmp_path_factory.mktemp("prompted"),
        "bert",
        *more,
        include_prompt=False,
        prompts={"query": "what is the ", "document": "search engine: ", "other": "a dog "},
        similarity_fn_name="dot",
    )


@pytest.fixture(scope="session")
def static_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static embedding model."""
    return write_static(tmp_path_factory.mktemp("static"))
