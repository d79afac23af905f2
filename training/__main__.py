"""`rerank-training`: train, evaluate and export cross-encoders from the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app.errors import RerankerError

TRAIN = """\
Trains a cross-encoder as a TOML recipe says and writes a model directory.

    rerank-training train training/recipes/default.toml data_root=../data output=runs/mine
    rerank-training train my.toml epochs=2 negatives.count=8 datasets.0.limit=1000

Ctrl-C or a kill leaves a checkpoint beside the output (OUTPUT.work); the same command goes on from it.
"""
EVALUATE = """\
Reranks the candidates of each [[evaluations]] set of a recipe and prints nDCG@10, MRR@10 and MAP beside BM25's
order and the cosine of the recipe's parent model.

    rerank-training evaluate runs/mine training/recipes/default.toml data_root=../data
    rerank-training evaluate default training/recipes/default.toml data_root=../data --json figures.json
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
        return int(options.run(options))
    except RerankerError as error:
        print(f"rerank-training: {error}", file=sys.stderr)
        return 130 if type(error).__name__ == "Interrupted" else 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rerank-training", description="Train, evaluate and export rerankers.")
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
    from training.recipe import load_recipe
    from training.train import train

    output = train(load_recipe(options.recipe, options.overrides))
    print(f"model written to {output}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from training.evaluate import evaluate_command

    return evaluate_command(options)


def _export(options: argparse.Namespace) -> int:
    from training.export import export_command

    return export_command(options)


if __name__ == "__main__":
    sys.exit(main())
