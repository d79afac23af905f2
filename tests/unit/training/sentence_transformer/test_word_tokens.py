"""Texts from their words have the ids that the tokenizer gives the whole texts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from training.sentence_transformer.modules import word_tokens
from training.sentence_transformer.modules.word_tokens import splits_at_spaces, token_ids

PIECES = ["[PAD]", "[UNK]", "[MASK]", "a", "##a", "b", "##b", "ab", "##ab", "e", "##e", "中", ".", "-", "σ", "##ς"]
PARTS = [
    "a",
    "b",
    "ab",
    "É",
    "e\u0301",
    "\u0301",
    "中",
    ".",
    "-",
    "Σ",
    "[MASK]",
    "<one>",
    " ",
    "  ",
    "\t",
    "\n",
    "\x1c",
]
PARTS += ["\u00a0", "\u2028", "\u200d", "\x00", "ß", "İ", "x" * 101]
texts_of = st.lists(st.one_of(st.lists(st.sampled_from(PARTS), max_size=12).map("".join), st.text(max_size=8)))


def bert(**options: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = (
        normalizers.BertNormalizer(**options),
        pre_tokenizers.BertPreTokenizer(),
    )
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True, rstrip=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("<one>", single_word=True, normalized=False)])
    return tokenizer


def whole(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


KINDS = [bert(), bert(lowercase=False, strip_accents=True), bert(clean_text=False, handle_chinese_chars=False)]


@settings(deadline=None)
@given(texts=texts_of, kind=st.sampled_from(range(len(KINDS))), limit=st.one_of(st.none(), st.integers(1, 5)))
def test_any_text_has_the_ids_of_the_whole(texts: list[str], kind: int, limit: int | None) -> None:
    tokenizer = Tokenizer.from_str(KINDS[kind].to_str())
    if limit is not None:
        tokenizer.enable_truncation(limit)
    assert splits_at_spaces(tokenizer)
    many = texts * 5  # words must recur
    found = token_ids(tokenizer, many)
    assert [row.tolist() for row in found] == whole(tokenizer, many)
    assert all(row.dtype == np.int32 for row in found)


def test_a_word_that_recurs_is_tokenised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, asked = bert(), []

    class Watched:
        def __getattr__(self, name: str) -> object:
            return getattr(tokenizer, name)

        def encode_batch_fast(self, texts: list[str], **options: bool) -> object:
            asked.append(texts)
            return tokenizer.encode_batch_fast(texts, **options)

    texts = ["ab a b", "b ab", "a b", "ab"] * 3
    monkeypatch.setattr(word_tokens, "TEXTS_AT_ONCE", 5)
    assert [row.tolist() for row in token_ids(Watched(), texts)] == whole(tokenizer, texts)  # type: ignore[arg-type]
    assert asked == [["ab", "a", "b"]]
    token_ids(Watched(), ["ab a", "b e"])  # type: ignore[arg-type]
    assert asked[1] == ["ab a", "b e"], "where words do not recur, texts are tokenised whole"


def lower(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(" a", "b"), normalizers.Lowercase()])


def pieces(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()


def words(tokenizer: Tokenizer) -> None:
    tokenizer.model = models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")


def spaced(tokenizer: Tokenizer) -> None:
    tokenizer.add_tokens([AddedToken("a b", normalized=False)])


def normalized(tokenizer: Tokenizer) -> None:
    tokenizer.add_tokens([AddedToken("É", normalized=True)])


def from_the_left(tokenizer: Tokenizer) -> None:
    tokenizer.enable_truncation(3, direction="left")


@pytest.mark.parametrize("change", [lower, pieces, words, spaced, normalized, from_the_left])
def test_other_tokenizers_see_whole_texts(change: Callable[[Tokenizer], None]) -> None:
    tokenizer, texts = bert(), ["a b a b É", "b a b a"] * 5
    change(tokenizer)
    assert not splits_at_spaces(tokenizer)
    assert [row.tolist() for row in token_ids(tokenizer, texts)] == whole(tokenizer, texts)
