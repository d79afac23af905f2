"""`resolve_ids` against that of sentence-transformers 6.2."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from datasets import Dataset, DatasetDict
from sentence_transformers.util import resolve_ids as library

from training.util import resolve_ids

QUERIES = Dataset.from_dict({"query_id": ["q1", "q2"], "query": ["one", "two"]})
NUMBERED = Dataset.from_dict({"id": [7, 3, 5], "text": ["seven", "three", "five"]})
LONG = Dataset.from_dict({"id": ["x" * 200, "é"], "text": ["long", "accent"]})
TRIPLETS = Dataset.from_dict({"query_id": ["q2", "q1"], "positive_id": [5, 7], "negative_id": [3, 3], "more": [0, 1]})
LISTS = Dataset.from_dict(
    {"query_id": ["q2", "q1"], "entity_ids": [[5, 7, 3], [3, 3]], "scores": [[0.9, 0.5, 0.1], [0.8, 0.2]]}
)
BOTH = {"query_id": QUERIES, "entity_ids": NUMBERED}


def resolved(function: Any, dataset: Dataset, *args: Any, **options: Any) -> Any:
    """The rows and the columns' order, or the kind of the error."""
    try:
        joined = dataset.with_transform(function(*args, **options))
        return [list(joined[0].items()), list(joined[:].items())]
    except (KeyError, TypeError, ValueError) as error:
        return type(error)


@pytest.mark.parametrize(
    ("dataset", "lookups", "options"),
    [
        (TRIPLETS, {"query_id": QUERIES, "positive_id": NUMBERED, "negative_id": NUMBERED}, {}),
        (TRIPLETS, {"positive_id": (NUMBERED, "id"), "query_id": (QUERIES, "query_id", "query")}, {}),
        (TRIPLETS, {"query_id": QUERIES}, {"keep_columns": ["more", "absent"]}),
        (LISTS, BOTH, {"max_list_length": 2}),
        (LISTS, BOTH, {"max_list_length": 2, "keep_columns": ()}),
        (LISTS, BOTH, {"output_format": "lists"}),
        (LISTS, BOTH, {"output_format": "lists", "max_list_length": 1}),
        (LISTS.map(lambda row: {"entity_ids": str(row["entity_ids"])}), BOTH, {"output_format": "lists"}),
        (TRIPLETS, {"query_id": QUERIES.with_format("numpy")}, {}),
        (TRIPLETS, {"query_id": QUERIES.select([1, 0])}, {}),
        (Dataset.from_dict({"text_id": ["é", "x" * 200]}), {"text_id": LONG}, {}),
        (Dataset.from_dict({"a_idx": ["q1"]}), {"a_idx": QUERIES}, {}),
        # and what both refuse
        (LISTS, BOTH, {}),
        (LISTS, BOTH, {"max_list_length": 0}),
        (LISTS, BOTH, {"keep_columns": "scores"}),
        (LISTS, BOTH, {"output_format": "nested"}),
        (TRIPLETS, {"positive_id": QUERIES}, {}),
        (TRIPLETS, {"positive_id": NUMBERED.select([0])}, {}),
        (TRIPLETS, {"query_id": DatasetDict({"train": QUERIES})}, {}),
        (TRIPLETS, {"query_id": ["q1"]}, {}),
        (TRIPLETS, {"query_id": (QUERIES, "id")}, {}),
        (TRIPLETS, {"query_id": (QUERIES, "query_id", "text")}, {}),
        (TRIPLETS, {"query_id": (QUERIES,)}, {}),
        (TRIPLETS, {"query_id": TRIPLETS}, {}),
        (TRIPLETS, {"positive_id": (TRIPLETS, "more")}, {}),
        (Dataset.from_dict({"a_id": ["q1"], "a_ids": ["q1"]}), {"a_id": QUERIES, "a_ids": QUERIES}, {}),
        (Dataset.from_dict({"a_ids": ["[1", "[2]"]}), {"a_ids": NUMBERED}, {}),
        (Dataset.from_dict({"a_id": ["[1]x"]}), {"a_id": NUMBERED}, {}),
        (LISTS.select([0]).map(lambda row: {"entity_ids": []}), BOTH, {}),
    ],
)
def test_batches_are_those_of_6_2(dataset: Dataset, lookups: dict[str, Any], options: dict[str, Any]) -> None:
    assert resolved(resolve_ids, dataset, lookups, **options) == resolved(library, dataset, lookups, **options)


def test_an_id_that_stands_twice_has_its_last_text_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    twice = Dataset.from_dict({"id": ["a", "b", "a"], "text": ["first", "other", "last"]})
    joined = Dataset.from_dict({"text_id": ["a"]}).with_transform(resolve_ids({"text_id": twice}))
    assert joined[0] == {"text": "last"}
    assert "more than once" in caplog.text


def test_the_join_can_be_sent_to_other_processes_and_mapped() -> None:
    join = pickle.loads(pickle.dumps(resolve_ids({"query_id": QUERIES})))
    mapped = TRIPLETS.map(join, batched=True, remove_columns=TRIPLETS.column_names)
    assert mapped.to_list() == [{"query": "two"}, {"query": "one"}]


def test_errors_name_the_column() -> None:
    with pytest.raises(KeyError, match="'q9' of column 'query_id'"):
        resolve_ids({"query_id": QUERIES})({"query_id": ["q1", "q9"]})
    with pytest.raises(TypeError, match="'query_id' is no list but ndarray"):
        resolve_ids({"query_id": QUERIES})(TRIPLETS.with_format("numpy")[:])
