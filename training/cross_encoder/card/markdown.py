"""Markdown that foreign text cannot break: escapes, tables, code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST_CELL = 1000
MOST_ELEMENTS = 5
_MARKUP = re.compile(r"[\\`*\[\]~|$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")


def one_line(text: object) -> str:
    """The text with every run of white space, line ends included, as one space."""
    return " ".join(_CONTROL.sub(" ", str(text)).split())


def escape(text: object) -> str:
    """The text on one line, shown as it is: neither Markdown nor HTML nor table borders in it take effect."""
    return _escape_line(one_line(text))


def _escape_line(line: str) -> str:
    escaped = _MARKUP.sub(lambda match: f"\\{match.group()}", line)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(value: object) -> str:
    """A value of the data as inline code; its lines are kept, texts and lists are cut."""
    lines = _CONTROL.sub(" ", _shortened(value)).splitlines() or [""]
    return f"<code>{'<br>'.join(_escape_line(line) for line in lines)}</code>"


def _shortened(value: object) -> str:
    if isinstance(value, list | tuple):
        shown = [_cut(item if isinstance(item, str) else str(item)) for item in value[:MOST_ELEMENTS]]
        texts = [repr(text) if isinstance(item, str) else text for item, text in zip(value, shown, strict=False)]
        return f"[{', '.join([*texts, '...'] if len(value) > MOST_ELEMENTS else texts)}]"
    return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}..."


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """A table of cells that are Markdown already; the columns are the keys in order of their first row."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, [":--"] * len(columns), *([row.get(column, "-") for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def bullets(items: Mapping[str, str]) -> str:
    """A list inside of a table cell."""
    return f"<ul>{''.join(f'<li>{escape(key)}: {escape(value)}</li>' for key, value in items.items())}</ul>"


def fence(content: str, language: str = "") -> str:
    """A code block whose fence is longer than any in its content."""
    runs = [len(run) for run in re.findall(r"`+", content)]
    ticks = "`" * max(3, max(runs, default=0) + 1)
    return f"{ticks}{language}\n{content}\n{ticks}"


def folded(summary: str, content: str) -> str:
    """A block that the reader opens by a click."""
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def joined(names: Iterable[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def number(value: Any) -> str:
    """A figure of a table: floats with four digits after the point, everything else as it is."""
    return f"{value:.4f}" if isinstance(value, float) else escape(value)


def plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def duration(seconds: float) -> str:
    """A span of time in the unit that suits it."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def squeeze(text: str) -> str:
    """The text without white space at line ends and without two blank lines in a row; it ends with one line end."""
    trimmed = "\n".join(line.rstrip() for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", trimmed).strip("\n") + "\n"
