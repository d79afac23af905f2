"""Reciprocal rank fusion."""

from __future__ import annotations

import numpy as np
import pytest

from training.errors import DataError
from training.retrieval.fusion import FusedRetriever, fuse
from training.retrieval.hits import Hits
from training.retrieval.queries import Queries
from training.retrieval.run_file import Run, RunRetriever


def hits(*rows: list[int]) -> Hits:
    indices = np.array(rows, dtype=np.int64)
    return Hits(indices, np.where(indices < 0, -np.inf, -np.arange(indices.shape[1])).astype(np.float32))


FIRST, SECOND = hits([3, 1, 2], [5, -1, -1]), hits([1, 4, -1], [-1, -1, -1])


def test_values_worked_by_hand() -> None:
    found = fuse([FIRST, SECOND], 4)
    assert found.indices.tolist() == [[1, 3, 4, 2], [5, -1, -1, -1]]
    expected = [[1 / 62 + 1 / 61, 1 / 61, 1 / 62, 1 / 63], [1 / 61, -np.inf, -np.inf, -np.inf]]
    np.testing.assert_array_equal(found.scores, np.array(expected, dtype=np.float32))
    steep = fuse([FIRST, SECOND], 2, constant=0)
    assert steep.scores[0].tolist() == [1.5, 1.0]
    assert steep.indices[0].tolist() == [1, 3]


def test_ties_are_in_the_order_of_the_indices() -> None:
    assert fuse([hits([7, 2, 9]), hits([2, 7, 8])], 4).indices.tolist() == [[2, 7, 8, 9]]
    three = [hits([7, 2, 4]), hits([2, 4, 7]), hits([4, 7, 2])]
    assert fuse(three, 3).indices.tolist() == [[2, 4, 7]]


def test_many_queries_equal_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    lists = [hits(*[rng.permutation(30)[:width].tolist() for _ in range(2500)]) for width in (5, 9, 1)]
    found = fuse(lists, 6)
    for row in range(0, 2500, 97):
        scores: dict[int, float] = {}
        for one in lists:
            for rank, document in enumerate(one.indices[row].tolist(), start=1):
                scores[document] = scores.get(document, 0.0) + 1 / (60 + rank)
        best = sorted(scores, key=lambda document: (-np.float32(scores[document]), document))[:6]
        assert found.indices[row, : len(best)].tolist() == best


def run(found: Hits) -> RunRetriever:
    return RunRetriever(Run.of_hits(found, ["a", "b"], [str(i) for i in range(6)]), [str(i) for i in range(6)])


def test_a_pair_scores_what_the_lists_say_and_nan_outside_of_them() -> None:
    fused, asked = FusedRetriever([run(FIRST), run(SECOND)]), Queries(["", ""], ["a", "b"])
    best = fused.top(asked, 4)
    scores = fused.pair_scores(asked, np.array([0, 0, 1, 1]), np.array([1, 0, 5, 1]))
    assert scores[[0, 2]].tolist() == [best.scores[0, 0], best.scores[1, 0]]
    assert np.isnan(scores[[1, 3]]).all()


def test_depth_and_constant_make_a_difference() -> None:
    asked = Queries(["", ""], ["a", "b"])
    lists = [run(FIRST), run(SECOND)]
    assert FusedRetriever(lists).top(asked, 1).indices[0].tolist() == [1], "one list of one document each: a tie"
    assert FusedRetriever([run(hits([3, 1], [5, -1])), run(hits([2, 1], [5, -1]))]).top(asked, 1).indices[0] == [2]
    assert FusedRetriever([run(hits([3, 1], [5, -1])), run(hits([2, 1], [5, -1]))], depth=2).top(asked, 1).indices[
        0
    ] == [1]
    assert FusedRetriever(lists, k=0).top(asked, 3).scores[0, 0] == 1.5
    with pytest.raises(DataError, match="no retrievers"):
        FusedRetriever([])
