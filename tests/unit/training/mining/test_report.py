"""The report's examples and figures, and its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.mining.files import recipe_of, write_rows
from training.mine_recipe import MineRecipe
from training.mining.filters import Skipped
from training.mining.options import MiningOptions
from training.mining.pipeline import Mined
from training.mining.plot import plot_scores
from training.mining.report import Facts, above_right_answers, hardest, markdown, shown, suspects, terminal_report
from training.mining.sources import Source, load_source
from training.retrieval.hits import Hits

ANSWERS = ["zero", "one", "two", "three | <b>", "four " + "long " * 200]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Query i has answer i."""
    write_rows(tmp_path / "pairs.jsonl", [{"query": f"query {i}", "answer": text} for i, text in enumerate(ANSWERS)])
    return load_source(recipe_of(tmp_path), tmp_path / "cache", progress=False)


@pytest.fixture
def mined() -> Mined:
    """Query 0 has a negative above its answer, 1 one below, 2 none; the score of the answer of query 3 is not known."""
    indices = np.array([[3, 2], [0, -1], [-1, -1], [0, 1], [0, 1]])
    scores = np.array([[0.9, 0.1], [0.3, -np.inf], [-np.inf, -np.inf], [0.9, 0.8], [0.45, 0.1]], dtype=np.float32)
    near = Hits(np.array([[-1], [4], [-1], [-1], [3]]), np.array([[-np.inf], [0.6], [-np.inf], [-np.inf], [0.95]]))
    positive_scores = np.array([0.5, 0.5, 0.5, np.nan, 0.5], dtype=np.float32)
    skipped = [Skipped("max_score", 0.5, 3, 10)]
    return Mined(indices, scores, positive_scores, skipped, 10, near, MiningOptions(num_negatives=2, range_max=4))


def facts_of(recipe: MineRecipe) -> Facts:
    return Facts(recipe, {}, {}, 0, {"triplets.jsonl": 7})


def test_the_hardest_negatives_come_first_one_of_each_query(source: Source, mined: Mined) -> None:
    found = hardest(source, mined, 10)
    assert [(one.query, one.document) for one in found] == [
        ("query 0", ANSWERS[3]),
        ("query 4", ANSWERS[0]),
        ("query 1", ANSWERS[0]),
    ]
    assert (found[0].answer, found[0].answer_score, round(found[0].score, 6)) == (ANSWERS[0], 0.5, 0.9)
    assert len(hardest(source, mined, 1)) == 1


def test_suspects_are_the_dropped_ones_farthest_above_the_answer(source: Source, mined: Mined) -> None:
    assert [(one.query, one.document) for one in suspects(source, mined, 10)] == [
        ("query 4", ANSWERS[3]),
        ("query 1", ANSWERS[4]),
    ]


def test_the_table_says_what_is_above_a_right_answer_and_who_went_without(
    source: Source, mined: Mined, tmp_path: Path
) -> None:
    assert above_right_answers(source, mined) == (1, 7)
    text = terminal_report(source, mined, recipe_of(tmp_path))
    assert "1 negatives (14.29%) score above a right answer of their query." in text
    assert "1 queries (20.00%) have no negative at all." in text
    assert "Skipped 3 potential negatives (30.00%) due to the max_score of 0.5." in text


def test_examples_are_shortened_and_cannot_break_the_page(source: Source, mined: Mined, tmp_path: Path) -> None:
    page = "\n".join(markdown(source, mined, facts_of(recipe_of(tmp_path))))
    assert "three \\| \\<b\\>" in page
    assert "long ..." in page
    assert max(map(len, page.splitlines())) < 500
    assert "| triplets.jsonl | 7 |" in page
    assert "No filter is set" not in page


def test_the_recipe_is_shown_without_places(tmp_path: Path) -> None:
    values = shown(recipe_of(tmp_path, seed=5))
    assert str(tmp_path) not in str(values)
    assert values["seed"] == 5


def test_a_picture_is_drawn_of_whatever_scores_are_known(tmp_path: Path) -> None:
    from matplotlib.image import imread

    rng = np.random.default_rng(0)
    plot_scores(rng.normal(1, 1, 500), rng.normal(0, 1, 900), rng.normal(1, 1, 900), tmp_path / "full.png")
    nothing = np.full(3, np.nan)
    plot_scores(nothing, nothing, nothing, tmp_path / "empty.png")
    full, empty = imread(tmp_path / "full.png"), imread(tmp_path / "empty.png")
    assert full.shape == empty.shape == (480, 1440, 4)
    assert len(np.unique(full.reshape(-1, 4), axis=0)) > len(np.unique(empty.reshape(-1, 4), axis=0))
