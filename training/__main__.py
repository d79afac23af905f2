"""`rerank-training`: train, evaluate, export and use cross-encoders from the command line."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from app.errors import RerankerError
from training.interruption import interrupts

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What add_subparsers returns; argparse has no public name for it."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a disk that takes no more."""
BACKENDS = "onnx, openvino, torch or vnni (default: onnx, or torch for a model without exported graphs)"
RAW = argparse.RawDescriptionHelpFormatter
TRAIN = """\
Trains a cross-encoder as a TOML recipe says and writes a model directory.

    rerank-training train training/recipes/default.toml data_root=../data output=runs/mine
    rerank-training train my.toml epochs=2 negatives.count=8 datasets.0.limit=1000
    rerank-training train my.toml loss.name=MSELoss arguments.bf16=true

Data: BEIR directories and files of pairs, for which wrong documents are mined and put into the shape that the loss
takes (pairs, tuples or lists), and tables whose rows fit the loss as they are (CSV, JSON, JSON lines, Parquet, Arrow,
SQL, directories saved by `datasets`, hub:owner/name).

Several GPUs, a process on each, which takes `batch_size` rows in a step:

    torchrun --standalone --nproc-per-node 4 -m training train my.toml

Ctrl-C or a kill leaves a checkpoint beside the output (OUTPUT.work); the same command goes on from it.
"""
EVALUATE = """\
Reranks candidates and prints nDCG@10, MRR@10, MAP and recall beside the first stage's own, with confidence
intervals, paired tests, and the quality by number of reranked candidates.

    rerank-training evaluate runs/mine ../data/scifact --plot depth.png --runs-out runs/scifact
    rerank-training evaluate runs/mine ../data/scifact --first-stage dense:sentence-transformers/all-MiniLM-L6-v2
    rerank-training evaluate runs/mine ../data/scifact --first-stage bm25.trec --against default
    rerank-training evaluate runs/mine training/recipes/default.toml data_root=../data --json figures.json

The target is a directory in BEIR layout (corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv) or a recipe, of which each
[[evaluations]] set is measured, beside the cosine of its parent too. Documents are scored once, as deep as the
largest of --depth and --depths; behind the reranked ones the others follow in first-stage order. Queries without a
relevant document are left out. Intervals (95 %) are bootstrapped over queries; p-values are two-sided, of Fisher's
paired randomisation test and of the t-test, for each measure alone.
"""
MINE = """\
Finds hard negatives for pairs of query and answer: documents that look right and are not. Writes them to train or to
evaluate on, with a report of what was kept and why. A recipe of four lines is enough:

    output = "runs/negatives"
    pairs = { path = "faq.csv", query = "question", answer = "answer" }
    retrievers = [{ kind = "bm25" }]
    outputs = [{ path = "triplets.jsonl", format = "triplet" }]

    rerank-training mine my.toml
    rerank-training mine my.toml sampling.num_negatives=5 filters.relative_margin=0.05 output=runs/stricter
    rerank-training mine training/recipes/mine.toml data_root=../data pairs.limit=1000

How to go about it: mine a thousand queries first (pairs.limit) and read report.md. If the hardest negatives are right
answers that nobody marked, set filters.relative_margin=0.05, pass over the first ranks (sampling.range_min=10), or let
a cross-encoder decide ([teacher]). If they are too easy, add a retriever, kind = "dense" beside "bm25". Then mine all.
training/recipes/mine.toml shows every key: formats, run files, FAISS, rescoring, evaluation sets.

--engine ray (or the key `engine`) encodes and scores with many processes, on this machine or on a Ray cluster, as
`score` does; texts, cache, search and outputs stay on this machine, and the negatives are the same.

Ctrl-C or a kill costs little: vectors and scores stay in the cache (OUTPUT.work, or the key `cache`), and the same
command goes on from there. The output appears when it is complete, and not before.
"""
SCORE = """\
Scores the pairs of a table and writes its rows with the scores: a column `score`, or one for each label.

    rerank-training score runs/mine pairs.parquet --output scored.parquet
    rerank-training score default pairs.csv --columns question passage --output scored.jsonl --backend torch
    rerank-training score runs/mine 'pairs/*.parquet' --output scored.parquet --engine ray --address auto

Several files (a pattern, or a directory of tables) are read one after another into one output.

--engine ray scores with many processes, on this machine or on a Ray cluster (pip install 'crossrank[ray]'). This
machine reads and writes; each worker holds the model and a few chunks, so a table may be larger than any memory, as
long as each of its files is not. Rows, their order and scores are as without it. Every machine needs this package and
the model under the same path (or `default`, or a Hub id). A chunk whose worker dies is scored again, three times.
Smaller chunks spread small tables better; the model is loaded in seconds, so Ray pays from some minutes of work on.

The output appears when it is complete, and not before.
"""
EXPORT = """\
Turns a model with PyTorch weights into a directory with exported graphs, and measures each against the original.

    rerank-training export runs/mine --output runs/mine-onnx
    rerank-training export runs/mine --output fast --target onnx-int8-static --texts runs/mine.work/sample.jsonl
    rerank-training export owner/name --output fast --target onnx openvino-int8 --texts ../data/scifact --pairs 512

    onnx               float32, operators fused
    onnx-fp16          float16 for GPUs
    onnx-int8          dynamic int8; a pair's score depends a little on what shares its batch
    onnx-int8-static   calibrated int8, one file for ONNX Runtime and OpenVINO
    openvino-bf16      OpenVINO's format for CPUs with bf16
    openvino-int8      calibrated int8 in OpenVINO's format (needs the extra nncf)
    vnni-fp32          float32 for CPUs with AVX-512 (extra vnni): a tenth faster than onnx where it was measured
    vnni-int16         16-bit fixed point for CPUs with AVX-512 VNNI (extra vnni): ranks as float32 does, faster
    vnni-int8          the same in 8 bits; nothing to calibrate, closer to the model than the other int8 forms

--texts: pairs of the kind that the model will see (a table, or a BEIR directory): half of the queries calibrate, the
others measure. Without it a small bundled sample is used. A graph that is too far from the original is not published.

--exporter optimum: the plain graph comes from optimum (pip install 'crossrank[optimum]', in an environment of its own,
for it needs an older transformers); all that is made of it is as with PyTorch's exporter.
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
    except OSError as error:
        if error.filename is None and error.errno not in FULL:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"rerank-training: {where}{error.strerror}; check the path, rights and room", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("rerank-training: interrupted; nothing half-written is left behind", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rerank-training", description="Train, evaluate and export rerankers, and score with them."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_add_train, _add_mine, _add_evaluate, _add_score, _add_export):
        add(commands)
    return parser


def _add_train(commands: Commands) -> None:
    train = commands.add_parser("train", help="train from a recipe", description=TRAIN, formatter_class=RAW)
    train.add_argument("recipe", type=Path, help="TOML file; see training/recipes")
    train.add_argument("overrides", nargs="*", metavar="key=value", help="replaces a value of the recipe")
    train.set_defaults(run=_train)


def _add_mine(commands: Commands) -> None:
    mine = commands.add_parser("mine", help="find hard negatives", description=MINE, formatter_class=RAW)
    mine.add_argument("recipe", type=Path, help="TOML file; see training/recipes/mine.toml")
    mine.add_argument("overrides", nargs="*", metavar="key=value", help="replaces a value of the recipe")
    mine.add_argument("--engine", help="local or ray (default: the recipe's, or local)")
    _add_cluster(mine)
    mine.set_defaults(run=_mine)


def _add_evaluate(commands: Commands) -> None:
    evaluate = commands.add_parser("evaluate", help="measure ranking", description=EVALUATE, formatter_class=RAW)
    evaluate.add_argument("model", help="model directory, 'default' or Hub id")
    evaluate.add_argument("target", type=Path, help="directory in BEIR layout, or TOML file with [[evaluations]]")
    evaluate.add_argument("overrides", nargs="*", metavar="key=value", help="replaces a value of the recipe")
    evaluate.add_argument("--only", nargs="+", metavar="NAME", help="sets of the recipe to run (default: all)")
    evaluate.add_argument("--split", help="judgments of the directory (default: test)")
    evaluate.add_argument("--first-stage", metavar="STAGE", help="bm25, dense:MODEL or a run file (default: bm25)")
    evaluate.add_argument("--pool", type=Path, help="candidates in the directory that the first stage puts in order")
    evaluate.add_argument("--depth", type=int, help="candidates reranked (default: 100, or the set's own)")
    evaluate.add_argument("--depths", type=int, nargs="+", metavar="N", help="of the curve (default: 10 20 50 100 200)")
    evaluate.add_argument("--limit", type=int, help="most queries, drawn at random (default: all)")
    evaluate.add_argument("--measures", nargs="+", metavar="NAME", help="as in ndcg@5 map precision@1 success@10")
    evaluate.add_argument("--against", nargs="+", metavar="MODEL", help="further models to compare the model with")
    evaluate.add_argument("--seed", type=int, help="draws queries and resamples (default: 0, or the recipe's)")
    evaluate.add_argument("--backend", help=BACKENDS)
    evaluate.add_argument("--max-length", type=int, help="most tokens per pair (default: the model's)")
    evaluate.add_argument("--no-baselines", action="store_true", help="leave out the parent's cosine")
    evaluate.add_argument("--json", type=Path, help="also write all figures, those of each query too, to this file")
    evaluate.add_argument("--plot", type=Path, help="also draw quality by rerank depth: .png, .svg or .pdf")
    evaluate.add_argument("--runs-out", type=Path, metavar="DIR", help="also write the rankings as TREC run files")
    evaluate.add_argument("--record", action="store_true", help="also write them into the model's manifest")
    evaluate.set_defaults(run=_evaluate)


def _add_score(commands: Commands) -> None:
    score = commands.add_parser("score", help="score a table of pairs", description=SCORE, formatter_class=RAW)
    score.add_argument("model", help="model directory, 'default' or Hub id")
    score.add_argument("input", help="file, pattern, directory, database or hub:owner/name")
    score.add_argument("--output", type=Path, required=True, help="file to create: .jsonl, .csv, .tsv or .parquet")
    score.add_argument("--columns", nargs=2, metavar=("QUERY", "DOCUMENT"), help="default: the first two with text")
    score.add_argument("--score-column", help="name of the score's column (default: score, or the labels)")
    score.add_argument("--format", help="what the input is, where its name does not tell")
    score.add_argument("--split", help="a split, a slice or both: train, [:1000], test[10%%:90%%]")
    score.add_argument("--sql", help="query for a database")
    score.add_argument("--backend", help=BACKENDS)
    score.add_argument("--max-length", type=int, help="most tokens per pair (default: the model's)")
    score.add_argument("--chunk", type=int, default=4096, help="rows scored and written at once (default: 4096)")
    score.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    score.add_argument("--engine", default="local", help="local or ray (default: local, one process)")
    _add_cluster(score)
    score.set_defaults(run=_score)


def _add_export(commands: Commands) -> None:
    export = commands.add_parser("export", help="write faster graphs", description=EXPORT, formatter_class=RAW)
    export.add_argument("model", help="model directory or Hub id, with PyTorch weights")
    export.add_argument("--output", type=Path, required=True, help="directory to create")
    export.add_argument("--target", nargs="+", default=["onnx"], metavar="TARGET", help="forms (default: onnx)")
    export.add_argument("--exporter", default="torch", help="torch or optimum (default: torch; optimum: its own extra)")
    export.add_argument("--texts", help="table of pairs, or BEIR directory (default: the bundled sample)")
    export.add_argument("--split", default="test", help="of a BEIR directory (default: test)")
    export.add_argument("--pairs", type=int, default=256, help="to calibrate, and others to measure (default: 256)")
    export.add_argument("--max-score-difference", type=float, help="default: by target")
    export.add_argument("--max-mean-difference", dest="mean_score_difference", type=float, help="default: by target")
    export.add_argument("--min-kendall-tau", type=float, help="default: by target")
    export.add_argument("--min-top10-overlap", type=float, help="default: by target")
    export.add_argument("--max-ndcg10-loss", type=float, help="default: by target; judged texts only")
    export.add_argument("--allow-parity-loss", action="store_true", help="publish graphs that exceed these, marked")
    export.set_defaults(run=_export)


def _add_cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument("--workers", type=int, help="of ray: models at work (default: one per GPU, or per 4 CPUs)")
    command.add_argument("--address", help="of ray: HOST:PORT or auto (default: RAY_ADDRESS, else this machine alone)")


# Each command imports what it needs: torch alone takes seconds, which --help should not.


def _train(options: argparse.Namespace) -> int:
    from transformers.utils import logging

    from training.recipe import load_recipe
    from training.train import train
    from training.util.distributed import get_rank

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # one for every checkpoint's shards would bury our own
    output = train(load_recipe(options.recipe, options.overrides))
    if get_rank() == 0:  # which has written it; the others may be here before it is complete
        print(f"model written to {output}")
    return 0


def _mine(options: argparse.Namespace) -> int:
    from transformers.utils import logging

    from training.mine import mine_command

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # as for training
    return mine_command(options)


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
