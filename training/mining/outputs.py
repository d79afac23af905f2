"""Writes what was mined: rows to train on, samples to evaluate on, runs, and BEIR directories."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from training.commands.table_output import Write, writing
from training.mine_recipe import MineRecipe, Output
from training.mining.filters import own_positives
from training.mining.formats import Names, table_of
from training.mining.pipeline import Mined
from training.mining.positives import IndexArray, Positives, Problem, taken
from training.mining.selection import kept
from training.mining.sources import Source
from training.retrieval.hits import Hits
from training.retrieval.run_file import Run, write_run

TEXTS_PER_BLOCK = 16384
"""Documents whose texts are in memory at once."""
TAG = "rerank-training-mine"
"""Last column of a run."""


def write_outputs(recipe: MineRecipe, source: Source, mined: Mined, candidates: Hits, folder: Path) -> dict[str, int]:
    """Writes every output of the recipe into `folder`; returns how many rows (of a run: lines) each one has."""
    written = {}
    for output in recipe.outputs:
        path = folder / output.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if output.is_rows:
            count = _write_table(path, row_blocks(source.problem, mined, output, names_of(recipe)))
        elif output.format == "evaluation":
            count = _write_table(path, evaluation_blocks(source.problem, listed(source.problem, candidates, output)))
        elif output.format == "run":
            hits = listed(source.problem, candidates, output)
            write_run(path, Run.of_hits(hits, source.problem.query_ids or (), source.documents.ids.to_pylist()), TAG)
            count = int((hits.indices >= 0).sum())
        else:
            count = write_beir(path, source, mined)
        written[output.path.as_posix()] = count
    return written


def names_of(recipe: MineRecipe, scores: bool = False) -> Names:
    """The columns of queries and answers, named as in the pairs."""
    return Names(recipe.pairs.query, recipe.pairs.answer, scores)


def row_blocks(problem: Problem, mined: Mined, output: Output, names: Names) -> Iterator[pa.Table]:
    """Rows to train on, in blocks of queries."""
    step = max(1, TEXTS_PER_BLOCK // (mined.indices.shape[1] + 1))
    for part, of_part in in_parts(problem, mined, step):
        yield table_of(part, of_part, output.format, replace(names, scores=output.scores))


def in_parts(problem: Problem, mined: Mined, step: int) -> Iterator[tuple[Problem, Mined]]:
    """The problem and what was mined for it, `step` queries at a time."""
    offsets = problem.positives.offsets
    for start in range(0, len(problem.queries), step):
        stop = min(start + step, len(problem.queries))
        pairs = slice(offsets[start], offsets[stop])
        positives = Positives(offsets[start : stop + 1] - offsets[start], problem.positives.documents[pairs])
        yield (
            replace(problem, queries=problem.queries.slice(start, stop - start), positives=positives),
            replace(
                mined,
                indices=mined.indices[start:stop],
                scores=mined.scores[start:stop],
                positive_scores=mined.positive_scores[pairs],
            ),
        )


def listed(problem: Problem, candidates: Hits, output: Output) -> Hits:
    """The first `documents` candidates of each query, with or without its right answers."""
    keep = candidates.indices >= 0
    if not output.include_positives:
        keep &= ~own_positives(candidates.indices, problem.positives, len(problem.corpus))
    return kept(candidates, keep, 0, output.documents)


def evaluation_blocks(problem: Problem, hits: Hits) -> Iterator[pa.Table]:
    """Samples {query, positive, documents} for `CrossEncoderRerankingEvaluator`."""
    step = max(1, TEXTS_PER_BLOCK // hits.indices.shape[1])
    offsets, documents = problem.positives.offsets, problem.positives.documents
    for start in range(0, len(problem.queries), step):
        stop = min(start + step, len(problem.queries))
        found = hits.indices[start:stop]
        columns = {
            "query": problem.queries.slice(start, stop - start).cast(pa.string()),
            "positive": _lists(problem, documents[offsets[start] : offsets[stop]], np.diff(offsets[start : stop + 1])),
            "documents": _lists(problem, found[found >= 0], (found >= 0).sum(axis=1)),
        }
        yield pa.table(columns)


def write_beir(directory: Path, source: Source, mined: Mined) -> int:
    """corpus.jsonl and queries.jsonl with the texts that occur, and judgments: right answers 1, negatives 0."""
    problem, names = source.problem, np.array(source.problem.query_ids, dtype=object)
    rows, columns = np.nonzero(mined.indices >= 0)
    queries = np.concatenate([problem.positives.queries, rows])
    documents = np.concatenate([problem.positives.documents, mined.indices[rows, columns]])
    grades = np.repeat([1, 0], [len(problem.positives.documents), len(rows)])
    order = np.argsort(queries, kind="stable")
    used = np.unique(documents)
    ids = source.documents.ids.take(pa.array(used)).to_pylist()
    place = np.searchsorted(used, documents)
    (directory / "qrels").mkdir(parents=True)
    _write_lines(directory / "corpus.jsonl", ids, _texts(problem.corpus, used), {"title": ""})
    _write_lines(directory / "queries.jsonl", names, _texts(problem.queries, np.arange(len(names))), {})
    with (directory / "qrels" / "train.tsv").open("w", encoding="utf-8") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        file.writelines(f"{names[queries[i]]}\t{ids[place[i]]}\t{grades[i]}\n" for i in order)
    return len(order)


def _texts(texts: Any, rows: IndexArray) -> Iterator[str]:
    for start in range(0, len(rows), TEXTS_PER_BLOCK):
        yield from taken(texts, rows[start : start + TEXTS_PER_BLOCK]).to_pylist()


def _write_lines(path: Path, ids: Iterable[str], texts: Iterable[str], more: dict[str, str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for name, text in zip(ids, texts, strict=True):
            file.write(json.dumps({"_id": name, **more, "text": text}, ensure_ascii=False) + "\n")


def _lists(problem: Problem, documents: IndexArray, lengths: IndexArray) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, taken(problem.corpus, documents).cast(pa.string()))


def _write_table(path: Path, blocks: Iterable[pa.Table]) -> int:
    writer: Callable[[Path], Any] = writing if path.suffix else saving
    rows = 0
    with writer(path) as write:
        for block in blocks:
            write(block)
            rows += block.num_rows
    return rows


@contextmanager
def saving(path: Path) -> Iterator[Write]:
    """A function that adds a block to a directory as `datasets` saves it."""
    from datasets import Dataset
    from datasets.arrow_writer import ArrowWriter
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar

    draft = path.with_name(f".{path.name}.arrow")
    writer: Any = ArrowWriter(path=str(draft))
    yield writer.write_table
    writer.finalize()
    disable_progress_bar()
    Dataset.from_file(str(draft)).save_to_disk(str(path))
    enable_progress_bar()
    draft.unlink()
