"""Evaluation: candidates in BM25's order, figures per ranker, figures in the manifest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from app.model.manifest import Manifest, read_manifest
from training.__main__ import main
from training.bi_encoder import BiEncoder
from training.candidates import load_task
from training.evaluate import in_given_order, measure
from training.publish import seal
from training.recipe import EvaluationSet

FACTS_SET = EvaluationSet(name="facts", path=Path("facts"), split="train", depth=5)


def test_candidates_are_bm25s_best_and_measured_as_such(data_root: Path) -> None:
    task = load_task(FACTS_SET, data_root, seed=0)
    assert all(len(document_ids) == 5 for document_ids in task.candidates.values())
    assert task.candidates["q3"][0] == "d3"
    assert measure(task, in_given_order(task))["ndcg@10"] > 0.9


def test_a_pool_without_ranks_of_its_own_is_put_into_bm25s_order(data_root: Path) -> None:
    pooled = load_task(FACTS_SET.model_copy(update={"pool": Path("pools/train.tsv"), "depth": 8}), data_root, seed=0)
    assert pooled.candidates["q3"][0] == "d3"
    assert len(pooled.pairs()) == 64


def test_measure_of_a_perfect_and_of_the_worst_ranking(data_root: Path) -> None:
    task = load_task(FACTS_SET.model_copy(update={"depth": 8}), data_root, seed=0)
    perfect = np.array(
        [float(task.qrels[key].get(name, 0)) for key, names in task.candidates.items() for name in names],
        dtype=np.float32,
    )
    assert measure(task, perfect) == {"ndcg@10": 1.0, "mrr@10": 1.0, "map": 1.0}
    assert measure(task, -perfect) == {"ndcg@10": 0.3155, "mrr@10": 0.125, "map": 0.125}


def test_a_limit_draws_the_same_queries_every_time(data_root: Path) -> None:
    limited = FACTS_SET.model_copy(update={"limit": 3})
    drawn = [list(load_task(limited, data_root, seed).queries) for seed in (1, 1)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 3


def test_the_parents_cosine_is_that_of_mean_pooled_embeddings(reranker_dir: Path) -> None:
    encoder = BiEncoder(reranker_dir)
    vectors = encoder.embed(["paris is the capital", "rome"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert encoder.cosines([("rome", "rome")])[0] == pytest.approx(1, abs=1e-6)
    pair = encoder.cosines([("paris is the capital", "rome")])[0]
    assert pair == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-6)


def test_the_command_prints_writes_and_records_figures(
    recipe_file: Path, data_root: Path, reranker_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "artifact"
    shutil.copytree(reranker_dir, model)
    seal(model, Manifest(64, "sigmoid", ["LABEL_0"], provenance={"parent": "none"}))
    arguments = ["evaluate", str(model), str(recipe_file), f"data_root={data_root}", f"parent={reranker_dir}"]
    assert main([*arguments, "--json", str(tmp_path / "out.json"), "--record"]) == 0
    assert "facts (8)" in capsys.readouterr().out
    figures = json.loads((tmp_path / "out.json").read_text())
    assert set(figures["facts"]) == {"bm25", "parent", "model", "size"}
    manifest = read_manifest(model)
    assert manifest is not None
    assert manifest.provenance["evaluation"]["sets"] == figures
    assert manifest.provenance["parent"] == "none"


def test_an_unknown_evaluation_set_is_refused(
    recipe_file: Path, reranker_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(reranker_dir), str(recipe_file), "--only", "nothing"]) == 2
    assert "--only nothing: no such evaluation set; the recipe has facts" in capsys.readouterr().err
