"""What a retriever searches in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from app.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    Matrix = NDArray[Any] | Tensor
    Encode = Callable[[Sequence[str]], Matrix]


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """Documents in the forms that retrievers need; a form that none of those asked for needs may be left out.

    `embeddings` has one row per document: an array, a memory-mapped file or a tensor. `encode` turns the texts of
    queries into embeddings of the same width. `ids` name the documents in run files.
    """

    texts: Sequence[str] | None = None
    ids: Sequence[str] | None = None
    embeddings: Matrix | None = None
    encode: Encode | None = None

    def need(self, field: str, name: str) -> Any:
        """The value of a field. Raises ConfigError, naming the retriever that needs it, if it was left out."""
        value = getattr(self, field)
        if value is None:
            raise ConfigError(f"retriever {name!r} needs the {field} of the collection; give {field}=")
        return value
