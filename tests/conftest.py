"""Fixtures shared by all tests: tiny model directories, made once per session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.models import write_model

# No deadline: the machines that run the tests are shared, and one slow example is not a failure.
settings.register_profile("crossrank", deadline=None)
settings.load_profile("crossrank")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests measure of this machine is neither read from the user's cache nor left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def reranker_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny cross-encoder with one label."""
    return write_model(tmp_path_factory.mktemp("models") / "reranker")


@pytest.fixture(scope="session")
def classifier_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny classifier of three exclusive labels."""
    labels = ("contradiction", "entailment", "neutral")
    return write_model(tmp_path_factory.mktemp("models") / "classifier", labels=labels, seed=1)


@pytest.fixture(scope="session")
def multilabel_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny classifier of three independent labels."""
    return write_model(
        tmp_path_factory.mktemp("models") / "multilabel",
        labels=("news", "spam", "sports"),
        problem_type="multi_label_classification",
        seed=2,
    )
