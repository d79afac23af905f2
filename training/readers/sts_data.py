"""Readers of sentence pairs with a similarity score."""

from __future__ import annotations

import csv
from pathlib import Path

from training.input_example import InputExample
from training.readers.text_files import first, open_text


class STSDataReader:
    """Reads two sentences and a score per line, and brings scores from `min_score`..`max_score` to 0..1."""

    def __init__(
        self,
        dataset_folder: str | Path,
        s1_col_idx: int = 0,
        s2_col_idx: int = 1,
        score_col_idx: int = 2,
        delimiter: str = "\t",
        quoting: int = csv.QUOTE_NONE,
        normalize_scores: bool = True,
        min_score: float = 0,
        max_score: float = 5,
    ) -> None:
        self.dataset_folder = dataset_folder
        self.s1_col_idx = s1_col_idx
        self.s2_col_idx = s2_col_idx
        self.score_col_idx = score_col_idx
        self.delimiter = delimiter
        self.quoting = quoting
        self.normalize_scores = normalize_scores
        self.min_score = min_score
        self.max_score = max_score

    def get_examples(self, filename: str, max_examples: int = 0) -> list[InputExample]:
        """One example per line of a plain or gzipped file; `max_examples` 0 reads all."""
        with open_text(Path(self.dataset_folder) / filename) as file:
            rows = csv.reader(file, delimiter=self.delimiter, quoting=self.quoting)  # type: ignore[arg-type]
            return [self._example(f"{filename}{i}", row) for i, row in enumerate(first(rows, max_examples))]

    def _example(self, guid: str, row: list[str]) -> InputExample:
        score = float(row[self.score_col_idx])
        if self.normalize_scores:
            score = (score - self.min_score) / (self.max_score - self.min_score)
        return InputExample(guid=guid, texts=[row[self.s1_col_idx], row[self.s2_col_idx]], label=score)


class STSBenchmarkDataReader(STSDataReader):
    """Reads the STS benchmark's own files: score in column 4, sentences in columns 5 and 6."""

    def __init__(
        self,
        dataset_folder: str | Path,
        s1_col_idx: int = 5,
        s2_col_idx: int = 6,
        score_col_idx: int = 4,
        delimiter: str = "\t",
        quoting: int = csv.QUOTE_NONE,
        normalize_scores: bool = True,
        min_score: float = 0,
        max_score: float = 5,
    ) -> None:
        super().__init__(
            dataset_folder,
            s1_col_idx,
            s2_col_idx,
            score_col_idx,
            delimiter,
            quoting,
            normalize_scores,
            min_score,
            max_score,
        )
