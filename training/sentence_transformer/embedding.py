"""From texts to embeddings: tokenised once, sorted by length, in chunks of tokens, through all modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from training.cross_encoder.pool import Pool, results_from_pool
from training.sentence_transformer.modules.module import Features, Module
from training.sentence_transformer.modules.pooling import Pooling
from training.sentence_transformer.modules.transformer import Transformer
from training.sentence_transformer.ragged import padded_features, ragged_tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.sentence_transformer.model import SentenceTransformer

BLOCK_TEXTS = 1 << 13
"""Texts whose token ids are held at a time."""


class Shape(NamedTuple):
    """How embeddings are made of rows, picklable for other processes."""

    batch_size: int = 32
    normalized: bool = False
    dimension: int | None = None
    prompt_length: int = 0


DEFAULT_SHAPE = Shape()


@dataclass(frozen=True, slots=True)
class Request:
    """One call of `encode`."""

    texts: Sequence[str]
    prompt: str | None = None
    shape: Shape = DEFAULT_SHAPE
    progress: bool = False
    device: torch.device | None = None
    """Where the embeddings are put; None for that of the model."""


@torch.inference_mode()
def embed(model: SentenceTransformer, request: Request) -> Tensor:
    """Embeddings (texts, dimension) in the precision of the model, in input order; each distinct text embedded once.

    An empty request gives an empty tensor of one axis.
    """
    parts: list[Tensor] = []
    with tqdm(total=len(set(request.texts)), desc="Texts", disable=not request.progress) as bar:
        for _, rows, prompt_length in encoded_blocks(model, request):
            shape = request.shape._replace(prompt_length=prompt_length)
            parts.append(embed_rows(model, rows, shape, request.device or model.device, bar))
    return expanded(parts, request, model.device)


def encoded_blocks(model: SentenceTransformer, request: Request) -> Iterator[tuple[Sequence[str], Any, int]]:
    """The distinct texts in blocks, with their rows and the length of the prompt in tokens."""
    if model.training:  # asked first: several threads may encode at once, and nothing is to be written then
        model.eval()
    distinct = list(dict.fromkeys(request.texts))
    for start in range(0, len(distinct), BLOCK_TEXTS):
        texts = distinct[start : start + BLOCK_TEXTS]
        first: Any = model[0]
        yield texts, *first.encode_texts(texts, request.prompt)


def expanded(parts: Sequence[Tensor], request: Request, device: torch.device) -> Tensor:
    """Embeddings of all texts from those of the distinct ones."""
    if not parts:
        return torch.tensor([], device=request.device or device)
    found = parts[0] if len(parts) == 1 else torch.cat(list(parts))
    if len(found) == len(request.texts):
        return found
    places = {text: i for i, text in enumerate(dict.fromkeys(request.texts))}
    return found[torch.tensor([places[text] for text in request.texts], device=found.device)]


def embed_rows(model: SentenceTransformer, rows: Any, shape: Shape, device: torch.device, bar: Any = None) -> Tensor:
    """Embeddings (rows, dimension) of encoded rows, on `device`."""
    out: Tensor | None = None
    for indices, features in passes(model, rows, shape):
        value: Tensor = features["sentence_embedding"][:, : shape.dimension]
        if shape.normalized:
            value = torch.nn.functional.normalize(value, dim=1)
        if out is None:
            out = torch.empty((len(rows), value.shape[1]), dtype=value.dtype, device=device)
        out[torch.as_tensor(indices, device=device)] = value.to(device)
        if bar is not None:
            bar.update(len(indices))
    if out is None:
        raise AssertionError("a bug: rows without a chunk")
    return out


def passes(
    model: SentenceTransformer, rows: Any, shape: Shape, every_token: bool = False
) -> Iterator[tuple[Sequence[int], Features]]:
    """Indices of some rows with the features that all modules made of them, until all rows had their turn."""
    first, *rest = list(model)
    options: dict[str, Any] = {"batch_size": shape.batch_size}
    if isinstance(first, Transformer):
        pooling = rest[0] if rest else None
        options["first_token_only"] = not every_token and isinstance(pooling, Pooling) and pooling.first_token_only
    for indices, features in first.stream(rows, **options):  # type: ignore[operator]
        features["prompt_length"] = shape.prompt_length
        for module in rest:
            # A user's own module knows padded features alone.
            features = module(features if isinstance(module, Module) else padded_features(features))
        yield indices, features


@torch.inference_mode()
def token_outputs(model: SentenceTransformer, request: Request, output_value: str | None) -> list[Any]:
    """Per text its "token_embeddings", shape (tokens, hidden), or a dictionary of all that was made of it."""
    found: dict[str, Any] = {}
    for texts, rows, prompt_length in encoded_blocks(model, request):
        shape = request.shape._replace(prompt_length=prompt_length)
        for indices, features in passes(model, rows, shape, every_token=True):
            if "token_embeddings" not in features:
                raise ValueError(f"output_value={output_value!r}: this model has no embeddings of single tokens")
            ragged = ragged_tokens(features)
            parts = torch.split(ragged.tokens, ragged.lengths.tolist())
            whole = features.get("sentence_embedding")
            for place, (index, tokens) in enumerate(zip(indices, parts, strict=True)):
                found[texts[index]] = tokens
                if output_value is None:
                    found[texts[index]] = _described(rows[index].ids, tokens)
                    if whole is not None:
                        found[texts[index]]["sentence_embedding"] = whole[place, : shape.dimension]
    return [found[text] for text in request.texts]


def _described(ids: NDArray[Any], tokens: Tensor) -> dict[str, Tensor]:
    numbers = torch.from_numpy(ids).long().to(tokens.device)
    return {"input_ids": numbers, "attention_mask": torch.ones_like(numbers), "token_embeddings": tokens}


def embed_in_pool(model: SentenceTransformer, request: Request, pool: Pool, chunk_size: int | None) -> Tensor:
    """`embed` by the processes of a pool, on the CPU; float32 where the model is in bfloat16."""
    parts = []
    for _, rows, prompt_length in encoded_blocks(model, request):
        shape = request.shape._replace(prompt_length=prompt_length)
        results = results_from_pool(pool, rows, shape, chunk_size, request.progress)
        out = torch.empty((len(rows), results[0][1].shape[1]), dtype=torch.from_numpy(results[0][1]).dtype)
        for indices, values in results:
            out[indices] = torch.from_numpy(values)
        parts.append(out)
    return expanded(parts, request, torch.device("cpu"))


@torch.inference_mode()
def pool_work(model: SentenceTransformer, rows: Any, shape: Shape) -> Tensor:
    """What a process of a pool does with a chunk of rows."""
    return embed_rows(model, rows, shape, torch.device("cpu"))
