"""`mine_hard_negatives`: what it refuses and says, and what sentence-transformers 6.2 gets wrong."""

from __future__ import annotations

import inspect
import os
import random
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers.util import mine_hard_negatives as library
from sentence_transformers.util.similarity import SimilarityFunction

from tests.unit.training.mining.fakes import HashScorer, TableModel, score, table
from training.util import mine_hard_negatives

QUERIES = [f"q{i}" for i in range(6)]
ANSWERS = [f"d{i}" for i in range(6)]
FURTHER = [f"e{i}" for i in range(20)]


def pairs() -> Dataset:
    return Dataset.from_dict({"query": QUERIES, "answer": ANSWERS})


def model(dimensions: int = 8) -> TableModel:
    return TableModel(table([*QUERIES, *ANSWERS, *FURTHER], dimensions))


def mine(dataset: Dataset | None = None, **options: Any) -> Dataset:
    given = {"corpus": FURTHER, "verbose": False, **options}
    return mine_hard_negatives(pairs() if dataset is None else dataset, given.pop("model", None) or model(), **given)


def test_the_signature_is_that_of_6_2() -> None:
    ours, theirs = (inspect.signature(function).parameters for function in (mine_hard_negatives, library))
    assert [(p.name, p.default, p.kind) for p in ours.values()] == [
        (p.name, p.default, p.kind) for p in theirs.values()
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anchor_column_name": "question"}, "anchor_column_name: the dataset has no column 'question'"),
        ({"positive_column_name": "text"}, "positive_column_name: the dataset has no column 'text'"),
        ({"anchor_column_name": "answer"}, "'answer' cannot hold both anchors and positives"),
        ({"num_negatives": 0}, "num_negatives must be at least 1"),
        ({"range_min": -1}, "range_min must be non-negative"),
        ({"range_min": 5, "range_max": 5}, "range_min must be smaller than range_max"),
        ({"range_min": 2, "range_max": 4}, "Cannot mine 3 negatives"),
        ({"output_format": "pairs"}, "Invalid output_format: 'pairs'"),
        ({"sampling_strategy": "best"}, "sampling_strategy must be one of 'top', 'random'"),
        ({"faiss_batch_size": 0}, "faiss_batch_size must be a positive integer"),
        ({"corpus": ["a", None]}, "corpus: row 1 is None"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        mine(**options)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"query": [], "answer": []}, "dataset is empty"),
        ({"query": ["q0"]}, "one of positives"),
        ({"query": ["q0", "q1"], "answer": ["d0", None]}, "column 'answer': row 1 has no text"),
        ({"query": ["q0"], "answer": [["d0"]]}, "column 'answer' holds values of the type list"),
        ({"query": ["q0"], "negative": ["d0"]}, "has a column 'negative' of its own"),
    ],
)
def test_wrong_data_are_named(columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mine(Dataset.from_dict(columns))


def test_columns_may_be_named_and_stand_anywhere() -> None:
    given = Dataset.from_dict({"id": list(range(6)), "answer": ANSWERS, "query": QUERIES})
    found = mine(given, anchor_column_name="query", positive_column_name="answer")
    assert found.to_list() == mine().to_list()


def test_selected_and_formatted_datasets_are_read_as_they_look() -> None:
    shuffled = pairs().select([3, 1]).with_format("numpy")
    assert mine(shuffled, num_negatives=1)["query"] == ["q3", "q1"]


def test_old_names_work(caplog: pytest.LogCaptureFixture) -> None:
    assert mine(as_triplets=False, margin=0.0).to_list() == mine(output_format="n-tuple", absolute_margin=0.0).to_list()
    assert "as_triplets" in caplog.text
    assert "margin" in caplog.text
    assert mine(as_triplets=True, output_format="n-tuple").column_names == ["query", "answer", "negative"]


def test_prompts_reach_the_side_that_they_are_for() -> None:
    named = table([f"Q {name}" for name in QUERIES] + [f"D {name}" for name in [*ANSWERS, *FURTHER]])
    found = mine(model=TableModel(named), query_prompt="Q ", corpus_prompt="D ")
    expected = library(pairs(), TableModel(named), corpus=FURTHER, query_prompt="Q ", corpus_prompt="D ", verbose=False)
    assert found.to_list() == expected.to_list()


def table_of(text: str) -> dict[str, list[float]]:
    rows = re.findall(r"^(Count|Mean|Median|Std|Min|\d+%|Max) +(.+)$", text, flags=re.MULTILINE)
    return {name: [float(number.replace(",", "")) for number in numbers.split()] for name, numbers in rows}


@pytest.mark.parametrize("output_format", ["triplet", "n-tuple", "labeled-pair", "labeled-list"])
def test_the_report_has_the_figures_of_6_2(output_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"output_format": output_format, "absolute_margin": 0.1, "relative_margin": 0.2}
    options |= {"max_score": 0.25, "range_min": 1, "num_negatives": 12}
    library(pairs(), model(), corpus=FURTHER, **options)
    theirs = capsys.readouterr().out
    mine(verbose=True, **options)
    ours = capsys.readouterr().out
    expected = table_of(theirs)
    assert list(expected) == ["Count", "Mean", "Median", "Std", "Min", "25%", "50%", "75%", "Max"]
    found = table_of(ours)
    assert found.pop("Median") == found["50%"]  # theirs is the lower of the two in the middle
    for name, values in found.items():
        assert values == pytest.approx(expected[name], abs=1.01e-4), name
    skipped = r"Skipped ([\d,]+) potential negatives .* due to the (\w+) of"
    assert re.findall(skipped, ours) == re.findall(skipped, theirs) != []
    missing = r"Could not find enough negatives for .*"
    assert re.findall(missing, ours) == re.findall(missing, theirs)
    assert ("Could not find" in ours) is (output_format != "labeled-list")  # of which each has some


def test_the_report_bears_no_negatives_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(mine(verbose=True, max_score=-2.0)) == 0
    assert "Count               6              0" in capsys.readouterr().out


def test_euclidean_and_manhattan_models_are_ranked_by_their_own_similarity() -> None:
    for name in ("euclidean", "manhattan"):
        measured = model()
        measured.similarity_fn_name = name
        measured.similarity = SimilarityFunction.to_similarity_fn(name)  # type: ignore[method-assign]
        measured.similarity_pairwise = SimilarityFunction.to_similarity_pairwise_fn(name)  # type: ignore[method-assign]
        options: dict[str, Any] = {"output_scores": True, "relative_margin": 0.1, "output_format": "n-tuple"}
        ours = mine(model=measured, **options).to_list()
        theirs = library(pairs(), measured, corpus=FURTHER, verbose=False, **options).to_list()
        assert [{**row, "scores": None} for row in ours] == [{**row, "scores": None} for row in theirs]
        for mined, expected in zip(ours, theirs, strict=True):
            assert mined["scores"] == pytest.approx(expected["scores"], abs=1e-5)


# Defects of 6.2


def test_defect_unknown_column_names_fell_back_to_the_first_two() -> None:
    fallen = library(pairs(), model(), anchor_column_name="question", corpus=FURTHER, verbose=False)
    assert fallen.column_names[0] == "query"
    with pytest.raises(ValueError, match="no column 'question', only 'query', 'answer'"):
        mine(anchor_column_name="question")


def test_defect_cross_encoder_was_called_once_per_query_and_with_padding_slots() -> None:
    theirs, ours = HashScorer(), HashScorer()
    options: dict[str, Any] = {"max_score": 0.9, "output_scores": True, "corpus": ["e0"]}
    expected = library(pairs(), model(), cross_encoder=theirs, verbose=False, **options)
    assert mine(cross_encoder=ours, **options).to_list() == expected.to_list()
    assert len(theirs.calls) == len(QUERIES) + 1
    (scored,) = ours.calls
    assert len(scored) == len(set(scored)) == 6 * 7 < sum(map(len, theirs.calls))


@pytest.mark.filterwarnings("ignore:std:UserWarning")  # theirs, of no negatives
def test_defect_shares_of_skipped_candidates_counted_padding_and_dropped_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """6 queries meet 5 answers of others and 1 further document: 36 candidates, all below the limit of 2."""
    options: dict[str, Any] = {"corpus": ["e0"], "min_score": 2.0, "range_max": 10}
    mine(verbose=True, **options)
    assert "Skipped 36 potential negatives (100.00%) due to the min_score of 2.0." in capsys.readouterr().out
    library(pairs(), model(), **options)
    assert "Skipped 66 potential negatives" in capsys.readouterr().out  # its padding and the positives


def test_defect_division_by_zero_where_a_margin_left_no_candidate_for_a_limit() -> None:
    options: dict[str, Any] = {"absolute_margin": 0.0, "min_score": 0.0}
    lonely = Dataset.from_dict({"query": ["q0"], "answer": ["d0"]})
    near = TableModel({"q0": np.eye(2, dtype=np.float32)[0], "d0": np.eye(2, dtype=np.float32)[1]})
    near.rows = {**near.rows, **{f"e{i}": np.ones(2, dtype=np.float32) for i in range(13)}}
    corpus = [f"e{i}" for i in range(13)]
    with pytest.raises(ZeroDivisionError):
        library(lonely, near, corpus=corpus, num_negatives=1, range_max=11, verbose=False, **options)
    assert len(mine(lonely, model=near, corpus=corpus, num_negatives=1, range_max=11, **options)) == 0


def test_defect_include_positives_lost_the_scores_of_n_tuple_scores() -> None:
    options: dict[str, Any] = {"output_format": "n-tuple-scores", "include_positives": True}
    assert "scores" not in library(pairs(), model(), corpus=FURTHER, verbose=False, **options).column_names
    assert "scores" in mine(**options).column_names


def test_defect_labeled_pairs_counted_repeated_rows_as_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """The same pair three times is one row, and nothing is missing."""
    repeated = Dataset.from_dict({"query": ["q0"] * 3 + ["q1"], "answer": ["d0"] * 3 + ["d1"]})
    options: dict[str, Any] = {"corpus": FURTHER, "output_format": "labeled-pair"}
    library(repeated, model(), **options)
    assert "Could not find enough negatives for 2 samples" in capsys.readouterr().out
    mine(repeated, verbose=True, **options)
    assert "Could not find" not in capsys.readouterr().out


def test_defect_unknown_sampling_strategies_broke_on_tensor_sizes() -> None:
    options: dict[str, Any] = {"sampling_strategy": "best", "range_max": 9, "output_format": "n-tuple"}
    with pytest.raises(RuntimeError, match="size of tensor"):
        library(pairs(), model(), corpus=FURTHER, verbose=False, **options)
    with pytest.raises(ValueError, match="sampling_strategy"):
        mine(**options)


class Weights(torch.nn.Module):
    """A model that embeds with a weight per letter; two of them may be fine-tunes of one base."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(128, 8)
        torch.manual_seed(seed)
        torch.nn.init.normal_(self.table.weight)
        self.calls = 0

    def encode(self, texts: list[str], prompt: str | None = None, **_: Any) -> Any:
        self.calls += 1
        rows = [self.table(torch.tensor([ord(letter) for letter in (prompt or "") + text])).sum(0) for text in texts]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1).detach().numpy()


def test_embeddings_are_cached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embedder = Weights(0)
    first = mine(model=embedder, cache_folder=str(tmp_path / "cache"), verbose=True)
    assert "[Cache] Saved" in capsys.readouterr().out
    assert embedder.calls == 2
    assert mine(model=embedder, cache_folder=tmp_path / "cache", verbose=True).to_list() == first.to_list()
    assert "[Cache] Loaded" in capsys.readouterr().out
    assert embedder.calls == 2
    names = sorted(file.name for file in (tmp_path / "cache").iterdir())
    assert [re.sub(r"_[0-9a-f]{64}", "", name) for name in names] == ["corpus_embeddings.npy", "query_embeddings.npy"]


def test_defect_3870_two_fine_tunes_shared_cached_embeddings(tmp_path: Path) -> None:
    mine(model=Weights(0), cache_folder=tmp_path)
    other = Weights(1)
    assert mine(model=other, cache_folder=tmp_path).to_list() == mine(model=Weights(1)).to_list()
    assert other.calls == 2


def test_defect_3871_prompts_shared_cached_embeddings(tmp_path: Path) -> None:
    embedder = Weights(0)
    mine(model=embedder, cache_folder=tmp_path)
    mine(model=embedder, cache_folder=tmp_path, query_prompt="z")
    assert embedder.calls == 3
    mine(model=embedder, cache_folder=tmp_path, query_prompt="z", corpus=[*FURTHER, "more"])
    assert embedder.calls == 4


def test_a_cache_that_cannot_be_written_keeps_no_half_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk. Two processes that write the same file do not share a temporary one either."""
    written: list[str] = []

    def torn(stream: Any, array: Any) -> None:
        stream.write(b"half")
        written.append(stream.name)
        raise OSError("no space left")

    monkeypatch.setattr(np, "save", torn)
    with pytest.raises(OSError, match="no space left"):
        mine(model=Weights(0), cache_folder=tmp_path)
    assert str(os.getpid()) in Path(written[0]).name
    assert not list(tmp_path.iterdir())


def test_models_without_content_are_not_cached(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"TableModel has no weights .* fingerprint\(\)"):
        mine(cache_folder=tmp_path)


def test_defect_3872_candidates_are_enough_where_positives_rank_first() -> None:
    """All 6 positives of a query are nearer than any other document; there are still 3 negatives."""
    rows = {name: np.eye(8, dtype=np.float32)[0] + 0.01 * row for name, row in model().rows.items()}
    for name in FURTHER:
        rows[name] = model().rows[name]
    many = Dataset.from_dict({"query": ["q0"] * 6, "answer": ANSWERS})
    found = mine(many, model=TableModel(rows), output_format="n-tuple")
    assert len(found) == 6
    assert not {found[0][f"negative_{i}"] for i in (1, 2, 3)} & set(ANSWERS)


def test_defect_3819_relative_margin_had_the_wrong_sign_below_zero() -> None:
    """Of a positive at -0.5, a margin of 10 % drops what is above -0.55."""
    at = {"q0": 1.0, "d0": -0.5, "e0": -0.52, "e1": -0.56}
    rows = {name: np.array([cos, (1 - cos**2) ** 0.5], dtype=np.float32) for name, cos in at.items()}
    lonely = Dataset.from_dict({"query": ["q0"], "answer": ["d0"]})
    found = mine(lonely, model=TableModel(rows), corpus=["e0", "e1"], relative_margin=0.1, num_negatives=1)
    assert found["negative"] == ["e1"]


def test_defect_3903_small_corpora_and_windows_give_what_there_is() -> None:
    lonely = Dataset.from_dict({"query": ["q0", "q1"], "answer": ["d0", "d1"]})
    assert mine(lonely, corpus=None, num_negatives=5, range_max=100).to_list() == [
        {"query": "q0", "answer": "d0", "negative": "d1"},
        {"query": "q1", "answer": "d1", "negative": "d0"},
    ]


def test_a_cross_encoder_is_asked_only_where_scores_decide() -> None:
    scorer = HashScorer()
    assert mine(cross_encoder=scorer).to_list() == mine().to_list()
    assert scorer.calls == []
    rescored = mine(cross_encoder=scorer, min_score=0.5, output_scores=True)
    assert all(row["scores"][1] == pytest.approx(score(row["query"], row["negative"])) for row in rescored)
    assert min(row["scores"][1] for row in rescored) >= 0.5


@pytest.mark.parametrize("use_faiss", [False, True])
def test_embeddings_are_let_go_before_a_cross_encoder_scores(use_faiss: bool) -> None:
    """Rescoring can take hours, and a corpus of millions much memory."""
    made: list[weakref.ref[Any]] = []

    class Noting(TableModel):
        def encode(self, texts: Any, prompt: str | None = None, normalize_embeddings: bool = False, **_: Any) -> Any:
            found = super().encode(texts, prompt, normalize_embeddings)
            made.append(weakref.ref(found))
            return found

        encode_query = encode_document = encode

    class Looking(HashScorer):
        def predict(self, pairs: Any, convert_to_tensor: bool = False, **options: Any) -> Any:
            assert [one() for one in made] == [None, None]
            return super().predict(pairs, convert_to_tensor, **options)

    scorer = Looking()
    noting = Noting(table([*QUERIES, *ANSWERS, *FURTHER]))
    assert len(mine(model=noting, cross_encoder=scorer, max_score=0.9, use_faiss=use_faiss)) > 0
    assert scorer.calls


def test_a_classifier_cannot_rescore() -> None:
    class Classifier:
        def predict(self, pairs: list[Any], **_: Any) -> Any:
            return np.zeros((len(pairs), 3), dtype=np.float32)

    with pytest.raises(ValueError, match="num_labels=1"):
        mine(cross_encoder=Classifier(), max_score=0.5)


def test_random_negatives_follow_the_seed_of_python() -> None:
    options: dict[str, Any] = {"sampling_strategy": "random", "range_max": 15}
    random.seed(3)
    first = mine(**options).to_list()
    random.seed(4)
    assert mine(**options).to_list() != first
    random.seed(3)
    assert mine(**options).to_list() == first


def test_pools_are_started_once_per_model_and_stopped() -> None:
    events: list[str] = []

    class Pooled(TableModel):
        def start_multi_process_pool(self, target_devices: list[str] | None) -> str:
            events.append(f"start {target_devices}")
            return "pool"

        def encode(self, texts: Any, pool: Any = None, **options: Any) -> Any:
            events.append(f"encode in {pool}")
            return super().encode(texts, **options)

        encode_query = encode_document = encode

        def stop_multi_process_pool(self, pool: str) -> None:
            events.append(f"stop {pool}")

    mine(model=Pooled(model().rows), use_multi_process=["cpu", "cpu"])
    assert events == ["start ['cpu', 'cpu']", "encode in pool", "encode in pool", "stop pool"]


def test_faiss_finds_what_exact_search_finds() -> None:
    pytest.importorskip("faiss")
    options: dict[str, Any] = {"output_scores": True, "absolute_margin": 0.05, "output_format": "labeled-pair"}
    exact, found = mine(**options), mine(use_faiss=True, **options)
    assert exact.remove_columns("score").to_list() == found.remove_columns("score").to_list()
    assert list(exact["score"]) == pytest.approx(list(found["score"]), abs=1e-6)
