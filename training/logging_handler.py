"""Log lines that do not break a progress bar."""

from __future__ import annotations

import logging

from tqdm import tqdm


class LoggingHandler(logging.Handler):
    """Writes records through `tqdm.write`, which moves running progress bars out of the way first."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record; what goes wrong meanwhile is reported as every handler of `logging` reports it."""
        try:
            tqdm.write(self.format(record))
            self.flush()
        except Exception:
            self.handleError(record)
