"""Reader of aligned files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from training.input_example import InputExample
from training.readers.text_files import first, lines, open_text


class PairedFilesReader:
    """Reads files whose n-th lines belong together, plain or gzipped."""

    def __init__(self, filepaths: Sequence[str | Path]) -> None:
        self.filepaths = filepaths

    def get_examples(self, max_examples: int = 0) -> list[InputExample]:
        """One example with label 1 per line, up to the end of the shortest file; `max_examples` 0 reads all."""
        with ExitStack() as stack:
            files = [lines(stack.enter_context(open_text(path))) for path in self.filepaths]
            rows = list(first(zip(*files, strict=False), max_examples))
        return [InputExample(guid=str(i), texts=list(row), label=1) for i, row in enumerate(rows)]
