"""Training end to end on a tiny model: it learns, resumes exactly, and never leaves half an artifact."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from app.errors import ArtifactError, ConfigError
from app.model.cross_encoder import CrossEncoder
from app.model.manifest import read_manifest
from tests.unit.training.conftest import FACTS, write_lines
from training.commands.arguments import training_arguments
from training.commands.running import total_steps
from training.cross_encoder import CrossEncoderTrainer
from training.errors import DataError
from training.publish import publishing
from training.recipe import Recipe
from training.train import train

ROOT = Path(__file__).parents[3]
LISTS = [
    {"query": query, "docs": [answer, FACTS[i - 1][1], FACTS[i - 2][1]]} for i, (query, answer) in enumerate(FACTS)
]


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(directory / "model.safetensors"))


def changed(recipe: Recipe, **keys: Any) -> Recipe:
    """The recipe with other values, checked as those of a file are."""
    return Recipe.model_validate({**recipe.model_dump(exclude_unset=True), **keys})


def test_training_learns_and_writes_an_artifact_that_loads_everywhere(recipe: Recipe, parent_dir: Path) -> None:
    output = train(changed(recipe, epochs=30, checkpoint_every=1000))
    manifest = read_manifest(output)
    assert manifest is not None
    assert manifest.max_length == 64
    assert manifest.labels == ["relevant"]
    assert {entry["name"]: entry["pairs"] for entry in manifest.provenance["data"]} == {"facts": 24, "pairs": 24}
    assert all(len(sums) == 64 for entry in manifest.provenance["data"] for sums in entry["sha256"].values())
    assert manifest.provenance["recipe"]["learning_rate"] == 3e-3
    assert manifest.provenance["training"]["final_loss"] < 0.4
    assert (output / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (output / name).read_bytes() == (parent_dir / name).read_bytes()
    card = (output / "README.md").read_text()
    assert "| facts | train | CC0 | 24 |" in card
    assert '"batch_size": 8' in card
    assert all(path.stat().st_mode & stat.S_IROTH for path in output.rglob("*"))
    model = CrossEncoder.load(output, backend="torch")
    right = model.predict(FACTS)
    wrong = model.predict([(FACTS[i][0], FACTS[(i + 3) % len(FACTS)][1]) for i in range(len(FACTS))])
    assert right.mean() > wrong.mean() + 0.2


SIGNALLED = """
import os, sys
import training.train
from training.__main__ import main
from training.cross_encoder import CrossEncoderTrainer

training.train.available_cpus = lambda: 1
step, number = CrossEncoderTrainer.training_step, int(sys.argv[1])

def signalled(self, *args, **kwargs):
    if self.state.global_step == 4:
        os.kill(os.getpid(), number)
    return step(self, *args, **kwargs)

CrossEncoderTrainer.training_step = signalled
sys.exit(main(["train", *sys.argv[2:]]))
"""


@pytest.mark.parametrize(("sent", "step"), [(signal.SIGTERM, 5), (signal.SIGINT, 5), (signal.SIGKILL, 3)])
def test_an_interrupted_run_goes_on_to_the_same_weights(
    sent: signal.Signals, step: int, recipe: Recipe, recipe_file: Path, tmp_path: Path
) -> None:
    """A signal lets the step in hand be finished and saved; after kill -9 the last checkpoint is gone on from."""
    overrides = [f"{key}={getattr(recipe, key)}" for key in ("parent", "data_root", "output")]
    command = [sys.executable, "-c", SIGNALLED, str(int(sent)), str(recipe_file), *overrides]
    stopped = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert stopped.returncode == (130 if step == 5 else -sent), stopped.stderr
    assert ("stopped after step 5 of 24; run the same command to go on" in stopped.stderr) == (step == 5)
    work = tmp_path / "model.work"
    assert max(int(path.name.partition("-")[2]) for path in work.glob("checkpoint-*")) == step
    assert not recipe.output.exists()
    whole = weights(train(changed(recipe, output=tmp_path / "whole")))
    resumed = weights(train(recipe))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_run_that_ended_before_it_was_published_is_only_published(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the last step is in the middle of an epoch."""
    recipe = changed(recipe, max_steps=4)
    whole = weights(train(recipe))
    recipe.output.rename(tmp_path / "whole")
    monkeypatch.setattr(CrossEncoderTrainer, "training_step", None)
    again = train(recipe)
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights(again).items())
    manifest = read_manifest(again)
    assert manifest is not None
    assert manifest.provenance["training"]["steps"] == 4
    assert "Training Hyperparameters" in (again / "README.md").read_text()


