"""The scripts of document 002 that mine hard negatives, unshortened, on data of the same columns."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import AutoModelForSequenceClassification

from tests.models import word_piece

from . import real_data
from .conftest import snapshot, write_base
from .test_scripts import run


@pytest.fixture(scope="module", autouse=True)
def mining_models(model_cache: Path) -> None:
    """The embedding model of the scripts with random words, and the encoder that the long one trains."""
    folder = snapshot(model_cache, "sentence-transformers/static-retrieval-mrl-en-v1")
    if real_data.ROOT:
        real_data.write_embeddings(folder)
    else:
        torch.manual_seed(0)
        module = StaticEmbedding(word_piece(), embedding_dim=16)
        SentenceTransformer(modules=[module], device="cpu").save(str(folder), create_model_card=False)
    write_base(model_cache, "answerdotai/ModernBERT-base")


def test_document_002_mines_labelled_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    script = run("document_002_mining")
    mined = script.hard_train_dataset
    assert mined.column_names == ["question", "answer", "label"]
    questions = len(set(script.train_dataset["question"]))
    assert sum(mined["label"]) == len(script.train_dataset)
    assert len(script.train_dataset) < len(mined) <= len(script.train_dataset) + 5 * questions
    out = capsys.readouterr().out
    assert "features: ['question', 'answer', 'label']" in out
    assert "Metric       Positive       Negative     Difference\nCount " in out
    assert "due to the absolute_margin of 0.1." in out


def test_document_002_mines_and_evaluates_a_reranking(capsys: pytest.CaptureFixture[str]) -> None:
    script = run("document_002_mined_evaluation")
    mined = script.hard_eval_dataset
    assert mined.column_names == ["question", "answer", *(f"negative_{i}" for i in range(1, 51))]
    assert len(mined) == 1_000
    assert sorted(script.results) == sorted(
        f"gooaq-dev_{base}{name}" for base in ("", "base_") for name in ("map", "mrr@10", "ndcg@10")
    )
    found = [row["answer"] in [row[name] for name in mined.column_names[2:]] for row in mined]
    assert any(found)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes:UserWarning")
def test_document_002_extensive_example_mines_trains_evaluates_saves_and_uploads(
    tmp_path: Path, hub: list[SimpleNamespace]
) -> None:
    run("document_002_extensive_example")
    run_name = "reranker-ModernBERT-base-gooaq-bce"
    final = tmp_path / "models" / run_name / "final"
    assert AutoModelForSequenceClassification.from_pretrained(final).config.num_labels == 1
    card = (final / "README.md").read_text(encoding="utf-8")
    for part in ("ModernBERT-base trained on GooAQ", "gooaq-dev", "NanoMSMARCO", "BinaryCrossEntropyLoss"):
        assert part in card
    assert [upload.repo_id for upload in hub] == [f"user/{run_name}"]
