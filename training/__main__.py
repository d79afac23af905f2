"""`rerank-training`: train, evaluate, export and use cross-encoders from the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app.errors import RerankerError
from training.interruption import interrupts

TRAIN = """\
Trains a cross-encoder as a TOML recipe says and writes a model directory.

    rerank-training train training/recipes/default.toml data_root=../data output=runs/mine
    rerank-training train my.toml epochs=2 negatives.count=8 datasets.0.limit=1000
    rerank-training train my.toml loss.name=MSELoss arguments.bf16=true

Data: BEIR directories and files of pairs, for which wrong documents are mined, and tables whose rows fit the loss
(CSV, JSON, JSON lines, Parquet, Arrow, SQL, directories saved by `datasets`, hub:owner/name).

Ctrl-C or a kill leaves a checkpoint beside the output (OUTPUT.work); the same command goes on from it.
"""
EVALUATE = """\
Reranks the candidates of each [[evaluations]] set of a recipe and prints nDCG@10, MRR@10 and MAP beside BM25's
order and the cosine of the recipe's parent model.

    rerank-training evaluate runs/mine training/recipes/default.toml data_root=../data
    rerank-training evaluate default training/recipes/default.toml data_root=../data --json figures.json
"""
SCORE = """\
Scores the pairs of a table and writes its rows with the scores: a column `score`, or one for each label.

    rerank-training score runs/mine pairs.parquet --output scored.parquet
    rerank-training score default pairs.csv --columns question passage --output scored.jsonl --backend torch

The output appears when it is complete, and not before.
"""
EXPORT = """\
Turns a trained model directory into one with an ONNX graph, and measures the graph against the original.

    rerank-training export runs/mine --output runs/mine-onnx --texts runs/mine.work/sample.jsonl
    rerank-training export runs/mine --output runs/mine-int8 --texts runs/mine.work/sample.jsonl --precision int8

Training leaves such a sample.jsonl beside its checkpoint. Int8 scores depend on the batch with --form dynamic only.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, 2 after an error that the user can mend, 130 after an interruption."""
    options = _parser().parse_args(arguments)
    try:
        with interrupts():
            return int(options.run(options))
    except RerankerError as error:
        print(f"rerank-training: {error}", file=sys.stderr)
        return 130 if type(error).__name__ == "Interrupted" else 2
    except KeyboardInterrupt:
        print("rerank-training: interrupted; nothing half-written is left behind", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rerank-training", description="Train, evaluate and export rerankers, and score with them."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter

    train = commands.add_parser("train", help="train from a recipe", description=TRAIN, formatter_class=raw)
    train.add_argument("recipe", type=Path, help="TOML file; see training/recipes")
    train.add_argument("overrides", nargs="*", metavar="key=value", help="replaces a value of the recipe")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="measure ranking", description=EVALUATE, formatter_class=raw)
    evaluate.add_argument("model", help="model directory, 'default' or Hub id")
    evaluate.add_argument("recipe", type=Path, help="TOML file with [[evaluations]]")
    evaluate.add_argument("overrides", nargs="*", metavar="key=value", help="replaces a value of the recipe")
    evaluate.add_argument("--only", nargs="+", metavar="NAME", help="evaluation sets to run (default: all)")
    evaluate.add_argument("--backend", default="onnx", help="onnx or torch (default: onnx)")
    evaluate.add_argument("--max-length", type=int, help="most tokens per pair (default: the model's)")
    evaluate.add_argument("--no-baselines", action="store_true", help="leave out the parent's cosine")
    evaluate.add_argument("--json", type=Path, help="also write the figures to this file")
    evaluate.add_argument("--record", action="store_true", help="also write them into the model's manifest")
    evaluate.set_defaults(run=_evaluate)

    score = commands.add_parser("score", help="score a table of pairs", description=SCORE, formatter_class=raw)
    score.add_argument("model", help="model directory, 'default' or Hub id")
    score.add_argument("input", help="file, saved directory, database or hub:owner/name")
    score.add_argument("--output", type=Path, required=True, help="file to create: .jsonl, .csv, .tsv or .parquet")
    score.add_argument("--columns", nargs=2, metavar=("QUERY", "DOCUMENT"), help="default: the first two with text")
    score.add_argument("--score-column", help="name of the score's column (default: score, or the labels)")
    score.add_argument("--format", help="what the input is, where its name does not tell")
    score.add_argument("--split", help="a split, a slice or both: train, [:1000], test[10%%:90%%]")
    score.add_argument("--sql", help="query for a database")
    score.add_argument("--backend", default="onnx", help="onnx or torch (default: onnx)")
    score.add_argument("--max-length", type=int, help="most tokens per pair (default: the model's)")
    score.add_argument("--chunk", type=int, default=4096, help="rows scored and written at once (default: 4096)")
    score.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    score.set_defaults(run=_score)

    export = commands.add_parser("export", help="write an ONNX graph", description=EXPORT, formatter_class=raw)
    export.add_argument("model", type=Path, help="trained model directory")
    export.add_argument("--output", type=Path, required=True, help="directory to create")
    export.add_argument("--precision", choices=("fp32", "int8"), default="fp32", help="default: fp32")
    export.add_argument(
        "--texts", type=Path, required=True, help="JSON lines of {query, answer} to calibrate and measure with"
    )
    export.add_argument(
        "--form", choices=("static", "dynamic", "blockwise"), default="static", help="kind of int8: static"
    )
    export.set_defaults(run=_export)
    return parser


# Each command imports what it needs: torch alone takes seconds, which --help should not.


def _train(options: argparse.Namespace) -> int:
    from transformers.utils import logging

    from training.recipe import load_recipe
    from training.train import train

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # one for every checkpoint's shards would bury our own
    output = train(load_recipe(options.recipe, options.overrides))
    print(f"model written to {output}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from training.evaluate import evaluate_command

    return evaluate_command(options)


def _score(options: argparse.Namespace) -> int:
    from training.score import score_command

    return score_command(options)


def _export(options: argparse.Namespace) -> int:
    from training.export import export_command

    return export_command(options)


if __name__ == "__main__":
    sys.exit(main())
