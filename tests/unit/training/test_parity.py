"""Figures and verdicts of the parity report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from app.errors import ConfigError
from app.model.cross_encoder import CrossEncoder
from app.model.types import EncodeOptions
from tests.models import write_model
from tests.unit.training.conftest import FACTS, write_lines
from training.errors import DataError
from training.parity import kendall_tau, mean_ndcg, measure_parity, throughput_ratio, top_overlap
from training.parity_table import parity_table
from training.parity_texts import BUNDLED, LIST_LENGTH, Entry, Lists, Texts, arrange, read_texts
from training.parity_thresholds import Thresholds

FIGURES = {
    "rows": 10.0,
    "max_score_difference": 0.1,
    "mean_score_difference": 0.01,
    "score_range": 20.0,
    "kendall_tau": 0.97,
    "top10_overlap": 0.9,
    "ndcg10_change": -0.004,
}
KEPT = Thresholds(0.1, 0.01, 0.97, 0.9, 0.004)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_kendall_tau_by_hand() -> None:
    first = floats(1, 2, 3)
    assert kendall_tau(first, first) == 1.0
    assert kendall_tau(first, -first) == -1.0
    assert kendall_tau(first, floats(1, 3, 2)) == pytest.approx(1 / 3)
    assert kendall_tau(floats(1), floats(2)) == 1.0
    assert kendall_tau(floats(1, 1, 2), floats(1, 2, 3)) == pytest.approx(2 / 3)
    assert kendall_tau(floats(1, 1, 1), first) == 0.0
    many = np.arange(200_000, dtype=np.float32)
    assert kendall_tau(many, many) == 1.0, "not in memory for all pairs"
    assert all(kendall_tau(many[:size], many[:size]) == 1.0 for size in range(2, 60))


def test_kendall_tau_of_distinct_scores_is_scipy_s() -> None:
    from scipy.stats import kendalltau

    first, second = np.random.default_rng(0).normal(size=(2, 60)).astype(np.float32)
    assert kendall_tau(first, second) == pytest.approx(kendalltau(first, second).statistic)


def test_top_overlap_by_hand() -> None:
    """The first two of three change in one list; a list shorter than k counts by its length."""
    lists = Lists([np.array([0, 1, 2]), np.array([3, 4])])
    first, second = floats(3, 2, 1, 1, 2), floats(3, 1, 2, 2, 1)
    assert top_overlap(first, second, lists, k=2) == pytest.approx((1 / 2 + 1) / 2)


def test_mean_ndcg_by_hand() -> None:
    """Lists without a relevant document do not count."""
    lists = Lists([np.array([0, 1]), np.array([2, 3])], [[1.0, 0.0], [0.0, 0.0]])
    assert mean_ndcg(floats(1, 2, 0, 0), lists) == pytest.approx(1 / np.log2(3))
    assert mean_ndcg(floats(2, 1, 0, 0), lists) == 1.0


def test_the_throughput_ratio_is_speed_over_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference that takes three times as long."""
    clock = [0.0]
    monkeypatch.setattr("training.parity.time.perf_counter", lambda: clock[0])

    def runner(seconds: float):  # type: ignore[no-untyped-def]
        def run(_: object) -> None:
            clock[0] += seconds

        return run

    assert throughput_ratio(runner(3.0), runner(1.0), [1, 2, 3]) == pytest.approx(3.0)  # type: ignore[list-item]


def test_another_model_is_far_from_the_reference(reranker_dir: Path, tmp_path: Path) -> None:
    """And the reference is at no distance from itself."""
    reference = CrossEncoder.load(reranker_dir)
    other = CrossEncoder.load(write_model(tmp_path / "other", seed=7))
    rows = reference.tokenizer.encode_pairs(FACTS, EncodeOptions(64))
    lists = Lists([np.arange(len(FACTS))], [[1.0] + [0.0] * (len(FACTS) - 1)])
    same, far = (measure_parity(reference, model, rows, lists) for model in (reference, other))
    assert (same["max_logit_difference"], same["kendall_tau"], same["ndcg10_change"]) == (0, 1, 0)
    assert far["max_score_difference"] > 0.1
    assert far["max_score_difference"] > far["mean_score_difference"]
    assert far["kendall_tau"] < 0.9
    assert far["score_range"] > 0.1


def test_figures_on_the_bounds_are_kept() -> None:
    assert KEPT.exceeded(FIGURES, "sigmoid") == []


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"max_score_difference": 0.11}, "max_score_difference 0.11 is over 0.1"),
        ({"mean_score_difference": 0.011}, "mean_score_difference 0.011 is over 0.01"),
        ({"kendall_tau": 0.96}, "kendall_tau 0.96 is under 0.97"),
        ({"top10_overlap": 0.8}, "top10_overlap 0.8 is under 0.9"),
        ({"ndcg10_change": -0.005}, "ndcg10_change -0.005 is under -0.004"),
        ({"max_score_difference": float("nan")}, "max_score_difference nan is over 0.1"),
    ],
)
def test_each_bound_is_named_when_it_is_broken(change: dict[str, float], phrase: str) -> None:
    assert KEPT.exceeded({**FIGURES, **change}, "sigmoid") == [phrase]


def test_unbounded_scores_are_measured_by_their_range() -> None:
    """Logits between -10 and 10: a difference of 2 is a tenth."""
    assert KEPT.exceeded({**FIGURES, "max_score_difference": 2.0}, "identity") == []
    assert KEPT.exceeded({**FIGURES, "max_score_difference": 2.1}, "identity") != []


