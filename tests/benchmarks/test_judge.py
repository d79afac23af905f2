"""The judge must see what a service could do wrong; a benchmark that cannot fail proves nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.benchmarks.judge import judge
from tests.benchmarks.load import Answer

TRUTH = np.array([0.2, 0.9, 0.5], dtype=np.float32)
RIGHT = [(1, 0.9), (2, 0.5), (0, 0.2)]


def answer(results: list[tuple[int, float]], echoed: bool = True) -> Answer:
    body = json.dumps({"results": [{"index": index, "relevance_score": score} for index, score in results]})
    return Answer("small", 0, due=0.0, sent=0.0, done=1.0, status=200, echoed=echoed, text=body)


def test_an_exact_answer_is_right() -> None:
    verdict = judge([answer(RIGHT)], {"small": [TRUTH]}, 1e-5)
    assert (verdict.answers, verdict.items, verdict.wrong) == (1, 3, 0)
    assert verdict.largest < 1e-6


@pytest.mark.parametrize(
    ("results", "echoed"),
    [
        (RIGHT, False),
        (RIGHT[:2], True),
        ([(1, 0.9), (1, 0.9), (0, 0.2)], True),
        ([(2, 0.5), (1, 0.9), (0, 0.2)], True),
        ([(1, 0.9), (0, 0.5), (2, 0.2)], True),
        ([(1, 0.9), (2, 0.5), (0, 0.2001)], True),
        ([(1, float("nan")), (2, 0.5), (0, 0.2)], True),
    ],
    ids=["another's id", "item missing", "item twice", "out of order", "scores swapped", "score off", "not a number"],
)
def test_a_wrong_answer_is_counted(results: list[tuple[int, float]], echoed: bool) -> None:
    assert judge([answer(results, echoed)], {"small": [TRUTH]}, 1e-5).wrong == 1
