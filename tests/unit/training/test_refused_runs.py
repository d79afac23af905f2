"""Runs that cannot be trained, or go wrong: what is said, and that nothing wrong is published."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.errors import ArtifactError, ConfigError
from app.model.manifest import read_manifest
from tests.unit.training.conftest import FACTS, write_lines
from training.errors import DataError
from training.recipe import Recipe
from training.train import train


def changed(recipe: Recipe, **keys: Any) -> Recipe:
    """The recipe with other values, checked as those of a file are."""
    return Recipe.model_validate({**recipe.model_dump(exclude_unset=True), **keys})


@pytest.mark.parametrize(
    ("loss", "columns"),
    [
        ("MultipleNegativesRankingLoss", {"query", "positive", "negative_1", "negative_2"}),
        ("CachedMultipleNegativesRankingLoss", {"query", "positive", "negative_1", "negative_2"}),
        ("LambdaLoss", {"query", "documents", "labels"}),
    ],
)
def test_every_loss_trains_on_mined_negatives_in_its_own_shape(recipe: Recipe, loss: str, columns: set[str]) -> None:
    output = train(changed(recipe, loss={"name": loss}, max_steps=2))
    card = (output / "README.md").read_text()
    assert all(f"<code>{name}</code>" in card for name in columns)
    assert "#### facts+pairs" in card, "the data sets have the recipe's names"
    manifest = read_manifest(output)
    assert manifest is not None
    assert [entry["rows"] for entry in manifest.provenance["data"]] == [8, 8]


def test_labels_that_a_loss_would_not_look_at_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    """Wrong answers would be trained on as right ones."""
    write_lines(tmp_path / "rows.jsonl", [{"a": query, "b": answer, "label": 0} for query, answer in FACTS])
    sets = [{"name": "mine", "path": tmp_path / "rows.jsonl"}]
    with pytest.raises(
        DataError, match=r"'mine': MultipleNegativesRankingLoss .* would not look at column 'label'; leave"
    ):
        train(changed(recipe, datasets=sets, loss={"name": "MultipleNegativesRankingLoss"}))


def test_scores_of_what_is_in_a_row_do_no_harm_to_a_loss_without_labels(recipe: Recipe, tmp_path: Path) -> None:
    """As mined triplets have them: the second text is right all the same."""
    rows = [{"query": q, "positive": a, "negative": FACTS[0][1], "scores": [0.9, 0.1]} for q, a in FACTS[1:]]
    write_lines(tmp_path / "rows.jsonl", list(rows))
    sets = [{"name": "mine", "path": tmp_path / "rows.jsonl"}]
    output = train(changed(recipe, datasets=sets, loss={"name": "MultipleNegativesRankingLoss"}, max_steps=2))
    assert (output / "model.safetensors").is_file()


def test_a_wrong_row_is_named_by_its_own_data_set_and_number(recipe: Recipe, tmp_path: Path) -> None:
    """Though sets are shuffled together, and though a few rows of each are drawn."""
    rows = [{"a": query, "b": answer, "label": 1.0} for query, answer in FACTS]
    write_lines(tmp_path / "first.jsonl", list(rows))
    write_lines(tmp_path / "second.jsonl", [*rows[:5], {**rows[5], "b": ""}, *rows[6:]])
    sets = [{"name": name, "path": tmp_path / f"{name}.jsonl", "limit": 3} for name in ("first", "second")]
    with pytest.raises(DataError, match=r"dataset 'second', column 'b', row 5: is empty.*in a recipe: `columns`"):
        train(changed(recipe, datasets=sets))
    assert not recipe.output.with_name("model.work").exists()


def test_whole_numbers_that_a_float_cannot_hold_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", [{"a": "what", "b": "x", "label": 2**53 + 1}])
    sets = [{"name": "mine", "path": tmp_path / "rows.jsonl"}]
    with pytest.raises(DataError, match=r"dataset 'mine', column 'label': a float has not all of its digits .*scale"):
        train(changed(recipe, datasets=sets, loss={"name": "MSELoss"}))


@pytest.mark.parametrize("rows", [[{"a": "x"}], [{"label": 1.0}], [{"a;b": "what;x"}]])
def test_a_table_without_two_texts_is_refused(recipe: Recipe, tmp_path: Path, rows: list[dict[str, object]]) -> None:
    write_lines(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match="'mine': BinaryCrossEntropyLoss needs exactly 2 input columns"):
        train(changed(recipe, datasets=[{"name": "mine", "path": tmp_path / "rows.jsonl"}]))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"loss": {"name": "BinaryCrossEntropyLoss", "reduction": "bogus"}}, r"bogus.*wrong in \[loss\]"),
        ({"loss": {"name": "BinaryCrossEntropyLoss", "reduction": "none"}}, "reduction 'none' gives a number per row"),
        ({"arguments": {"prompts": {"facts": "a: "}}}, r"prompts names 'facts', but .* 'facts\+pairs'; .* mix = false"),
        ({"arguments": {"dataset_weights": {"pairs": 2.0}}}, "dataset_weights names 'pairs', but .* mix = false"),
        ({"mix": False, "arguments": {"prompts": {"fakts": "a: "}}}, "prompts names 'fakts', but .* 'facts', 'pairs'"),
        ({"arguments": {"dataset_temperature": 2.0}}, "dataset_temperature needs several sets apart; set mix = false"),
        ({"loss": {"name": "BinaryCrossEntropyLoss", "pos_weight": [1.0, 2.0]}}, r"wrong in \[loss\]"),
        ({"arguments": {"gradient_accumulation_steps": 0}}, r"wrong in \[arguments\]"),
        ({"arguments": {"dataloader_num_workers": -1}}, r"num_workers.*wrong in \[arguments\]"),
        ({"arguments": {"adam_beta1": 2.0}}, r"beta.*wrong in \[arguments\]"),
        ({"arguments": {"learning_rate_mapping": {"(": 1e-3}}}, r"wrong in \[arguments\]"),
    ],
)
def test_a_value_that_others_refuse_is_named_by_its_section(recipe: Recipe, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(changed(recipe, **keys))
    assert not recipe.output.exists()


def test_a_run_that_diverges_ends_and_publishes_nothing(recipe: Recipe) -> None:
    with pytest.raises(
        ConfigError, match=r"training diverged: at step \d+ the loss is nan; delete .*lower learning_rate"
    ):
        train(changed(recipe, learning_rate=1e30, attention_dropout=0.0))
    assert not recipe.output.exists()


def test_weights_that_are_no_numbers_are_not_published(recipe: Recipe) -> None:
    """Also where no loss told of them."""
    quiet = {"logging_strategy": "no"}
    with pytest.raises(ConfigError, match="training diverged: the weights after step 24 are no numbers; delete"):
        train(changed(recipe, learning_rate=1e30, arguments=quiet))
    assert not recipe.output.exists()


def test_a_run_may_log_nothing(recipe: Recipe) -> None:
    output = train(changed(recipe, max_steps=2, arguments={"logging_strategy": "no"}))
    manifest = read_manifest(output)
    assert manifest is not None
    assert "final_loss" not in manifest.provenance["training"]
    assert (output / "learning_curve.png").stat().st_size > 1000


def test_a_parent_whose_tokenizer_knows_no_words_is_refused(recipe: Recipe, parent_dir: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(parent_dir, parent, ignore=shutil.ignore_patterns("tokenizer.json", "vocab.txt"))
    with pytest.raises(ArtifactError, match=r"its tokenizer knows no words; add its tokenizer\.json"):
        train(changed(recipe, parent=str(parent)))


def test_weights_that_were_cut_off_are_named(recipe: Recipe, parent_dir: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(parent_dir, parent)
    file = parent / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"parent .*cannot be loaded .*copy or fetch it again"):
        train(changed(recipe, parent=str(parent)))


def test_a_checkpoint_that_was_cut_off_is_named_with_what_can_be_done(recipe: Recipe) -> None:
    train(changed(recipe, max_steps=4)).rename(recipe.output.with_name("elsewhere"))
    checkpoint = recipe.output.with_name("model.work") / "checkpoint-4"
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(
        ConfigError, match=r"checkpoint-4: cannot be gone on from .*delete it to go on from the one before"
    ):
        train(changed(recipe, max_steps=4))


LITTLE_ROOM = """
import resource, sys
from training.__main__ import main
import training.train
training.train.available_cpus = lambda: 1
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(["train", *sys.argv[2:]]))
"""


def test_a_disk_without_room_for_a_checkpoint_ends_the_run_in_one_line(recipe: Recipe, recipe_file: Path) -> None:
    """Whatever of it does not fit; with more room the same command goes on."""
    overrides = [f"{key}={getattr(recipe, key)}" for key in ("parent", "data_root", "output")]
    for room in (60_000, 300_000):
        command = [sys.executable, "-c", LITTLE_ROOM, str(room), str(recipe_file), *overrides, "max_steps=4"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith("rerank-training: ")
        assert "a checkpoint cannot be written" in last
    assert train(changed(recipe, max_steps=4)) == recipe.output


def test_another_number_of_steps_is_another_run(recipe: Recipe) -> None:
    """It sets when the learning rate reaches zero: what goes on would be neither of the two."""
    train(changed(recipe, max_steps=4)).rename(recipe.output.with_name("elsewhere"))
    for steps in (2, 6):
        with pytest.raises(ConfigError, match=r"belongs to another recipe \(max_steps changed\)"):
            train(changed(recipe, max_steps=steps))


def test_a_run_of_an_earlier_version_is_gone_on_from(recipe: Recipe) -> None:
    """Which wrote fewer keys into its notes."""
    train(changed(recipe, max_steps=4)).rename(recipe.output.with_name("elsewhere"))
    notes = recipe.output.with_name("model.work") / "run.json"
    known = json.loads(notes.read_text())
    del known["recipe"]["max_steps"]
    notes.write_text(json.dumps(known))
    assert train(changed(recipe, max_steps=4)) == recipe.output


def test_an_error_beside_the_checkpoint_is_not_laid_on_it(recipe: Recipe) -> None:
    """Its file is named instead."""
    train(changed(recipe, max_steps=4)).rename(recipe.output.with_name("elsewhere"))
    work = recipe.output.with_name("model.work")
    shutil.rmtree(work / "checkpoint-4")
    (work / "runs").write_text("")

    with pytest.raises(OSError, match="runs"):
        train(changed(recipe, max_steps=4, report_to=["tensorboard"]))


def test_judgments_have_no_slices(recipe: Recipe) -> None:
    sets = [{"name": "facts", "path": "facts", "split": "train[:3]"}]
    with pytest.raises(DataError, match=r"'facts': split 'train\[:3\]': .* no slices; .* set `limit`"):
        train(changed(recipe, datasets=sets))


def test_figures_that_are_no_numbers_leave_the_manifest_readable(recipe: Recipe, tmp_path: Path) -> None:
    """A correlation with scores that are all the same is none."""
    write_lines(tmp_path / "rows.jsonl", [{"a": "what", "b": "x", "label": 0.1}, {"a": "what", "b": "x", "label": 0.2}])
    watched = [{"name": "sts", "path": tmp_path / "rows.jsonl", "kind": "correlation", "during": True}]
    output = train(changed(recipe, evaluations=watched, evaluate_every=2, max_steps=2))
    assert "NaN" not in (output / "reranker.json").read_text()
    manifest = read_manifest(output)
    assert manifest is not None
    assert manifest.provenance["training"]["evaluations"][0]["sts_spearman"] is None