def test_unjudged_texts_break_no_bound_on_ndcg() -> None:
    figures = {name: value for name, value in FIGURES.items() if name != "ndcg10_change"}
    assert KEPT.exceeded(figures, "sigmoid") == []


def test_single_thresholds_are_overridden() -> None:
    assert KEPT.overridden({"min_kendall_tau": 0.5, "max_score_difference": None}) == Thresholds(
        0.1, 0.01, 0.5, 0.9, 0.004
    )


def test_the_table_has_a_line_per_target() -> None:
    table = parity_table({"onnx": {**FIGURES, "throughput_ratio": 1.5}, "onnx-int8": {"rows": 3.0}}).splitlines()
    assert table[0].startswith("| target | rows | max score diff. |")
    assert table[2] == "| onnx | 10 | 0.1 | 0.01 |  | 0.97 | 0.9 | -0.0040 |  | 1.50 x |"
    assert table[3].startswith("| onnx-int8 | 3 |")
    assert len({line.count("|") for line in table}) == 1


def test_the_bundled_sample_is_judged_text_of_many_kinds() -> None:
    texts = read_texts(None)
    pairs = texts.pairs(1000)
    assert texts.judged
    assert len(pairs) >= 64
    assert len(set(pairs)) == len(pairs)
    assert any(not "".join(pair).isascii() for pair in pairs)
    lengths = [len(document) for _, document in pairs]
    assert max(lengths) > 10 * min(lengths)
    assert all(json.loads(line)["label"] in (0, 1) for line in BUNDLED.read_text(encoding="utf-8").splitlines())


def test_no_query_calibrates_and_measures() -> None:
    calibrating, measuring = read_texts(None).halves()
    assert not {entry.query for entry in calibrating.entries} & {entry.query for entry in measuring.entries}
    assert abs(len(calibrating.entries) - len(measuring.entries)) <= 1


def test_pairs_take_turns_over_the_queries() -> None:
    texts = Texts("x", [Entry("a", ["1", "2", "3"], [0, 0, 0]), Entry("b", ["4"], [0])], judged=False)
    assert texts.pairs(3) == [("a", "1"), ("b", "4"), ("a", "2")]


def test_pairs_without_lists_are_filled_up_with_the_documents_of_others() -> None:
    """Half of the pairs in lists of twenty, the other half as they came; no document twice in a list."""
    entries = [Entry(f"q{i}", [f"d{i}"], [1.0]) for i in range(100)]
    pairs, lists = arrange(Texts("x", entries, judged=True), 80)
    assert len(pairs) == 80
    assert [len(rows) for rows in lists.rows] == [LIST_LENGTH] * 2
    for rows, grades in zip(lists.rows, lists.grades or [], strict=True):
        assert len({pairs[row] for row in rows}) == LIST_LENGTH
        assert len({pairs[row][0] for row in rows}) == 1
        assert grades == [1.0] + [0.0] * (LIST_LENGTH - 1)
    assert len(set(pairs)) == 80


def test_lists_of_the_source_are_kept() -> None:
    """Of as many queries as there is room for."""
    entries = [Entry(f"q{i}", [f"d{i}.{j}" for j in range(LIST_LENGTH)], [0.0] * LIST_LENGTH) for i in range(50)]
    pairs, lists = arrange(Texts("x", entries, judged=False), 100)
    assert len(pairs) == 100
    assert len(lists.rows) == 5
    assert lists.grades is None
    assert all(document.startswith(f"d{query[1:]}.") for query, document in pairs)


def test_a_beir_directory_gives_its_pool_with_grades(data_root: Path) -> None:
    texts = read_texts(data_root / "facts", "train")
    assert texts.judged
    assert len(texts.entries) == len(FACTS)
    assert [entry.documents for entry in texts.entries] == [[answer for _, answer in FACTS]] * len(FACTS)
    assert [entry.grades.index(1.0) for entry in texts.entries] == list(range(len(FACTS)))


def test_a_beir_directory_without_a_pool_gives_its_judged_documents(data_root: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(data_root / "facts", tmp_path / "facts", ignore=shutil.ignore_patterns("pools"))
    texts = read_texts(tmp_path / "facts", "train")
    assert [sorted(entry.grades) for entry in texts.entries] == [[0.0, 1.0]] * len(FACTS)


def test_a_table_is_read_by_its_columns_of_text(tmp_path: Path) -> None:
    """In any format; a column of judgments makes lists of graded documents."""
    (tmp_path / "pairs.csv").write_text("question,passage,score\na,x,2\nb,y,1\na,z,0\n")
    texts = read_texts(tmp_path / "pairs.csv")
    assert texts.judged
    assert texts.entries == [Entry("a", ["x", "z"], [2.0, 0.0]), Entry("b", ["y"], [1.0])]


def test_pairs_of_one_grade_are_not_judged(tmp_path: Path) -> None:
    write_lines(tmp_path / "pairs.jsonl", [{"query": "a", "answer": "b", "label": 1}])
    assert not read_texts(tmp_path / "pairs.jsonl").judged


def test_wrong_texts_are_refused(tmp_path: Path) -> None:
    write_lines(tmp_path / "gap.jsonl", [{"query": "a", "answer": "b"}, {"query": "c", "answer": None}])
    with pytest.raises(DataError, match=r"gap\.jsonl: a row lacks its query or document"):
        read_texts(tmp_path / "gap.jsonl")
    with pytest.raises(DataError, match=r"absent\.jsonl"):
        read_texts(tmp_path / "absent.jsonl")
    with pytest.raises(ConfigError, match="has 1 query; give at least 2"):
        Texts("x", [Entry("a", ["b"], [0.0])], judged=False).halves()
