"""The real MiniLM as a cross-encoder, built once for all tests that need trained weights."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def minilm_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM's weights under a seeded head of one label, with onnx/model.onnx."""
    from tests.unit.model.families import write_minilm

    return write_minilm(tmp_path_factory.mktemp("models") / "minilm")
