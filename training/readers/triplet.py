"""Reader of triplets."""

from __future__ import annotations

import csv
from pathlib import Path

from training.input_example import InputExample
from training.readers.text_files import first, open_text


class TripletReader:
    """Reads an anchor, a positive and a negative text per line."""

    def __init__(
        self,
        dataset_folder: str | Path,
        s1_col_idx: int = 0,
        s2_col_idx: int = 1,
        s3_col_idx: int = 2,
        has_header: bool = False,
        delimiter: str = "\t",
        quoting: int = csv.QUOTE_NONE,
    ) -> None:
        self.dataset_folder = dataset_folder
        self.s1_col_idx = s1_col_idx
        self.s2_col_idx = s2_col_idx
        self.s3_col_idx = s3_col_idx
        self.has_header = has_header
        self.delimiter = delimiter
        self.quoting = quoting

    def get_examples(self, filename: str, max_examples: int = 0) -> list[InputExample]:
        """One example per line after the header, if there is one; `max_examples` 0 reads all."""
        columns = (self.s1_col_idx, self.s2_col_idx, self.s3_col_idx)
        with open_text(Path(self.dataset_folder) / filename) as file:
            rows = csv.reader(file, delimiter=self.delimiter, quoting=self.quoting)  # type: ignore[arg-type]
            if self.has_header:
                next(rows)
            return [InputExample(texts=[row[column] for column in columns]) for row in first(rows, max_examples)]
