"""Mined examples in the shape that each loss takes."""

from __future__ import annotations

import pytest

from training.commands.shapes import rows_for
from training.cross_encoder import losses
from training.errors import DataError
from training.examples import Example

EXAMPLES = [
    Example("who", "he", 1.0),
    Example("who", "it", 0.0),
    Example("who", "that", 0.0),
    Example("what", "this", 0.0),
    Example("what", "it", 1.0),
    Example("what", "he", 0.0),
    Example("what", "he", 0.0),
]


def test_losses_of_pairs_have_a_row_for_each_document() -> None:
    """With a number, or with a class id."""
    rows = rows_for(losses.BinaryCrossEntropyLoss, EXAMPLES[:2], 2, "faq")
    assert rows.to_dict() == {"query": ["who", "who"], "document": ["he", "it"], "label": [1.0, 0.0]}
    assert rows_for(losses.CrossEntropyLoss, EXAMPLES[:2], 2, "faq").features["label"].dtype == "int64"


def test_losses_without_labels_have_a_row_for_each_right_answer() -> None:
    """Wrong ones are negatives, and never taken for positives."""
    rows = rows_for(losses.MultipleNegativesRankingLoss, EXAMPLES, 2, "faq")
    assert rows.to_dict() == {
        "query": ["who", "what"],
        "positive": ["he", "it"],
        "negative_1": ["it", "this"],
        "negative_2": ["that", "he"],
    }
    alone = rows_for(losses.CachedMultipleNegativesRankingLoss, EXAMPLES, 0, "faq")
    assert alone.to_dict() == {"query": ["who", "what"], "positive": ["he", "it"]}


def test_losses_of_lists_have_a_row_for_each_query() -> None:
    rows = rows_for(losses.LambdaLoss, EXAMPLES, 2, "faq")
    assert rows.to_dict() == {
        "query": ["who", "what"],
        "documents": [["he", "it", "that"], ["it", "this", "he"]],
        "labels": [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
    }


def test_what_is_right_for_a_query_is_wrong_for_none_of_the_same_words() -> None:
    """Retrieval sets have such twins, each with a right document of its own."""
    twins = [
        Example("who", "he", 1.0),
        Example("who", "she", 0.0),
        Example("who", "it", 0.0),
        Example("who", "she", 1.0),
        Example("who", "he", 0.0),
        Example("who", "that", 0.0),
    ]
    lists = rows_for(losses.LambdaLoss, twins, 2, "faq").to_dict()
    assert lists["documents"] == [["he", "she", "it", "that"]]
    assert lists["labels"] == [[1.0, 1.0, 0.0, 0.0]]
    tuples = rows_for(losses.MultipleNegativesRankingLoss, twins, 2, "faq").to_dict()
    assert tuples == {
        "query": ["who"] * 2,
        "positive": ["he", "she"],
        "negative_1": ["it"] * 2,
        "negative_2": ["that"] * 2,
    }


def test_what_a_loss_lacks_is_said() -> None:
    with pytest.raises(
        DataError, match=r"'faq': query 'who' has 2 of the 3 negatives that every row needs; lower `count`"
    ):
        rows_for(losses.MultipleNegativesRankingLoss, EXAMPLES, 3, "faq")
    with pytest.raises(DataError, match="'faq': has no right answer"):
        rows_for(losses.MultipleNegativesRankingLoss, EXAMPLES[1:2], 1, "faq")
    with pytest.raises(DataError, match="'faq': no query has both a right and a wrong document"):
        rows_for(losses.LambdaLoss, EXAMPLES[1:3], 2, "faq")
    with pytest.raises(DataError, match="'faq': MarginMSELoss needs scores of a teacher"):
        rows_for(losses.MarginMSELoss, EXAMPLES, 2, "faq")
