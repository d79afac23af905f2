"""Rows of a database by a query."""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from datasets import Dataset

from training.data.table_files import table_of_columns
from training.data.urls import without_password
from training.errors import DataError

SQLITE_URL = "sqlite:///"


def read(source: str, query: str | None, connection: Any = None) -> Dataset:
    """The result of `query`, or the only table of an SQLite file. Raises DataError naming the database and remedy."""
    target = source if connection is None else connection
    source = without_password(source)
    with _connected(target) as database, closing(database.cursor()) as cursor:
        try:
            cursor.execute(query or _only_table(cursor, source))
            names = [column[0] for column in cursor.description or ()]
            rows = cursor.fetchall()
        except DataError:
            raise
        except Exception as error:  # every driver has errors of its own
            raise DataError(f"{source}: the query failed ({_words(error, target)}); correct `sql`") from error
    if len(set(names)) < len(names):
        raise DataError(f"{source}: the query gives two columns of one name; rename one with AS")
    return Dataset(table_of_columns({name: [row[i] for row in rows] for i, name in enumerate(names)}, source))


@contextmanager
def _connected(target: Any) -> Iterator[Any]:
    """An open connection: the caller's own stays open, one made here is closed."""
    if hasattr(target, "cursor"):
        yield target
        return
    try:
        database = _connect(str(target))
    except DataError:
        raise
    except Exception as error:
        shown = without_password(str(target))
        raise DataError(f"{shown}: cannot be opened ({_words(error, target)}); check the path or URL") from error
    with closing(database):
        yield database


def _words(error: Exception, target: Any) -> str:
    """What the driver says; some repeat the URL."""
    return str(error).replace(str(target), without_password(str(target)))


def _connect(target: str) -> Any:
    """Read-only for SQLite; other databases through SQLAlchemy, where that is installed."""
    if "://" in target and not target.startswith(SQLITE_URL):
        try:
            create_engine = importlib.import_module("sqlalchemy").create_engine
        except ImportError as error:
            raise DataError(
                f"{target.partition('://')[0]} database: install sqlalchemy and its driver, or pass a `connection`"
            ) from error
        return create_engine(target).raw_connection()
    path = Path(target.removeprefix(SQLITE_URL))
    if not path.is_file():
        raise DataError(f"{path}: no such database file; check the path")
    return sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)


def _only_table(cursor: Any, source: str) -> str:
    cursor.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'")
    names = [row[0] for row in cursor.fetchall()]
    if len(names) != 1:
        raise DataError(f"{source}: holds {len(names)} tables ({', '.join(names)}); give `sql` to choose")
    quoted = names[0].replace('"', '""')
    return f'SELECT * FROM "{quoted}"'  # noqa: S608  # the name comes from the catalogue and is quoted
