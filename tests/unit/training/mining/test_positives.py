"""Distinct texts and their positives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from training.mining.filters import lowest_positive, own_positives
from training.mining.positives import chunks_of, distinct, problem_from_pairs, taken


def test_texts_and_positives_stand_in_the_order_of_their_first_appearance() -> None:
    anchors = pa.chunked_array([["b", "a"], ["b", "b", "c"]])
    positives = pa.chunked_array([["z", "x"], ["y", "z", "x"]])
    problem = problem_from_pairs(anchors, positives, pa.array(["w", "y", "w"]))
    assert problem.queries.to_pylist() == ["b", "a", "c"]
    assert problem.corpus.to_pylist() == ["w", "y", "z", "x"]
    assert problem.positives.offsets.tolist() == [0, 2, 3, 4]
    assert problem.positives.documents.tolist() == [2, 1, 3, 3]
    assert problem.positives.queries.tolist() == [0, 0, 1, 2]
    assert problem.max_positives == 3  # rows of "b"
    assert problem.query_rows.tolist() == [0, 1, 4]
    assert problem.corpus_rows.tolist() == [0, 1, 3, 4]
    assert own_positives(problem.positives.documents[[0, 2, 3]][:, None], problem.positives, 4).tolist() == [
        [True],
        [True],
        [True],
    ]


def test_distinct_texts_carry_codes() -> None:
    values, codes, rows = distinct(pa.array(["q", "", "q", "é"]))
    assert (values.to_pylist(), codes.tolist(), rows.tolist()) == (["q", "", "é"], [0, 1, 0, 2], [0, 1, 3])
    assert taken(values, [2, 0]).to_pylist() == ["é", "q"]
    assert [chunk.type for chunk in chunks_of(pa.array(["a"]))] == [pa.large_string()]


def test_the_lowest_known_positive_bounds_a_query() -> None:
    problem = problem_from_pairs(pa.array(["a", "a", "b", "b", "c"]), pa.array(["p", "q", "p", "r", "s"]))
    scores = np.array([0.7, 0.2, np.nan, 0.5, np.nan], dtype=np.float32)
    np.testing.assert_allclose(lowest_positive(scores, problem.positives), [[0.2], [0.5], [np.nan]])
