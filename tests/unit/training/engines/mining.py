"""Mining with every model that an engine can run."""

from __future__ import annotations

from pathlib import Path

from tests.unit.training.mining.files import Row, make_pairs, read_rows, recipe_of, write_rows
from tests.unit.training.sentence_transformer.tiny import write_embedder
from training.mine import mine_recipe

PROMPTS = {"query": "what is ", "document": "", "other": "a lazy dog "}


def mined(folder: Path, name: str, reranker: Path, engine: str, **keys: object) -> list[Row]:
    """Triplets with scores: dense candidates, rescored, without those that a served teacher drops."""
    write_rows(folder / "pairs.jsonl", make_pairs())
    encoder = write_embedder(folder, "bert", prompts=PROMPTS)
    recipe = recipe_of(
        folder,
        output=folder / name,
        cache=folder / f"{name}.cache",
        retrievers=[{"kind": "dense", "model": str(encoder), "query_prompt_name": "other"}],
        rescoring={"model": str(reranker)},
        teacher={"model": str(reranker), "backend": "onnx", "max_score": 0.7},
        outputs=[{"path": "rows.parquet", "scores": True}],
        engine=engine,
        **keys,
    )
    mine_recipe(recipe, progress=False)
    return read_rows(folder / name / "rows.parquet")
