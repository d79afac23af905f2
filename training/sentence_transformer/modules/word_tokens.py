"""Token ids of many texts from those of their words: a word that recurs is tokenised once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from app.model.types import IntArray

TEXTS_AT_ONCE = 2048
"""Texts whose ids are put together in one pass over arrays: bounds the memory."""
OFTEN = 2
"""How often a word must recur on average, so that looking words up costs less than it saves."""


class Numbers(dict[str, int]):
    """Numbers words from 0 in the order in which they are first asked for."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[IntArray]:
    """Ids of each text without special tokens, cut as the tokenizer says: int32, shape (tokens,)."""
    if not splits_at_spaces(tokenizer):
        return _of_whole(tokenizer, texts)
    numbers, counts = Numbers(), np.array([text.count(" ") + 1 for text in texts], dtype=np.int64)
    words = chain.from_iterable(text.split(" ") for text in texts)  # not all at once: they would be a large list
    numbered = np.fromiter(map(numbers.__getitem__, words), np.int32, int(counts.sum()))
    if OFTEN * len(numbers) > len(numbered):
        return _of_whole(tokenizer, texts)
    found = _joined(_of_whole(tokenizer, list(numbers)), numbered, counts)
    if tokenizer.truncation is None:
        return found
    limit = tokenizer.truncation["max_length"]
    return [row[:limit] for row in found]


def splits_at_spaces(tokenizer: Tokenizer) -> bool:
    """Whether the ids of a text are known to be those of what stands between its spaces, one after the other.

    So it is where normalizer, pre-tokenizer and model are BERT's and no added token can reach over a space.
    """
    parts = (tokenizer.normalizer, BertNormalizer), (tokenizer.pre_tokenizer, BertPreTokenizer)
    bert = all(type(part) is kind for part, kind in (*parts, (tokenizer.model, WordPiece)))
    cut = tokenizer.truncation
    return (
        bert
        and (cut is None or cut["direction"] == "right")
        and not any(one.normalized or " " in one.content for one in tokenizer.get_added_tokens_decoder().values())
    )


def _of_whole(tokenizer: Tokenizer, texts: Sequence[str]) -> list[IntArray]:
    encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]


def _joined(words: list[IntArray], numbered: NDArray[np.int32], counts: NDArray[np.int64]) -> list[IntArray]:
    """The ids of texts of `counts` words each, given the ids of every word and, text after text, the words' numbers."""
    lengths = np.array([len(word) for word in words])
    ids, starts = np.concatenate([*words, np.zeros(0, np.int32)]), np.cumsum(lengths) - lengths
    ends = np.cumsum(counts)
    found: list[IntArray] = []
    for first in range(0, len(counts), TEXTS_AT_ONCE):
        some = ends[first : first + TEXTS_AT_ONCE]
        before = some[0] - counts[first]
        at = numbered[before : some[-1]]
        laid, behind = _laid(ids, starts[at], lengths[at])
        bounds = [0, *behind[some - before - 1].tolist()]
        found += [laid[start:end] for start, end in pairwise(bounds)]
    return found


def _laid(ids: IntArray, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[IntArray, NDArray[np.int64]]:
    """The stretches of `ids` from `starts` on, `lengths` long, end to end; and where each one ends there."""
    ends = np.cumsum(lengths)
    inside = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    return ids[np.repeat(starts, lengths) + inside], ends
