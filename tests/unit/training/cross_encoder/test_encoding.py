"""PairEncoder against the tokenizers of transformers."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import processors
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from tests.models import word_piece
from tests.unit.model.tokenizer_styles import CORPUS, STYLES, save_style
from training.cross_encoder.encoding import Padding, PairEncoder, PromptedText, TypedEncoded, prepares, row_types
from training.cross_encoder.texts import TokenizedText

PAIRS = [*zip(CORPUS, reversed(CORPUS), strict=True), ("short", " ".join(CORPUS)), (" ".join(CORPUS), ""), ("", "")]


@pytest.fixture(scope="module", params=STYLES)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The transformers tokenizer of each promised model type."""
    return AutoTokenizer.from_pretrained(save_style(request.param, tmp_path_factory.mktemp("tokenizers")))


def check(encoder: PairEncoder, tokenizer: Any, pairs: list[Any], prompt: str = "") -> None:
    """Same ids and type ids for every pair, and for every first text alone."""
    limits = {"truncation": "longest_first", "max_length": encoder.max_length}
    firsts, seconds = [prompt + first for first, _ in pairs], [second for _, second in pairs]
    for rows, theirs in (
        (encoder.pairs(pairs, prompt), tokenizer(firsts, seconds, **limits)),
        (encoder.singles([first for first, _ in pairs], prompt), tokenizer(firsts, **limits)),
    ):
        for i, row in enumerate(rows):
            assert row.ids.tolist() == theirs["input_ids"][i]
            if encoder.segments:
                assert row_types(row).tolist() == theirs["token_type_ids"][i]


@pytest.mark.parametrize("max_length", [8, 31, 512])
@pytest.mark.parametrize("side", ["right", "left"])
def test_ids_are_those_of_transformers(tokenizer: Any, max_length: int, side: str) -> None:
    """Truncated or not, on either side, with and without a prompt; the copy is in use, not the fallback."""
    tokenizer.truncation_side = side
    encoder = PairEncoder(tokenizer, max_length)
    assert encoder._fast is not None
    for prompt in ("", "query: "):
        check(encoder, tokenizer, PAIRS, prompt)


def test_tokenized_texts_are_not_tokenized_again(tokenizer: Any) -> None:
    """Their ids are taken as they are; a prompt makes another text of them."""
    encoder = PairEncoder(tokenizer, 64)
    first, second = (TokenizedText(text, ids) for text, ids in zip(CORPUS[:2], encoder.ids(CORPUS[:2]), strict=True))
    check(encoder, tokenizer, [(first, second), (second, CORPUS[2])], "query: ")
    check(encoder, tokenizer, [(first, second), (second, CORPUS[2])])
    marked = TokenizedText("anything", np.array([7, 7, 7], dtype=np.int32))
    (row,) = encoder.pairs([(marked, "other")])
    assert row.ids.tolist().count(7) >= 3
    assert encoder.ids([marked, "anything"])[0] is marked.ids


def test_without_a_limit_the_tokenizers_own_applies(tokenizer: Any) -> None:
    """`model_max_length`, which may say that there is none."""
    tokenizer.model_max_length = 20
    assert max(map(len, PairEncoder(tokenizer).pairs(PAIRS))) == 20
    tokenizer.model_max_length = int(1e30)
    (row,) = PairEncoder(tokenizer).pairs([(" ".join(CORPUS) * 3, "b")])
    assert len(row) > 512


def test_padding_is_that_of_the_tokenizer(tokenizer: Any) -> None:
    """Id, side and type ids."""
    segments = "token_type_ids" in tokenizer.model_input_names and tokenizer("a", "b").get("token_type_ids")[-1] == 1
    assert PairEncoder(tokenizer).padding == Padding(tokenizer.pad_token_id, segments, "right")
    tokenizer.padding_side = "left"
    assert PairEncoder(tokenizer).padding.side == "left"


def test_a_pickled_encoder_gives_the_same(tokenizer: Any) -> None:
    """Worker processes get it so."""
    copied = pickle.loads(pickle.dumps(PairEncoder(tokenizer, 40)))
    check(copied, tokenizer, PAIRS)


def test_already_borrowed_does_not_happen(tokenizer: Any) -> None:
    """Threads that encode while others call the user's tokenizer with changing truncation."""
    tokenizer.truncation_side = "right"
    encoder = PairEncoder(tokenizer, 40)
    expected = [row.ids.tolist() for row in encoder.pairs(PAIRS)]

    def work(i: int) -> list[list[int]]:
        return [row.ids.tolist() for row in encoder.pairs(PAIRS)]

    with ThreadPoolExecutor(4) as threads:
        assert all(found == expected for found in threads.map(work, range(40)))


