"""The modules of a cross-encoder by their places: `model[0]` is its transformer, the last one gives the scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, overload

from torch import nn

if TYPE_CHECKING:
    from training.cross_encoder.modules.transformer import Transformer


class Chain:
    """`len(model)`, `model[i]` and `for module in model`, as if the model were an `nn.Sequential` of its modules.

    The first module is made anew for each look at it, from the model's own parts: what is set there is set here.
    """

    if TYPE_CHECKING:

        @property
        def tail(self) -> dict[str, nn.Module]: ...

    def __len__(self) -> int:
        return 1 + len(self.tail)

    def __iter__(self) -> Iterator[nn.Module]:
        yield self._first_module()
        yield from self.tail.values()

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[nn.Module]: ...

    def __getitem__(self, index: int | slice) -> Any:
        return [*self][index]

    def _first_module(self) -> Transformer:
        from training.cross_encoder.modules.transformer import SharedTransformer

        return SharedTransformer(self)

    def _last_module(self) -> nn.Module:
        last: nn.Module = self[-1]
        return last
