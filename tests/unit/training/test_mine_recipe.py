"""Mining recipes: what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ConfigError
from training.mine import mining_options
from training.mine_recipe import Faiss, load_mine_recipe

EXAMPLE = Path(__file__).parents[3] / "training" / "recipes" / "mine.toml"


def load(*overrides: str) -> None:
    mining_options(load_mine_recipe(EXAMPLE, overrides))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sead=1", r"unknown key 'sead' \(did you mean 'seed'\?\)"),
        ("pairs.colum=1", r"unknown key 'pairs\.colum'"),
        ("retrievers.1.modle=x", r"unknown key 'retrievers\.1\.modle' \(did you mean 'model'\?\)"),
        ("retrievers.0.model=x", r"unknown key 'retrievers\.0\.model'"),
        ("retrievers.0.kind=bm52", r"key 'retrievers\.0': .*'bm25', 'dense', 'faiss', 'run'"),
        ("retrievers=[]", r"key 'retrievers'"),
        ("retrievers.1.query_prompt=a retrievers.1.query_prompt_name=b", "both given"),
        ("filters.relative_marge=0.1", r"did you mean 'relative_margin'"),
        ("filters.percentile=101", r"key 'filters\.percentile'"),
        ("sampling.strategy=best", r"key 'sampling\.strategy'"),
        ("sampling.range_min=50", "range_min must be smaller than range_max"),
        ("sampling.range_max=2", "Cannot mine 3 negatives"),
        ("pairs.answer=negative", "has a column 'negative' of its own"),
        ("rescoring.batch_size=3", '`batch_size` is for backend = "torch"'),
        ("teacher={model='default'}", "drops nothing"),
        ("outputs.0.path=/elsewhere/rows.jsonl", "inside the recipe's `output`"),
        ("outputs.0.path=../rows.jsonl", "inside the recipe's `output`"),
        ("outputs.0.path=report.json", "is the report's"),
        ("outputs.0.path=rows.xlsx", "must end in .jsonl, .csv, .tsv, .parquet, or have no suffix"),
        ("outputs.0.path=rows.csv", "holds no lists"),
        ("outputs.0.path=lists", "two .* have the path 'lists'"),
        ("outputs.0.path=lists/rows.csv outputs.0.scores=false", "lies inside another"),
        ("outputs.0.documents=3", "`documents` is for the formats evaluation and run"),
        ("outputs.2.scores=true", "`scores` is for triplet"),
        ("corpus={path='c.jsonl'} retrievers=[{kind='run',path='r'}]", "has no `id`"),
    ],
)
def test_wrong_keys_and_values_are_refused_by_name(override: str, message: str) -> None:
    overrides = override.split(" ") if "={" not in override else override.split("} ", 1)
    overrides = [one + "}" if one.count("{") > one.count("}") else one for one in overrides]
    with pytest.raises(ConfigError, match=message):
        load(*overrides)


def test_the_recipe_of_examples_is_valid_with_the_keys_that_it_leaves_in_comments(tmp_path: Path) -> None:
    load()
    uncommented = EXAMPLE.read_text()
    for line in (
        "[corpus]",
        'path = "passages',
        "id = ",
        "title = ",
        "text = ",
        "truncate_dim",
        "device",
        "workers",
        "[[retrievers]]",
        'kind = "run"',
        'path = "bm25',
        "max_score",
        "absolute",
        "min_score",
        "percentile",
        "query_prompt",
    ):
        assert f"# {line}" in uncommented, line
        uncommented = uncommented.replace(f"# {line}", line)
    path = tmp_path / "all.toml"
    path.write_text(uncommented)
    recipe = load_mine_recipe(path, ["retrievers.1.kind=faiss", "retrievers.1.index=hnsw"])
    assert [one.kind for one in recipe.retrievers] == ["bm25", "faiss", "run"]
    assert isinstance(recipe.retrievers[1], Faiss)
    assert recipe.corpus is not None
