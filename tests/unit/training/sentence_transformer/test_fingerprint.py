"""The fingerprint: what decides on embeddings changes it, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.unit.training.sentence_transformer.tiny import TEXTS, write_encoder
from training import SentenceTransformer
from training.sentence_transformer.modules import Pooling, Transformer


def fresh(directory: Path) -> SentenceTransformer:
    """The model, loaded anew."""
    return SentenceTransformer(str(directory), device="cpu")


def halve(model: SentenceTransformer) -> None:
    model.to(torch.bfloat16)


def nudge(model: SentenceTransformer) -> None:
    """The change of one number, as by one step of training."""
    with torch.no_grad():
        next(model.parameters()).view(-1)[7] += 1e-6


def add_token(model: SentenceTransformer) -> None:
    model.tokenizer.add_tokens(["capital of"])


CHANGES: dict[str, Callable[[SentenceTransformer], object]] = {
    "one weight": nudge,
    "precision": halve,
    "tokens": add_token,
    "length": lambda model: setattr(model, "max_seq_length", 5),
    "side": lambda model: setattr(model.tokenizer, "truncation_side", "left"),
    "dimension": lambda model: setattr(model, "truncate_dim", 5),
    "prompts": lambda model: model.prompts.update(query="x "),
    "pooled prompt": lambda model: model.set_pooling_include_prompt(False),
    "attention": lambda model: setattr(model[0].config, "layer_norm_eps", 0.5),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_the_model_changes_it(change: str, bert_dir: Path) -> None:
    model = fresh(bert_dir)
    before = model.fingerprint()
    CHANGES[change](model)
    assert model.fingerprint() != before


def test_use_does_not_change_it(bert_dir: Path) -> None:
    model = fresh(bert_dir)
    before = model.fingerprint()
    model.encode(TEXTS, prompt="a dog ")
    model.tokenizer(TEXTS, padding=True, truncation=True, max_length=9)
    assert model.fingerprint() == before == fresh(bert_dir).fingerprint()


def test_two_fine_tunes_of_one_parent_differ(tmp_path: Path) -> None:
    """In sentence-transformers 6.2 their caches of mined embeddings have one key (`base_model` is not known)."""
    first = write_encoder(tmp_path / "a", seed=1)
    second = write_encoder(tmp_path / "b", seed=2)
    made = [SentenceTransformer(modules=[Transformer(str(one)), Pooling(32)], device="cpu") for one in (first, second)]
    assert made[0].fingerprint() != made[1].fingerprint()


def test_static_embeddings_have_one(static_dir: Path) -> None:
    model = fresh(static_dir)
    before = model.fingerprint()
    assert before == fresh(static_dir).fingerprint()
    model.tokenizer.enable_truncation(3)
    assert model.fingerprint() != before
