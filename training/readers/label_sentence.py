"""Reader of a label and a sentence per line."""

from __future__ import annotations

from pathlib import Path

from training.input_example import InputExample
from training.readers.text_files import first, lines, open_text


class LabelSentenceReader:
    """Reads lines of a label and a sentence; labels become numbers in the order in which they appear.

    `label_map` (label -> number) is shared by all files that one reader reads.
    """

    def __init__(
        self, folder: str | Path, label_col_idx: int = 0, sentence_col_idx: int = 1, separator: str = "\t"
    ) -> None:
        self.folder = folder
        self.label_map: dict[str, int] = {}
        self.label_col_idx = label_col_idx
        self.sentence_col_idx = sentence_col_idx
        self.separator = separator

    def get_examples(self, filename: str, max_examples: int = 0) -> list[InputExample]:
        """One example per line; `max_examples` 0 reads all."""
        with open_text(Path(self.folder) / filename) as file:
            rows = [line.strip().split(self.separator) for line in first(lines(file), max_examples)]
        return [self._example(f"{filename}-{i}", row) for i, row in enumerate(rows)]

    def _example(self, guid: str, row: list[str]) -> InputExample:
        label = self.label_map.setdefault(row[self.label_col_idx], len(self.label_map))
        return InputExample(guid=guid, texts=[row[self.sentence_col_idx]], label=label)
