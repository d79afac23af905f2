"""What is reranked: the first stage's candidates, pools and run files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.errors import ConfigError
from tests.unit.training.conftest import write_lines
from training.candidates import load_task
from training.errors import DataError
from training.evaluate_rankers import parent_scorer
from training.metrics import order
from training.recipe import EvaluationSet
from training.sentence_transformer import SentenceTransformer

FACTS_SET = EvaluationSet(name="facts", path=Path("facts"), split="train", depth=5)


def changed(**keys: object) -> EvaluationSet:
    """The set with other values."""
    return FACTS_SET.model_copy(update=keys)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three documents; q1 has graded judgments, q2 a relevant one, q3 none that is relevant."""
    write_lines(tmp_path / "small" / "corpus.jsonl", [{"_id": key, "text": key} for key in ("a", "b", "c")])
    write_lines(tmp_path / "small" / "queries.jsonl", [{"_id": key, "text": key} for key in ("q1", "q2", "q3")])
    (tmp_path / "small" / "qrels").mkdir()
    judgments = "query-id\tcorpus-id\tscore\nq1\ta\t2\nq1\tb\t1\nq2\tc\t1\nq3\ta\t0\n"
    (tmp_path / "small" / "qrels" / "test.tsv").write_text(judgments)
    return tmp_path


def over(small: Path, text: str, name: str = "my.trec", **keys: object) -> EvaluationSet:
    """The small set with a run file as first stage."""
    (small / "small" / name).write_text(text)
    return EvaluationSet.model_validate({"name": "small", "path": "small", "first_stage": name, **keys})


def test_candidates_are_bm25s_best(data_root: Path) -> None:
    """Only those that share a word with the query."""
    task = load_task(FACTS_SET, data_root, seed=0)
    assert task.candidates["q0"][0] == "d0"
    assert set(task.candidates["q0"]) == {"d0", "d1", "d2"}
    assert task.first_stage == "bm25"
    assert all((np.diff(scores) <= 0).all() for scores in task.scores.values())
    assert load_task(changed(depth=2), data_root, seed=0).candidates["q0"] == task.candidates["q0"][:2]


def test_a_pool_without_ranks_of_its_own_is_put_into_bm25s_order(data_root: Path) -> None:
    pooled = load_task(changed(pool=Path("pools/train.tsv"), depth=8), data_root, seed=0)
    assert pooled.candidates["q3"][0] == "d3"
    assert len(pooled.pairs()) == 64


def test_the_depth_cuts_a_pool_after_it_was_put_in_order(data_root: Path) -> None:
    """The right document of the last query is the last of its pool."""
    pooled = load_task(changed(pool=Path("pools/train.tsv"), depth=1), data_root, seed=0)
    assert pooled.candidates["q7"] == ["d7"]


def test_a_pool_as_first_stage_keeps_its_own_order(data_root: Path) -> None:
    task = load_task(changed(first_stage="pools/train.tsv"), data_root, seed=0)
    assert task.candidates["q3"] == ["d0", "d1", "d2", "d3", "d4"]
    assert task.first_stage == "run"


def test_a_dense_first_stage_is_ordered_by_cosine(data_root: Path, parent_dir: Path) -> None:
    """Of all documents, or of a pool, which then needs no BM25."""
    task = load_task(changed(first_stage=f"dense:{parent_dir}", depth=8), data_root, seed=0)
    cosine = parent_scorer(parent_dir)
    for key, names in task.candidates.items():
        cosines = cosine([(task.queries[key], task.corpus[name]) for name in task.corpus])
        assert names == [list(task.corpus)[i] for i in order(cosines)]
        assert task.scores[key] == pytest.approx(-np.sort(-cosines), abs=1e-5)
    pooled = load_task(
        changed(first_stage=f"dense:{parent_dir}", pool=Path("pools/train.tsv"), depth=8), data_root, seed=0
    )
    assert (task.first_stage, pooled.candidates) == ("dense", task.candidates)


def test_a_dense_first_stage_goes_by_the_models_own_similarity(
    data_root: Path, parent_dir: Path, tmp_path: Path
) -> None:
    """It went by cosine, whatever the model said."""
    model = SentenceTransformer(parent_dir, device="cpu", similarity_fn_name="euclidean")
    model.save(str(tmp_path / "model"), create_model_card=False)
    task = load_task(changed(first_stage=f"dense:{tmp_path / 'model'}", depth=8), data_root, seed=0)
    documents = np.asarray(model.encode(list(task.corpus.values())))
    for key, names in task.candidates.items():
        distances = np.linalg.norm(documents - np.asarray(model.encode([task.queries[key]])), axis=1)
        assert names == [list(task.corpus)[i] for i in np.argsort(distances, kind="stable")]
        assert task.scores[key] == pytest.approx(-np.sort(distances), abs=1e-4)


def test_an_encoder_that_cannot_be_loaded_is_refused(data_root: Path) -> None:
    with pytest.raises(ConfigError, match=r"first stage dense:\./absent: cannot be loaded .*; check the model's name"):
        load_task(changed(first_stage="dense:./absent"), data_root, seed=0)


def test_a_limit_draws_the_same_queries_every_time(data_root: Path) -> None:
    drawn = [list(load_task(changed(limit=3), data_root, seed).queries) for seed in (1, 1)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 3


def test_a_run_file_gives_the_candidates_by_score(small: Path) -> None:
    task = load_task(over(small, "q1 Q0 b 1 0.5 x\nq1 Q0 a 2 1.5 x\nq2 Q0 c 1 1 x\n"), small, seed=0)
    assert task.candidates == {"q1": ["a", "b"], "q2": ["c"]}
    assert task.scores["q1"].tolist() == [1.5, 0.5]


def test_queries_that_cannot_be_measured_are_left_out_with_a_note(small: Path) -> None:
    task = load_task(over(small, "q2 Q0 c 1 1 x\nq3 Q0 a 1 1 x\n"), small, seed=0)
    assert list(task.queries) == ["q2"]
    assert task.notes == (
        "1 of 3 judged queries have no relevant document and are left out",
        "1 of 2 queries have no candidates in the run and are left out",
    )


def test_a_run_of_other_queries_is_refused(small: Path) -> None:
    with pytest.raises(DataError, match="no query of split 'test' has both a relevant document and candidates"):
        load_task(over(small, "q9 Q0 c 1 1 x\n"), small, seed=0)


@pytest.mark.parametrize(
    ("row", "message"),
    [("q1\tz\t2", "the corpus has no document 'z'"), ("q1\ta\t2", "names a document twice")],
)
def test_pools_that_do_not_fit_the_corpus_are_refused(small: Path, row: str, message: str) -> None:
    text = f"query-id\tcorpus-id\trank\nq1\ta\t1\n{row}\n"
    with pytest.raises(DataError, match=rf"my.tsv, query 'q1': .*{message}"):
        load_task(over(small, text, "my.tsv"), small, seed=0)


def test_documents_of_a_run_that_the_corpus_lacks_are_refused(small: Path) -> None:
    with pytest.raises(DataError, match=r"my\.trec: the corpus has no document 'z'"):
        load_task(over(small, "q1 Q0 a 1 2 x\nq1 Q0 z 2 1 x\n"), small, seed=0)
