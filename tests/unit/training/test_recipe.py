"""Recipes: what is refused, and how overrides reach their keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import ConfigError
from training.recipe import load_recipe

DEFAULT = Path(__file__).parents[3] / "training" / "recipes" / "default.toml"
EVALUATION_ONLY = {"cacm", "checkthat20", "cisi", "covidqa", "cranfield", "noveleval", "pubmedqa", "semeval_cqa_a"}
EVALUATION_ONLY |= {"wikiqa", "mqp", "parade", "paws_qqp", "quora"}


def test_unknown_keys_are_refused_by_name(recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'learning_rat'"):
        load_recipe(recipe_file, ["learning_rat=1e-3"])
    with pytest.raises(ConfigError, match=r"unknown key 'negatives\.kid'"):
        load_recipe(recipe_file, ["negatives.kid=bm25"])


def test_wrong_values_are_refused_with_their_key(recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match="key 'batch_size'"):
        load_recipe(recipe_file, ["batch_size=0"])
    with pytest.raises(ConfigError, match=r"key 'negatives\.kind'"):
        load_recipe(recipe_file, ["negatives.kind=hard"])


def test_overrides_replace_nested_values_and_list_entries(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["epochs=7", "negatives.count=5", "datasets.1.limit=3", "output=some/where"])
    assert (recipe.epochs, recipe.negatives.count, recipe.datasets[1].limit) == (7, 5, 3)
    assert recipe.output == Path("some/where")


@pytest.mark.parametrize("override", ["epochs", "=3", "datasets.9.limit=3", "epochs.x=1"])
def test_overrides_that_lead_nowhere_are_refused(recipe_file: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="override"):
        load_recipe(recipe_file, [override])


def test_missing_and_malformed_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load_recipe(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("parent = ")
    with pytest.raises(ConfigError, match=r"bad\.toml: not valid TOML"):
        load_recipe(tmp_path / "bad.toml")


def test_the_default_recipe_trains_on_no_test_split_and_on_no_evaluation_set() -> None:
    recipe = load_recipe(DEFAULT)
    for dataset in recipe.datasets:
        assert dataset.path.parts[0] not in EVALUATION_ONLY
        assert dataset.split in ("train", "dev") or dataset.name in ("nq_mini", "qed_nq")
        assert dataset.licence
    assert not recipe.data_root.is_absolute()
