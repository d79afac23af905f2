"""`rerank-training train`: recipe -> data -> `CrossEncoderTrainer` -> artifact."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from app.errors import ConfigError
from app.model.artifact import read_artifact
from app.model.cpus import available_cpus
from training.commands.arguments import training_arguments
from training.commands.data import Part, check_by_name, load_parts, training_data
from training.commands.losses import loss_factory
from training.commands.parent_model import load_parent, parent_directory
from training.commands.report import card_section, evaluations_of, losses_of, manifest_of, metrics_of
from training.commands.running import make_trainer, run
from training.commands.watching import evaluator_of
from training.commands.work import Work
from training.cross_encoder.model import CrossEncoder
from training.plot import plot_run
from training.publish import copy_tokenizer, publishing, require_free, seal
from training.recipe import Recipe

CURVE_FILE = "learning_curve.png"


def train(recipe: Recipe) -> Path:
    """Trains as `recipe` says and returns the artifact's directory, which appears only when it is complete.

    Raises ConfigError, ArtifactError or DataError before the first step, Interrupted after Ctrl-C.
    """
    require_free(recipe.output)
    torch.set_num_threads(available_cpus())
    work = Work.of(recipe)
    arguments = training_arguments(recipe, work.folder)
    for options in (recipe.loss, *(dataset.loss for dataset in recipe.datasets)):
        loss_factory(options, recipe.num_labels)  # refuses wrong options before any work is done
    parent = parent_directory(recipe.parent)
    model = load_parent(recipe, parent)
    parts = load_parts(recipe, model)
    data = training_data(parts, recipe)
    check_by_name(recipe, data.names)
    model.model_card_data.train_datasets = [{"name": name} for name in data.names]
    trainer = make_trainer(recipe, model, arguments, data, evaluator_of(recipe))
    checkpoint = work.begin(recipe, parts)
    started = time.monotonic()
    state = run(trainer, recipe, checkpoint)
    if trainer.is_world_process_zero():
        metrics = metrics_of(state, recipe, time.monotonic() - started)
        publish(recipe, model, parent, parts, state, metrics)
    return recipe.output


def publish(
    recipe: Recipe, model: CrossEncoder, parent: Path, parts: Sequence[Part], state: Any, metrics: dict[str, Any]
) -> None:
    """Writes the artifact: the model as it is saved, the parent's own tokenizer, card, picture and manifest."""
    if not all(torch.isfinite(weights).all() for weights in model.parameters()):
        raise ConfigError(
            f"training diverged: the weights after step {state.global_step} are no numbers; delete "
            f"{Work.of(recipe).folder}, lower learning_rate (now {recipe.learning_rate:g}), and run the command again"
        )
    labels = [model.config.id2label[i] for i in range(recipe.num_labels)]
    manifest = manifest_of(recipe, parent, parts, labels, metrics)
    model.max_seq_length = recipe.serving_max_length
    model.model_card_data.generate_widget_examples = True
    with publishing(recipe.output) as draft:
        model.save_pretrained(draft)
        copy_tokenizer(parent, draft)
        plot_run(losses_of(state.log_history), evaluations_of(state.log_history), draft / CURVE_FILE)
        with (draft / "README.md").open("a", encoding="utf-8") as card:
            card.write(card_section(manifest))
        seal(draft, manifest)
        read_artifact(draft)  # what is published loads
