"""`rerank-training train`: recipe -> examples -> training loop -> artifact."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tqdm import tqdm

from app.model.cpus import available_cpus
from app.model.manifest import Manifest, digest
from app.model.tokenizer import PairTokenizer
from app.model.types import Encoded, EncodeOptions
from training.examples import Example, build_examples, data_files
from training.parent import LABEL, load_for_training, load_tokenizer, resolve_parent
from training.plot import plot_losses
from training.publish import copy_tokenizer, publishing, require_free, seal
from training.recipe import Recipe
from training.trainer import Trainer

NOT_DECISIVE = {"output", "data_root", "evaluations", "checkpoint_every", "max_steps"}
"""Keys that may differ when a run goes on: they change no step, or only how many there are."""


def train(recipe: Recipe) -> Path:
    """Trains as `recipe` says and returns the artifact's directory, which appears only when it is complete.

    Raises ConfigError, ArtifactError or DataError before the first step, Interrupted after Ctrl-C.
    """
    require_free(recipe.output)
    torch.set_num_threads(available_cpus())
    parent = resolve_parent(recipe.parent)
    model, artifact = load_for_training(parent, seed=recipe.seed, attention_dropout=recipe.attention_dropout)
    tokenizer = load_tokenizer(artifact)
    examples, counts = build_examples(recipe)
    rows = _encode(tokenizer, examples, recipe.max_length)
    work = recipe.output.with_name(f"{recipe.output.name}.work")
    write_sample(examples, work / "sample.jsonl", recipe.seed)
    labels = [example.label for example in examples]
    trainer = Trainer(model, tokenizer, rows, labels, recipe, work / "checkpoint.pt", fingerprint(recipe))
    started = time.monotonic()
    losses = trainer.run()
    elapsed_s = time.monotonic() - started
    with publishing(recipe.output) as draft:
        model.save_pretrained(draft)
        copy_tokenizer(parent, draft)
        plot_losses(losses, draft / "loss.png")
        metrics = {
            "steps": len(losses),
            "final_loss": sum(losses[-50:]) / len(losses[-50:]),
            "seconds_since_resume": elapsed_s,
        }
        seal(draft, _manifest(recipe, parent, counts, metrics))
    return recipe.output


def write_sample(examples: list[Example], path: Path, seed: int, size: int = 512) -> None:
    """A random sample of the training pairs, for `export` to calibrate and measure with."""
    order = np.random.default_rng(seed).permutation(len(examples))[:size]
    lines = [json.dumps({"query": examples[i].query, "answer": examples[i].document}) for i in order]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def fingerprint(recipe: Recipe) -> str:
    """Digest of everything in a recipe that changes the trained weights."""
    return hashlib.sha256(recipe.model_dump_json(exclude=NOT_DECISIVE).encode()).hexdigest()


def _encode(tokenizer: PairTokenizer, examples: list[Example], max_length: int) -> list[Encoded]:
    options = EncodeOptions(max_length=max_length)
    rows: list[Encoded] = []
    chunk = 4096
    for start in tqdm(range(0, len(examples), chunk), desc="tokenise", unit="chunk"):
        pairs = [(example.query, example.document) for example in examples[start : start + chunk]]
        rows += tokenizer.encode_pairs(pairs, options)
    return rows


def _manifest(recipe: Recipe, parent: Path, counts: dict[str, int], metrics: dict[str, Any]) -> Manifest:
    data = [
        {
            "name": dataset.name,
            "split": dataset.split,
            "licence": dataset.licence,
            "pairs": counts[dataset.name],
            "sha256": {path.name: digest(path)["sha256"] for path in data_files(dataset, recipe.data_root)},
        }
        for dataset in recipe.datasets
    ]
    provenance = {
        "parent": {"name": recipe.parent, "weights": _weights_digest(parent)},
        "data": data,
        # Where the data and the output lay on one machine says nothing to a reader elsewhere.
        "recipe": recipe.model_dump(mode="json", exclude={"output", "data_root"}),
        "training": metrics,
        "software": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    return Manifest(recipe.serving_max_length, "sigmoid", [LABEL], provenance=provenance)


def _weights_digest(parent: Path) -> dict[str, Any]:
    return {path.name: digest(path) for path in sorted(parent.glob("*.safetensors"))}
