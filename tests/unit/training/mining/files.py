"""Small files to mine from, and recipes over them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from tests.models import TEXT
from training.mine_recipe import MineRecipe

WORDS = sorted({word for word in TEXT.split() if len(word) > 3})
Row = dict[str, Any]


def make_pairs(count: int = 20) -> list[Row]:
    """Queries of two words with answers of six, two of which are the query's; all different."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        words = rng.choice(WORDS, 6, replace=False).tolist()
        rows.append({"query": f"what {words[0]} {words[1]} {number}", "answer": f"{' '.join(words)} {number}"})
    return rows


def write_rows(path: Path, rows: list[Row]) -> Path:
    """A table in the format of the suffix; without one a directory of `datasets`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(key for row in rows for key in row)}
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="," if path.suffix == ".csv" else "\t")
            writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
    elif path.suffix == ".parquet":
        pa.parquet.write_table(pa.table(columns), path)
    elif path.suffix == ".arrow":
        table = pa.table(columns)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        datasets.Dataset.from_dict(columns).save_to_disk(str(path))
    return path


def write_beir(directory: Path, pairs: list[Row]) -> Path:
    """BEIR layout: document d3 answers query q3; each query's next document is judged wrong."""
    count = len(pairs)
    write_rows(
        directory / "corpus.jsonl", [{"_id": f"d{i}", "title": "", "text": pairs[i]["answer"]} for i in range(count)]
    )
    write_rows(directory / "queries.jsonl", [{"_id": f"q{i}", "text": pairs[i]["query"]} for i in range(count)])
    lines = [f"q{i}\td{i}\t1\nq{i}\td{(i + 1) % count}\t0\n" for i in range(count)]
    (directory / "qrels").mkdir()
    (directory / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return directory


def recipe_of(root: Path, **keys: Any) -> MineRecipe:
    """A recipe over pairs.jsonl in `root` with BM25."""
    given = {
        "output": root / "out",
        "data_root": root,
        "pairs": {"path": "pairs.jsonl"},
        "retrievers": [{"kind": "bm25"}],
    }
    return MineRecipe.model_validate({**given, **keys})


def read_rows(path: Path) -> list[Row]:
    """The rows of an output."""
    if path.is_dir():
        return list(datasets.load_from_disk(str(path)))
    if path.suffix == ".parquet":
        return list(pa.parquet.read_table(path).to_pylist())
    if path.suffix in (".csv", ".tsv"):
        with path.open(newline="") as file:
            return list(csv.DictReader(file, delimiter="," if path.suffix == ".csv" else "\t"))
    return [json.loads(line) for line in path.read_text().splitlines()]