def test_slow_tokenizers_are_called_themselves() -> None:
    """ByT5 is written in Python; from threads, one call at a time."""
    tokenizer = ByT5Tokenizer()
    encoder = PairEncoder(tokenizer, 30)
    assert encoder._fast is None
    check(encoder, tokenizer, PAIRS, "query: ")
    check(encoder, tokenizer, PAIRS)
    assert encoder.ids(["ab"])[0].tolist() == tokenizer("ab", add_special_tokens=False)["input_ids"]
    tokenized = TokenizedText("ab", encoder.ids(["ab"])[0])
    assert encoder.pairs([(tokenized, "c")])[0].ids.tolist() == tokenizer("ab", "c")["input_ids"]


@pytest.mark.parametrize("side", ["right", "left"])
def test_slow_tokenizers_do_not_tokenise_again_what_carries_its_ids(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rows are made of the ids; type ids and cuts are theirs."""
    tokenizer = ByT5Tokenizer(truncation_side=side, model_input_names=["input_ids", "token_type_ids"])
    for limit in (6, 30):
        encoder = PairEncoder(tokenizer, limit)
        check(encoder, tokenizer, PAIRS)
        front, first, second = "query: ", "what is a fox", "a dog"
        whole, other = (TokenizedText(text, encoder.ids([text])[0]) for text in (front + first, second))
        expected = tokenizer(whole, second, truncation="longest_first", max_length=limit)
        with monkeypatch.context() as patched:
            patched.setattr(ByT5Tokenizer, "_tokenize", None)
            (row,) = encoder.pairs([(PromptedText(first, whole), other)], front)
        assert row.ids.tolist() == expected["input_ids"]
        assert row_types(row).tolist() == expected["token_type_ids"]


def test_a_tokenizer_that_makes_rows_in_its_own_way_is_asked_for_them() -> None:
    class Own(ByT5Tokenizer):
        def prepare_for_model(self, *args: Any, **kwargs: Any) -> Any:
            found = super().prepare_for_model(*args, **kwargs)
            return {**found, "input_ids": found["input_ids"] + [5]}

    assert prepares(ByT5Tokenizer())
    assert not prepares(Own())
    assert PairEncoder(Own(), 30).pairs([("a", "b")])[0].ids.tolist() == Own()("a", "b")["input_ids"]


def test_templates_with_other_type_ids_keep_them() -> None:
    """XLNet puts its class token last, with a type id of its own."""
    raw = word_piece()
    raw.post_processor = processors.TemplateProcessing(
        single="$A:0 [SEP]:0 [CLS]:2",
        pair="$A:0 [SEP]:0 $B:1 [SEP]:1 [CLS]:2",
        special_tokens=[(token, raw.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        padding_side="left",
        model_input_names=["input_ids", "attention_mask", "token_type_ids"],
    )
    encoder = PairEncoder(tokenizer, 20)
    check(encoder, tokenizer, PAIRS)
    assert isinstance(encoder.pairs([("a", "b")])[0], TypedEncoded)
    assert encoder.padding == Padding(tokenizer.pad_token_id, True, "left")


def test_what_is_not_text_gets_the_tokenizers_own_error(reranker_dir: Path) -> None:
    """Not one of ours about ids."""
    tokenizer = AutoTokenizer.from_pretrained(reranker_dir)
    with pytest.raises((TypeError, ValueError)) as theirs:
        tokenizer(["a", 1], ["b", "c"])
    with pytest.raises(theirs.type):
        PairEncoder(tokenizer, 20).pairs([("a", "b"), (1, "c")])  # type: ignore[list-item]


def test_nothing_gives_nothing(reranker_dir: Path) -> None:
    """No pairs, no texts."""
    encoder = PairEncoder(AutoTokenizer.from_pretrained(reranker_dir), 20)
    assert encoder.pairs([]) == encoder.singles([]) == encoder.ids([]) == []
    assert PairEncoder(ByT5Tokenizer(), 20).pairs([]) == []


def test_lists_serve_as_pairs(reranker_dir: Path) -> None:
    """Data sets hand over lists."""
    tokenizer = AutoTokenizer.from_pretrained(reranker_dir)
    check(PairEncoder(tokenizer, 20), tokenizer, [["what is a fox", "a dog"]], "query ")
