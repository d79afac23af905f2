"""Run files whose ids may name any of several equal texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.data.lines import find, read_lines
from training.errors import DataError
from training.mining.sources import Source
from training.retrieval.run_file import Run, read_run


def load_run(path: Path, source: Source) -> Run:
    """A run whose documents are named as the source names them: equal ones by their first id, and once per query.

    Raises DataError for a document that the source does not have, and if it has none of the queries.
    """
    run = read_run(path)
    codes = pc.index_in(pa.array(list(run.document_ids), pa.large_string()), source.documents.given_ids)
    if codes.null_count:
        name = run.document_ids[int(np.argmax(codes.is_null().to_numpy(zero_copy_only=False)))]
        raise DataError(f"{path}, line {_line_of(name, path)}: the corpus has no document {name!r}; correct the id")
    if not set(run.query_ids) & set(source.problem.query_ids or ()):
        said = f"has none of the queries, only such as {run.query_ids[0]!r}" if run.query_ids else "is empty"
        raise DataError(f"{path}: {said}; give a run of these queries")
    return _once(run, source.documents.codes[codes.to_numpy()], source)


def _once(run: Run, texts: NDArray[np.int64], source: Source) -> Run:
    """The run with `texts` for its documents; of several places of a text in one query the best stays."""
    documents = texts[run.documents]
    queries = np.repeat(np.arange(len(run.query_ids)), np.diff(run.offsets))
    _, first = np.unique(queries * len(source.problem.corpus) + documents, return_index=True)
    kept = np.sort(first)
    counts = np.bincount(queries[kept], minlength=len(run.query_ids))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    ids = source.documents.ids.to_pylist()
    return replace(run, document_ids=ids, offsets=offsets, documents=documents[kept], scores=run.scores[kept])


def _line_of(document: str, path: Path) -> int:
    return next(number for number, line in read_lines(find(path)) if line.split()[2] == document)
