"""Which models are served under which names, and how big their batches are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from app.errors import ConfigError
from app.lifecycle import Lifecycle
from app.metrics import Metrics
from app.model.backends import BackendOptions
from app.model.cross_encoder import CrossEncoder
from app.model.hub import HubOptions
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
    assert batch_budget(Settings(), "cpu").max_tokens == 512
    assert batch_budget(Settings(), "cuda").max_tokens == 16384
    given = batch_budget(Settings(max_batch_tokens=77, max_batch_rows=5, min_batch_fill=0.25), "cuda")
    assert (given.max_tokens, given.max_rows, given.min_fill) == (77, 5, 0.25)


def test_every_model_setting_reaches_the_model(reranker_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `CrossEncoder.load` is called with; each option's own effect is tested there."""
    seen: dict[str, Any] = {}

    def load(cls: type[CrossEncoder], *arguments: Any, **options: Any) -> CrossEncoder:
        seen.update(zip(("model", "backend", "options", "hub"), arguments, strict=True), **options)
        return original(reranker_dir)

    original = CrossEncoder.load
    monkeypatch.setattr(CrossEncoder, "load", classmethod(load))
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
    )
    registry = Registry(settings, Metrics(["m"]), Lifecycle())
    registry.load()
    registry.close()
    assert seen == {
        "model": "somewhere",
        "backend": "torch",
        "options": BackendOptions("cuda:1", "bf16", 3, True, ("P",), "g.onnx"),
        "hub": HubOptions(revision="v2", token="t", local_files_only=True),
        "max_length": 99,
        "truncation": "only_second",
        "side": "left",
    }
    assert registry._encoders._max_workers == 7


def test_a_queue_smaller_than_a_batch_is_no_obstacle_to_warming_up(reranker_dir: Path) -> None:
    settings = Settings(model=(str(reranker_dir),), max_pending_tokens=20)
    registry = Registry(settings, Metrics([reranker_dir.name]), Lifecycle())
    registry.load()
    try:
        assert registry.find(None).batcher.rate.tokens_per_s > 0
    finally:
        registry.close()
