"""Reader of natural language inference data."""

from __future__ import annotations

from pathlib import Path

from training.input_example import InputExample
from training.readers.text_files import first, lines, open_text


class NLIDataReader:
    """Reads SNLI / MultiNLI as three aligned gzip files: `s1.NAME`, `s2.NAME` and `labels.NAME`."""

    def __init__(self, dataset_folder: str | Path) -> None:
        self.dataset_folder = dataset_folder

    def get_examples(self, filename: str, max_examples: int = 0) -> list[InputExample]:
        """One example per line of the files whose names end in `filename`, such as `train.gz`; 0 reads all.

        ValueError if the files do not have the same number of lines; KeyError for an unknown label.
        """
        first_texts, second_texts, labels = (self._lines(f"{part}.{filename}") for part in ("s1", "s2", "labels"))
        rows = zip(first_texts, second_texts, labels, strict=True)
        return [
            InputExample(guid=f"{filename}-{i}", texts=[a, b], label=self.map_label(label))
            for i, (a, b, label) in enumerate(first(rows, max_examples))
        ]

    def _lines(self, name: str) -> list[str]:
        with open_text(Path(self.dataset_folder) / name) as file:
            return list(lines(file))

    @staticmethod
    def get_labels() -> dict[str, int]:
        """The number of each label."""
        return {"contradiction": 0, "entailment": 1, "neutral": 2}

    def get_num_labels(self) -> int:
        """How many labels there are."""
        return len(self.get_labels())

    def map_label(self, label: str) -> int:
        """The number of one label, upper or lower case."""
        return self.get_labels()[label.strip().lower()]