def test_a_checkpoint_of_another_recipe_or_of_other_data_is_refused(
    recipe: Recipe, data_root: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_bytes((data_root / "pairs.jsonl").read_bytes())
    recipe = changed(recipe, max_steps=2, datasets=[{"name": "pairs", "path": pairs}])
    train(recipe)
    recipe.output.rename(recipe.output.with_name("elsewhere"))
    with pytest.raises(ConfigError, match=r"belongs to another recipe \(learning_rate changed\); delete it"):
        train(changed(recipe, learning_rate=1e-4))
    write_lines(pairs, [{"query": query, "answer": answer} for query, answer in FACTS[1:]])
    with pytest.raises(ConfigError, match=r"belongs to another recipe \(data\.pairs changed\)"):
        train(recipe)


def test_an_existing_output_is_refused_before_any_work(recipe: Recipe) -> None:
    recipe.output.mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        train(recipe)


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    def write() -> None:
        with publishing(tmp_path / "model") as draft:
            (draft / "config.json").write_text("{}")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_listwise_loss_trains_on_a_table(recipe: Recipe, tmp_path: Path) -> None:
    write_lines(tmp_path / "lists.jsonl", [{**row, "labels": [1, 0, 0], "id": i} for i, row in enumerate(LISTS)])
    lists = {"name": "lists", "path": tmp_path / "lists.jsonl", "columns": ["query", "docs", "labels"], "limit": 6}
    loss = {"name": "LambdaLoss", "weighting_scheme": {"name": "NDCGLoss2PPScheme", "mu": 5.0}, "k": 3}
    output = train(changed(recipe, datasets=[lists], loss=loss, epochs=2, batch_size=2))
    manifest = read_manifest(output)
    assert manifest is not None
    assert manifest.provenance["data"][0]["rows"] == 6
    assert manifest.provenance["recipe"]["loss"] == loss
    assert manifest.provenance["training"]["steps"] == 6
    sample = (tmp_path / "model.work" / "sample.jsonl").read_text().splitlines()
    assert {(row["query"], row["answer"]) for row in map(json.loads, sample)} <= set(FACTS)


def test_each_dataset_may_have_a_loss_of_its_own(recipe: Recipe, data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("anchor,positive\n" + "".join(f"{a},{b}\n" for a, b in FACTS))
    own = {"name": "MultipleNegativesRankingLoss", "num_negatives": 2, "activation_fn": "Identity"}
    sets = [{"name": "facts", "path": "facts"}, {"name": "csv", "path": tmp_path / "pairs.csv", "loss": own}]
    arguments = {"multi_dataset_batch_sampler": "round_robin", "batch_sampler": "no_duplicates"}
    output = train(changed(recipe, datasets=sets, max_steps=2, arguments=arguments))
    assert "MultipleNegativesRankingLoss" in (output / "README.md").read_text()


def test_classes_are_trained_and_served(recipe: Recipe, tmp_path: Path) -> None:
    rows = [{"a": query, "b": answer, "label": i % 3} for i, (query, answer) in enumerate(FACTS)]
    write_lines(tmp_path / "nli.jsonl", list(rows))
    names = ["entailment", "neutral", "contradiction"]
    sets = [{"name": "nli", "path": tmp_path / "nli.jsonl", "kind": "table"}]
    output = train(changed(recipe, datasets=sets, num_labels=3, labels=names, max_steps=2))
    model = CrossEncoder.load(output, backend="torch")
    assert list(model.artifact.labels) == names
    assert model.predict(FACTS).shape == (len(FACTS), 3)


def test_the_best_model_of_the_evaluations_is_kept(recipe: Recipe, tmp_path: Path) -> None:
    watched = {"name": "facts", "path": "facts", "split": "train", "depth": 8, "during": True}
    recipe = changed(
        recipe, evaluations=[watched], evaluate_every=2, keep_best=True, max_steps=6, report_to=["tensorboard"]
    )
    output = train(recipe)
    manifest = read_manifest(output)
    assert manifest is not None
    story = manifest.provenance["training"]
    scores = {entry["step"]: entry["sequential_score"] for entry in story["evaluations"]}
    assert list(scores) == [2, 4, 6]
    assert scores[story["kept_step"]] == max(scores.values())
    kept = weights(tmp_path / "model.work" / f"checkpoint-{story['kept_step']}")
    assert all(torch.equal(kept[name], tensor) for name, tensor in weights(output).items())
    assert list((tmp_path / "model.work" / "runs").rglob("events.*"))


def test_pairs_and_lists_are_evaluated_during_training(recipe: Recipe, tmp_path: Path) -> None:
    """Sets of other kinds than BEIR directories, the best model chosen by the figure of one of them."""
    pairs = [{"a": query, "b": answer, "label": i % 2, "score": i / 8} for i, (query, answer) in enumerate(FACTS)]
    write_lines(tmp_path / "pairs.jsonl", list(pairs))
    write_lines(tmp_path / "lists.jsonl", [{**row, "labels": [2, 1, 0]} for row in LISTS])
    samples = [{"query": row["query"], "positive": row["docs"][0], "negative": row["docs"][1:]} for row in LISTS]
    write_lines(tmp_path / "samples.jsonl", list(samples))
    pairs_file = {"path": tmp_path / "pairs.jsonl", "during": True}
    watched = [
        {"name": "facts", "path": "facts", "split": "train", "during": True},
        {"name": "same", "kind": "classification", "columns": ["a", "b", "label"], **pairs_file, "limit": 6},
        {"name": "sts", "kind": "correlation", "columns": ["a", "b", "score"], **pairs_file},
        {"name": "lists", "path": tmp_path / "lists.jsonl", "during": True},
        {"name": "samples", "path": tmp_path / "samples.jsonl", "during": True},
    ]
    choice = {"evaluate_every": 2, "keep_best": True, "best_metric": "sts_pearson", "max_steps": 4}
    output = train(changed(recipe, evaluations=watched, **choice))
    manifest = read_manifest(output)
    assert manifest is not None
    story = manifest.provenance["training"]
    wanted = ("facts_ndcg@10", "same_average_precision", "sts_spearman", "lists_ndcg@10", "samples_map")
    assert all(set(wanted) <= set(entry) for entry in story["evaluations"])
    assert all(0 < entry["lists_ndcg@10"] <= 1 for entry in story["evaluations"])
    pearson = {entry["step"]: entry["sts_pearson"] for entry in story["evaluations"]}
    assert pearson[story["kept_step"]] == max(pearson.values())
    assert (output / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert "sts_spearman" in (output / "README.md").read_text()


def test_classes_are_evaluated_during_training(recipe: Recipe, tmp_path: Path) -> None:
    rows = [{"a": query, "b": answer, "label": i % 3} for i, (query, answer) in enumerate(FACTS)]
    write_lines(tmp_path / "nli.jsonl", list(rows))
    sets = [{"name": "nli", "path": tmp_path / "nli.jsonl", "kind": "table"}]
    watched = [{"name": "nli", "path": tmp_path / "nli.jsonl", "kind": "classification", "during": True}]
    output = train(changed(recipe, datasets=sets, evaluations=watched, num_labels=3, max_steps=2, evaluate_every=1))
    manifest = read_manifest(output)
    assert manifest is not None
    assert [set(entry) for entry in manifest.provenance["training"]["evaluations"]] == 2 * [
        {"step", "sequential_score", "nli_f1_macro", "nli_f1_micro", "nli_f1_weighted"}
    ]


PAIR = {"a": "what", "b": "x", "label": 0}
LIST = {"a": "what", "b": ["x", "y"], "label": [0, 0]}
SAMPLE = {"query": "what", "positive": "x", "negative": ["y"]}


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        (
            "classification",
            [PAIR, {**PAIR, "label": 2}],
            r"row 1: column 'label' is 2, but classes are numbered 0",
        ),
        ("classification", [PAIR, {**PAIR, "label": 0.5}], r"row 1: column 'label' is 0.5, but classes"),
        ("classification", [PAIR, {**PAIR, "b": None}], r"row 1: column 'b' holds no text"),
        ("correlation", [PAIR, {**PAIR, "label": None}], r"row 1: column 'label' is None, but a score is a number"),
        ("correlation", [PAIR, PAIR], r"a correlation needs different scores"),
        (
            "correlation",
            [{"a": "what", "b": "x", "gold": 1}],
            r"has the columns a, b, gold, but two texts and a",
        ),
        ("reranking", [LIST, {**LIST, "label": [1]}], r"row 1: columns 'b' and 'label' must be lists of one length"),
        ("reranking", [LIST, {**LIST, "b": ["x", None]}], r"row 1: a document or its label is empty"),
        ("reranking", [LIST, {**LIST, "a": None}], r"row 1: column 'a' holds no text"),
        ("reranking", [LIST, LIST], r"no list has a label above 0; correct column 'label'"),
        ("reranking", [{"a": "what", "b": "x"}], r"has the columns a, b, but lists need query, positive and negative"),
        ("reranking", [LIST, {**LIST, "label": [1, float("nan")]}], r"row 1: column 'label' holds nan, but grades are"),
        (
            "reranking",
            [{**LIST, "label": ["1", "0"]}],
            r"row 0: column 'label' holds '1', but .*; correct it, or leave",
        ),
        (
            "reranking",
            [{**LIST, "b": [7, 8]}],
            r"row 0: column 'b' holds 7, but texts are needed; correct it, or leave",
        ),
        ("reranking", [SAMPLE, {**SAMPLE, "query": None}], r"row 1: column 'query' holds no text; correct it"),
        ("reranking", [SAMPLE, {**SAMPLE, "positive": None}], r"row 1: column 'positive' holds None, but texts are"),
        ("reranking", [SAMPLE, {**SAMPLE, "negative": None}], r"row 1: column 'negative' holds None, but texts are"),
        ("reranking", [SAMPLE, {**SAMPLE, "negative": ["y", None]}], r"row 1: column 'negative' holds None, but texts"),
        ("reranking", [{"query": "what", "positive": ["x"], "documents": [7]}], r"row 0: column 'documents' holds 7"),
        (
            "reranking",
            [{**SAMPLE, "relevance": [float("nan")]}],
            r"row 0: column 'relevance' holds nan, but grades are",
        ),
        ("reranking", [{**SAMPLE, "relevance": 2}], r"row 0: column 'relevance' holds 2, but grades are a list"),
        ("reranking", [SAMPLE, {**SAMPLE, "documents": ["x"]}], r"sample 1: exactly one of"),
    ],
)
def test_tables_that_cannot_be_evaluated_are_refused(
    recipe: Recipe, tmp_path: Path, kind: str, rows: list[dict[str, Any]], message: str
) -> None:
    """With set, row, column and remedy, before the first step."""
    write_lines(tmp_path / "rows.jsonl", rows)
    watched = [{"name": "mine", "path": tmp_path / "rows.jsonl", "kind": kind, "during": True}]
    with pytest.raises(DataError, match=rf"evaluation 'mine'.*{message}"):
        train(changed(recipe, evaluations=watched))
    assert not recipe.output.exists()


def test_max_steps_shortens_a_run_and_never_lengthens_it(recipe: Recipe) -> None:
    class Loaded:
        args = training_arguments(recipe, recipe.output)

        def get_train_dataloader(self) -> range:
            return range(6)

    trainer: Any = Loaded()
    assert total_steps(trainer, recipe) == 24
    assert total_steps(trainer, changed(recipe, max_steps=100)) == 24
    assert total_steps(trainer, changed(recipe, max_steps=5)) == 5


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"arguments": {"learning_rate": 1.0}}, r"'learning_rate' is the recipe's own key 'learning_rate'"),
        ({"arguments": {"per_device_train_batch_size": 4}}, r"the recipe's own key 'batch_size'"),
        ({"arguments": {"batch_token": 9}}, r"unknown key 'batch_token' \(did you mean 'batch_tokens'\?\)"),
        ({"arguments": {"save_only_model": True}}, r"cannot be set"),
        ({"arguments": {"batch_sampler": "sorted"}}, r"'sorted' is not a valid BatchSamplers"),
        ({"loss": {"name": "LambdaLoss", "kk": 3}}, r"LambdaLoss has no option 'kk'"),
        ({"loss": {"name": "LambdaLoss", "weighting_scheme": "NDCGLoss3Scheme"}}, r"did you mean 'NDCGLoss"),
        ({"loss": {"name": "MSELoss", "activation_fn": "Sigmoidal"}}, r"did you mean 'Sigmoid'"),
        ({"serving_max_length": 4096}, r"'serving_max_length': .* has 512 positions"),
        ({"report_to": ("wandb",)}, r"report_to: wandb is not installed here: pip install 'crossrank\[wandb\]'"),
        ({"report_to": ("codecarbon",)}, r"pip install 'crossrank\[codecarbon\]'"),
        ({"arguments": {"train_sampling_strategy": "sequential"}}, r"leave it out and choose a batch_sampler"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_first_step(
    recipe: Recipe, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        train(changed(recipe, **keys))
    assert not recipe.output.exists()


def test_a_parent_that_is_neither_directory_nor_package_is_refused(recipe: Recipe) -> None:
    with pytest.raises(ArtifactError, match="absent"):
        train(changed(recipe, parent="absent"))
