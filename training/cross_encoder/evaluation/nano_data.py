"""The four tables of a NanoBEIR set, from the Hub or from a local directory.

Layout: subsets `corpus` (_id, text), `queries` (_id, text), `qrels` (query-id, corpus-id) and `bm25` (query-id,
corpus-ids, best first), each with a split per set, `NanoMSMARCO` for example. In a directory a table is
`SUBSET/SPLIT.jsonl` or `.parquet`, also in parts (`SUBSET/SPLIT-00000-of-00001.parquet`, or all files in
`SUBSET/SPLIT/`); a directory that `datasets.load_dataset` understands by its README works too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from training.cross_encoder.evaluation.samples import Sample

Row = dict[str, Any]
ENDINGS = (".jsonl", ".json", ".parquet")
COLUMNS = {
    "corpus": ("_id", "text"),
    "queries": ("_id", "text"),
    "qrels": ("query-id", "corpus-id"),
    "bm25": ("query-id", "corpus-ids"),
}


def read_set(source: str | os.PathLike[str], split: str, rerank_k: int) -> list[Sample]:
    """Samples for the reranking evaluator: the best `rerank_k` BM25 documents of each query.

    Raises ValueError naming source, subset and split of a table that is missing or lacks a column or an id.
    """
    tables = {subset: read_table(source, subset, split) for subset in COLUMNS}
    corpus, queries = ({row["_id"]: row["text"] for row in tables[subset]} for subset in ("corpus", "queries"))
    relevant = _relevant(tables["qrels"])
    samples: list[Sample] = []
    for row in tables["bm25"]:
        query_id = row["query-id"]
        try:
            samples.append(
                {
                    "query": queries[query_id],
                    "positive": [corpus[key] for key in relevant[query_id]],
                    "documents": [corpus[key] for key in row["corpus-ids"][:rerank_k]],
                }
            )
        except KeyError as error:
            raise ValueError(
                f"{os.fspath(source)!r}, split {split!r}: query {query_id!r} needs the id {error}, which has no text "
                "or no judgments; correct the tables"
            ) from None
    return samples


def read_table(source: str | os.PathLike[str], subset: str, split: str) -> Sequence[Row]:
    """Rows of one table. Raises ValueError."""
    files = _files(Path(source), subset, split)
    try:
        rows = [row for file in files for row in _read(file)] if files else _load(source, subset, split)
    except Exception as error:
        raise ValueError(f"could not load subset {subset!r}, split {split!r} of {os.fspath(source)!r}") from error
    if missing := [name for name in COLUMNS[subset] if rows and name not in rows[0]]:
        raise ValueError(f"subset {subset!r}, split {split!r} of {os.fspath(source)!r} lacks the columns {missing}")
    return rows


def _relevant(qrels: Iterable[Row]) -> dict[str, list[str]]:
    """Document ids by query id, each once and in file order, so that every process has the same order."""
    found: dict[str, dict[str, None]] = {}
    for row in qrels:
        ids = row["corpus-id"]
        found.setdefault(row["query-id"], {}).update(dict.fromkeys(ids if isinstance(ids, list) else [ids]))
    return {query_id: list(ids) for query_id, ids in found.items()}


def _files(directory: Path, subset: str, split: str) -> list[Path]:
    if not directory.is_dir():
        return []
    inside = sorted((directory / subset / split).glob("*"))
    beside = sorted((directory / subset).glob(f"{split}[.-]*"))
    return [path for path in inside or beside if path.suffix in ENDINGS]


def _read(file: Path) -> list[Row]:
    if file.suffix == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(file).to_pylist()  # type: ignore[no-any-return]
    text = file.read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        return json.loads(text)  # type: ignore[no-any-return]
    # Not splitlines(): texts may hold line separators that JSON need not escape.
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _load(source: str | os.PathLike[str], subset: str, split: str) -> list[Row]:
    from datasets import load_dataset

    return load_dataset(os.fspath(source), subset, split=split).to_list()  # type: ignore[no-any-return]
