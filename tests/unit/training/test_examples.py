"""BM25, the choice of negatives, and examples as a whole."""

from __future__ import annotations

import numpy as np

from tests.unit.training.conftest import FACTS
from training.bm25 import Bm25
from training.examples import build_examples
from training.negatives import choose, near_copy
from training.recipe import Negatives, Recipe

TEXTS = [answer for _, answer in FACTS]


def test_bm25_finds_the_text_with_the_words_of_the_query() -> None:
    index = Bm25(TEXTS)
    assert index.top(["jumping foxes", "capital of Italy"], 3)[:, 0].tolist() == [3, 2]
    assert index.top(["river"], 100).shape == (1, len(TEXTS))
    assert int(index.scores("learning machines").argmax()) == 5


def test_bm25_takes_queries_without_words() -> None:
    index = Bm25(TEXTS)
    assert index.top(["", "the", "?"], 2).shape == (3, 2)
    assert not index.scores("").any()


def test_negatives_are_never_relevant_nor_near_copies_and_never_twice() -> None:
    texts = [*TEXTS, TEXTS[0] + " today"]
    assert near_copy(texts[-1], [TEXTS[0]])
    for kind in ("bm25", "random", "mixed"):
        for seed in range(20):
            options = Negatives(kind=kind, count=4, depth=5)  # type: ignore[arg-type]
            chosen = choose([0, 1, 2, 8, 3], {0}, texts, options, np.random.default_rng(seed))
            assert not {0, len(texts) - 1} & set(chosen)
            assert len(chosen) == len(set(chosen)) == 4


def test_bm25_negatives_come_from_the_asked_ranks() -> None:
    options = Negatives(kind="bm25", count=2, skip=1, depth=3)
    chosen = choose([7, 6, 5, 4], {0}, TEXTS, options, np.random.default_rng(0))
    assert set(chosen) == {6, 5}


def test_a_corpus_of_relevant_documents_gives_no_negatives() -> None:
    assert choose([0, 1], {0, 1}, TEXTS[:2], Negatives(), np.random.default_rng(0)) == []


def test_examples_are_reproducible_and_labelled(recipe: Recipe) -> None:
    examples, counts = build_examples(recipe)
    assert (examples, counts) == build_examples(recipe)
    assert counts == {"facts": 24, "pairs": 24}
    truth = set(FACTS)
    assert all(((example.query, example.document) in truth) == (example.label == 1.0) for example in examples)


def test_judged_negatives_are_those_that_people_marked(recipe: Recipe) -> None:
    (facts, _) = recipe.datasets
    judged = facts.model_copy(update={"negatives": Negatives(kind="judged", count=5)})
    examples, _ = build_examples(recipe.model_copy(update={"datasets": (judged,)}))
    wrong = {(example.query, example.document) for example in examples if example.label == 0.0}
    assert wrong == {(FACTS[i][0], FACTS[(i + 1) % len(FACTS)][1]) for i in range(len(FACTS))}
    assert len(examples) == 2 * len(FACTS)


def test_a_limit_draws_that_many_queries(recipe: Recipe) -> None:
    limited = recipe.datasets[0].model_copy(update={"limit": 3})
    examples, _ = build_examples(recipe.model_copy(update={"datasets": (limited,)}))
    assert len({example.query for example in examples}) == 3
