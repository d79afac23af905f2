"""Which models are served under which names, and how big their batches are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from app.errors import ConfigError
from app.lifecycle import Lifecycle
from app.metrics import Metrics
from app.model.artifact import read_artifact
from app.model.backends import BackendOptions
from app.model.backends.onnx import OnnxBackend
from app.model.hub import HubOptions
from app.model.parity import ParityPolicy
from app.model.tuning import Tuned, Tuner, Wrap
from app.model.tuning_cache import TuningCache
from app.model.types import EncodeOptions
from app.registry import Registry, batch_budget, parse_models


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("default",), {"default": "default"}),
        (("org/name",), {"org/name": "org/name"}),
        (("/models/mine",), {"mine": "/models/mine"}),
        (("./mine/",), {"mine": "./mine/"}),
        (("a=/x", "b=default"), {"a": "/x", "b": "default"}),
    ],
)
def test_names(given: tuple[str, ...], expected: dict[str, str]) -> None:
    assert parse_models(given) == expected


@pytest.mark.parametrize("given", [("=x",), ("a=",), ("a=x", "a=y"), ("/m/a", "/n/a")])
def test_a_missing_or_repeated_name_is_an_error(given: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="--model"):
        parse_models(given)


def test_the_token_budget_follows_the_device_unless_it_is_given() -> None:
    assert batch_budget(Settings(), "cpu", None).max_tokens == 512
    assert batch_budget(Settings(), "cpu", 1024).max_tokens == 1024
    assert batch_budget(Settings(), "cuda", None).max_tokens == 16384
    given = batch_budget(Settings(max_batch_tokens=77, max_batch_rows=5, min_batch_fill=0.25), "cpu", 1024)
    assert (given.max_tokens, given.max_rows, given.min_fill) == (77, 5, 0.25)


def test_every_model_setting_reaches_the_model(
    reranker_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tuner is made and called with; each option's own effect is tested there."""
    seen: dict[str, Any] = {}

    def load(tuner: Tuner, model: str, backend: str, hub: HubOptions, wrap: Wrap) -> Tuned:
        seen.update(tuner=tuner, model=model, backend=backend, hub=hub)
        artifact = read_artifact(reranker_dir)
        return Tuned(wrap(artifact, OnnxBackend(artifact, BackendOptions())), 321)

    monkeypatch.setattr(Tuner, "load", load)
    settings = Settings(
        model=("m=somewhere",),
        backend="torch",
        device="cuda:1",
        precision="bf16",
        graph="g.onnx",
        providers=("P",),
        compile=True,
        threads=3,
        max_length=99,
        truncation="only_second",
        truncation_side="left",
        revision="v2",
        hub_token="t",
        hub_local_files_only=True,
        tokenizer_threads=7,
        max_batch_rows=9,
        parity_policy="refuse",
        parity_max_difference=0.1,
        parity_min_tau=0.9,
        cache_dir=str(tmp_path),
    )
    registry = Registry(settings, Metrics(["m"]), Lifecycle())
    registry.load()
    registry.close()
    service = registry.find(None)
    options = BackendOptions("cuda:1", "bf16", 3, True, ("P",), "g.onnx")
    assert seen == {
        "tuner": Tuner(options, ParityPolicy("refuse", 0.1, 0.9), TuningCache(tmp_path), 9),
        "model": "somewhere",
        "backend": "torch",
        "hub": HubOptions(revision="v2", token="t", local_files_only=True),
    }
    assert service.model.options == EncodeOptions(99, "only_second", "left")
    assert service.batcher.budget.max_tokens == 321
    assert registry._encoders._max_workers == 7


def test_a_budget_that_is_given_is_not_measured(reranker_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    load = Tuner.load
    monkeypatch.setattr(Tuner, "load", lambda self, *given: (seen.append(self.max_rows), load(self, *given))[1])
    registry = Registry(Settings(model=(str(reranker_dir),), max_batch_tokens=77), Metrics(["m"]), Lifecycle())
    registry.load()
    registry.close()
    assert (seen, registry.find(None).batcher.budget.max_tokens) == ([0], 77)


def test_a_queue_smaller_than_a_batch_is_no_obstacle_to_warming_up(reranker_dir: Path) -> None:
    settings = Settings(model=(str(reranker_dir),), max_pending_tokens=20)
    registry = Registry(settings, Metrics([reranker_dir.name]), Lifecycle())
    registry.load()
    try:
        assert registry.find(None).batcher.rate.tokens_per_s > 0
    finally:
        registry.close()
