"""Models whose rows are not made of the ids of two texts: the collator makes the rows, and a step finds them made."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from tokenizers import processors
from torch import nn
from torch.utils.data import DataLoader
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase

from tests.unit.training.cross_encoder.modules.tiny_causal import CHATML, write_causal
from tests.unit.training.cross_encoder.test_collator import flagged
from tests.unit.training.cross_encoder.trainer_data import arguments, exact_model_dir, identical, lists, pairs, weights
from training.cross_encoder import CrossEncoder, CrossEncoderTrainer
from training.cross_encoder.data_collator import CrossEncoderDataCollator
from training.cross_encoder.encoding import PairEncoder, row_types
from training.cross_encoder.losses import (
    BinaryCrossEntropyLoss,
    ListNetLoss,
    MarginMSELoss,
    MultipleNegativesRankingLoss,
)
from training.cross_encoder.texts import RowText


class Own(ByT5Tokenizer):  # type: ignore[misc]
    """Written in Python, with a row that ends in its own way."""

    def prepare_for_model(self, *args: Any, **kwargs: Any) -> Any:
        found = super().prepare_for_model(*args, **kwargs)
        return {**found, "input_ids": [*found["input_ids"], 5]}


def chat(folder: Path) -> CrossEncoder:
    return CrossEncoder(str(write_causal(folder / "chat", CHATML, "qwen")), device="cpu")


def class_last(folder: Path) -> CrossEncoder:
    """A template like XLNet's, padded on the left."""
    model = CrossEncoder(str(exact_model_dir(folder / "last")), device="cpu")
    raw = model.tokenizer.backend_tokenizer
    raw.post_processor = processors.TemplateProcessing(
        single="$A:0 [SEP]:0 [CLS]:1",
        pair="$A:0 [SEP]:0 $B:1 [SEP]:1 [CLS]:0",
        special_tokens=[(token, raw.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    model.tokenizer.padding_side = "left"
    return model


def own_steps(folder: Path) -> CrossEncoder:
    model = CrossEncoder(str(exact_model_dir(folder / "own")), device="cpu")
    model.tokenizer = Own(model_max_length=40)
    model.model.resize_token_embeddings(400)
    return model


MAKERS = [chat, class_last, own_steps]
TRIPLETS = pairs(8).add_column("negative", pairs(8, seed=2)["document"])
DATA: dict[type[nn.Module], Dataset] = {
    BinaryCrossEntropyLoss: pairs(8),
    ListNetLoss: lists(8),
    MarginMSELoss: TRIPLETS.select_columns(["query", "document", "negative", "label"]),
    MultipleNegativesRankingLoss: pairs(8).remove_columns("label"),
}


def train(make: Callable[[Path], CrossEncoder], folder: Path, kind: type[nn.Module], rows: bool, **options: Any) -> Any:
    """The weights after two steps, and how often a tokenizer was asked while the loss computed."""
    model = make(folder)
    args = arguments(folder / "output", max_steps=2, **options)
    collator = None if rows else CrossEncoderDataCollator(prompts=args.prompts)
    calls: list[str] = []
    inside: list[bool] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kind, "forward", flagged(kind.forward, inside))
        for name in ("__call__", "apply_chat_template"):
            asked = getattr(PreTrainedTokenizerBase, name)
            patched.setattr(PreTrainedTokenizerBase, name, counted(asked, inside, calls))
        patched.setattr(PairEncoder, "_tokenize", counted(PairEncoder._tokenize, inside, calls))
        CrossEncoderTrainer(model, args, DATA[kind], loss=kind(model), data_collator=collator).train()
    return weights(model), len(calls)


def counted(call: Callable[..., Any], inside: list[bool], calls: list[str]) -> Callable[..., Any]:
    """`call`, with an entry in `calls` for each that comes while `inside` is filled."""

    def run(*args: Any, **kwargs: Any) -> Any:
        calls.extend(["call"] if inside else [])
        return call(*args, **kwargs)

    return run


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("kind", [BinaryCrossEntropyLoss, ListNetLoss, MarginMSELoss])
def test_no_tokenizer_is_asked_in_forward_and_the_model_learns_the_same(
    make: Callable[[Path], CrossEncoder], kind: type[nn.Module], tmp_path: Path
) -> None:
    """The same as where the loss is given plain texts, whose tokenizer is then asked."""
    prompts = "find: " if kind is BinaryCrossEntropyLoss else None
    plain, asked = train(make, tmp_path / "plain", kind, rows=False, prompts=prompts)
    found, calls = train(make, tmp_path / "rows", kind, rows=True, prompts=prompts)
    assert asked > 0
    assert calls == 0
    assert identical(found, plain)


def test_only_negatives_out_of_the_batch_are_left_to_the_loss_that_draws_them(tmp_path: Path) -> None:
    plain, asked = train(class_last, tmp_path / "plain", MultipleNegativesRankingLoss, rows=False)
    found, calls = train(class_last, tmp_path / "rows", MultipleNegativesRankingLoss, rows=True)
    assert asked == calls > 0
    assert identical(found, plain)


@pytest.mark.parametrize("make", MAKERS)
def test_rows_are_those_of_the_encoder_in_workers_too(
    make: Callable[[Path], CrossEncoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make(tmp_path).pair_encoder
    assert not encoder.joins
    collator = CrossEncoderDataCollator(encoder=encoder, prompts="find: ")
    (batch,) = DataLoader(lists(4), batch_size=4, collate_fn=collator, num_workers=1)
    asked = [(query, text) for query, texts in zip(batch["query"], batch["documents"], strict=True) for text in texts]
    expected = encoder.pairs([(query, str(text)) for query, text in asked], "find: ")
    assert all(isinstance(text, RowText) for _, text in asked)
    with monkeypatch.context() as patched:
        patched.setattr(type(encoder), "_pairs", None)
        found = encoder.pairs(asked, "find: ")
    for mine, theirs in zip(found, expected, strict=True):
        assert np.array_equal(mine.ids, theirs.ids)
        assert np.array_equal(row_types(mine), row_types(theirs))
    copy = pickle.loads(pickle.dumps(asked[0][1]))
    assert (copy, copy.made_of) == (asked[0][1], asked[0][1].made_of)


@pytest.mark.parametrize("make", MAKERS)
def test_a_row_of_another_first_text_prompt_or_length_is_made_anew(
    make: Callable[[Path], CrossEncoder], tmp_path: Path
) -> None:
    model = make(tmp_path)
    (carrying,) = model.pair_encoder.with_rows([("what is a cat", "the quick brown fox jumps " * 3)], "find: ")
    plain = str(carrying)

    def same(first: str, prompt: str | None) -> None:
        (found,) = model.pair_encoder.pairs([(first, carrying)], prompt)
        (expected,) = model.pair_encoder.pairs([(first, plain)], prompt)
        assert np.array_equal(found.ids, expected.ids)
        assert not np.array_equal(found.ids, carrying.row.ids)

    same("who is fox", "find: ")
    same("what is a cat", None)
    same("what is a cat", "search: ")
    model.max_seq_length = 20
    same("what is a cat", "find: ")
