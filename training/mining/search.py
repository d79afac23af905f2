"""The retrievers and scorers of a recipe, over texts on disk and vectors from the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.errors import ArtifactError, ConfigError
from app.model.backends import BackendOptions
from app.model.cross_encoder import CrossEncoder
from app.model.manifest import digest
from app.model.types import FloatArray
from training.engines import Engine
from training.mine_recipe import Bm25, Encoder, Faiss, MineRecipe, Run, Scorer
from training.mining.cache import Cache
from training.mining.embedding import pool_of
from training.mining.engine_work import PairPrediction, TextEncoding
from training.mining.fingerprint import model_digest
from training.mining.known_runs import load_run
from training.mining.pair_store import PairStore
from training.mining.rescoring import CrossEncoderScorer
from training.mining.sources import Source
from training.mining.text_store import Digests, digests_of
from training.parent import resolve_parent
from training.retrieval import Retriever
from training.retrieval import build_retriever as retriever_of
from training.retrieval.collection import Collection
from training.retrieval.hits import Hits
from training.retrieval.queries import Queries
from training.retrieval.run_file import RunRetriever

Section = TypeVar("Section", Encoder, Scorer)
Used = dict[str, Any]
"""What the report says about a model or retriever."""


class Recorded:
    """A retriever that keeps what it found last, and looks for at least `depth` documents."""

    def __init__(self, retriever: Retriever, depth: int) -> None:
        self._retriever = retriever
        self._depth = depth
        self.found: Hits | None = None

    def top(self, queries: Queries, k: int) -> Hits:
        """The k best documents of each query."""
        self.found = self._retriever.top(queries, max(k, self._depth))
        return Hits(self.found.indices[:, :k], self.found.scores[:, :k])

    def pair_scores(
        self, queries: Queries, query_index: NDArray[np.int64], document_index: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The retriever's score of each pair."""
        return self._retriever.pair_scores(queries, query_index, document_index)


@dataclass(frozen=True, eq=False)
class Stepwise:
    """A retriever that shows how far its search is."""

    retriever: Retriever
    label: str
    progress: bool
    step: int = 256

    def top(self, queries: Queries, k: int) -> Hits:
        """The k best documents of each query."""
        parts = []
        with tqdm(total=len(queries), desc=self.label, unit="query", disable=not self.progress) as bar:
            for start in range(0, len(queries), self.step):
                texts = queries.texts[start : start + self.step]
                parts.append(self.retriever.top(Queries(texts), k))
                bar.update(len(texts))
        return Hits(np.vstack([hits.indices for hits in parts]), np.vstack([hits.scores for hits in parts]))

    def pair_scores(
        self, queries: Queries, query_index: NDArray[np.int64], document_index: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The retriever's score of each pair."""
        return self.retriever.pair_scores(queries, query_index, document_index)


class KnownVectors:
    """Looks up the vectors of texts that were encoded before: one row of `vectors` per digest."""

    def __init__(self, digests: Digests, vectors: FloatArray) -> None:
        self._digests = digests
        self._vectors = vectors
        keys = _sortable(digests)
        self._order = np.argsort(keys)
        self._keys = keys[self._order]

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        """Shape (texts, dimension)."""
        asked = digests_of(texts)
        if np.array_equal(asked, self._digests):
            return self._vectors
        return np.asarray(self._vectors[self._order[np.searchsorted(self._keys, _sortable(asked))]])


def build_retriever(
    recipe: MineRecipe, source: Source, cache: Cache, progress: bool, engine: Engine | None = None
) -> tuple[Retriever, list[Used]]:
    """The recipe's retriever, fused of several where it has more than one, and what each of them is.

    With an `engine`, texts are encoded there.
    """
    from training.retrieval.fusion import FusedRetriever

    found = [_retriever(section, recipe, source, cache, progress, engine) for section in recipe.retrievers]
    retrievers = [retriever for retriever, _ in found]
    fused = retrievers[0] if len(retrievers) == 1 else FusedRetriever(retrievers, k=recipe.fusion_k)
    return fused, [used for _, used in found]


def _retriever(
    section: Any, recipe: MineRecipe, source: Source, cache: Cache, progress: bool, engine: Engine | None
) -> tuple[Retriever, Used]:
    used: Used = {"kind": section.kind}
    if isinstance(section, Bm25):
        with tqdm(total=len(source.problem.corpus), desc="index for bm25", unit="text", disable=not progress) as bar:
            index = retriever_of("bm25", Collection(texts=source.problem.corpus.to_pylist()))
            bar.update(bar.total)
        return Stepwise(index, "search bm25", progress), used
    if isinstance(section, Run):
        run = load_run(recipe.data_root / section.path, source)
        return RunRetriever(run, run.document_ids), used | {"path": section.path.as_posix()}
    encode, corpus, model = _encoded(section, source, cache, progress, engine)
    collection = Collection(embeddings=corpus, encode=encode)
    if isinstance(section, Faiss):
        path = Path(str(getattr(corpus, "filename", ""))).with_name(f"{section.index}.faiss")
        index = retriever_of("faiss", collection, kind=section.index, path=path)
        return Stepwise(index, "search faiss", progress, step=4096), used | {"index": section.index, **model}
    return retriever_of("dense", collection, device=section.device, progress=progress), used | model


def _encoded(
    section: Encoder, source: Source, cache: Cache, progress: bool, engine: Engine | None
) -> tuple[KnownVectors, FloatArray, Used]:
    """Vectors of queries and documents."""
    model = load_encoder(section)
    identity = model_digest(model)
    dimension = int(model.get_sentence_embedding_dimension())
    problem = source.problem

    def vectors(side: Literal["query", "corpus"], texts: Any, digests: Digests, pool: Any) -> FloatArray:
        prompt, name = getattr(section, f"{side}_prompt"), getattr(section, f"{side}_prompt_name")
        method = {"query": "encode_query", "corpus": "encode_document"}[side]
        options: dict[str, Any] = {"prompt_name": name, "prompt": prompt, "batch_size": section.batch_size}
        options |= {"normalize_embeddings": True, "show_progress_bar": False}

        def encode(rows: Sequence[str]) -> Any:
            return getattr(model, method)(rows, **options, **({"pool": pool} if pool else {}))

        def on_engine(_: Any, groups: Iterable[Sequence[str]]) -> Iterable[Any]:
            assert engine is not None
            return TextEncoding(partial(load_encoder, everywhere(section)), method, options).on(engine, groups)

        key = json.dumps([identity, method, prompt, name])
        label = f"encode {'queries' if side == 'query' else 'documents'}" if progress else None
        together = max(1, len(section.workers))
        apply = map if engine is None else on_engine
        return cache.vectors(
            texts, digests, encode, key, dimension, progress=label, shards_at_once=together, apply=apply
        )

    with pool_of(model, list(section.workers)) as pool:
        try:
            documents = vectors("corpus", problem.corpus, np.asarray(source.documents.digests), pool)
            queries = vectors("query", problem.queries, source.query_digests, pool)
        except ValueError as error:  # such as an unknown prompt
            raise ConfigError(f"{section.model}: cannot encode: {error}") from error
    used = {"model": section.model, "sha256": identity, "dimension": dimension}
    return KnownVectors(source.query_digests, queries), documents, used


def load_encoder(section: Encoder) -> Any:
    """The model of a retriever. Raises ConfigError."""
    from training.sentence_transformer import SentenceTransformer

    try:
        model = SentenceTransformer(_place(section.model), device=section.device, truncate_dim=section.truncate_dim)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{section.model}: cannot be loaded as a model of embeddings: {error}") from error
    if section.max_length is not None:
        model.max_seq_length = section.max_length
    return model


def _place(model: str) -> str:
    """The directory of a model that is one, or lies in an installed package; else its Hub id."""
    try:
        return str(resolve_parent(model))
    except ArtifactError:
        return model


def everywhere(section: Section) -> Section:
    """With the whole path of a model that is a directory: other processes have other working directories."""
    model = Path(section.model)
    return section.model_copy(update={"model": str(model.resolve())}) if model.is_dir() else section


@contextmanager
def build_scorer(
    section: Scorer | None, name: str, cache: Cache, progress: bool, engine: Engine | None = None
) -> Iterator[tuple[CrossEncoderScorer, Used] | tuple[None, None]]:
    """A scorer of pairs, on `engine` if there is one, and what the report says about it; neither for no section."""
    if section is None:
        yield None, None
        return
    model: Any = load_scorer(section)
    identity = hashlib.sha256(f"{model_digest(model)} {section.backend} {section.max_length}".encode()).hexdigest()
    store = PairStore(cache.folder / "scores" / f"{identity[:32]}.bin", identity)
    work = PairPrediction(partial(load_scorer, everywhere(section)), section.batch_size)
    many = None if engine is None else partial(work.on, engine)
    with pool_of(model, list(section.workers)) as pool:
        scorer = CrossEncoderScorer(
            model,
            batch_size=section.batch_size,
            pool=pool,
            store=store,
            progress=progress,
            name=name,
            predict_many=many,
        )
        yield scorer, {"model": section.model, "sha256": identity}


def load_scorer(section: Scorer, threads: int = 0) -> Any:
    """The model of a scorer; `threads` (0: all CPUs) are for served ones. Raises ArtifactError or ConfigError."""
    return load_cross_encoder(section) if section.backend == "torch" else ServedCrossEncoder.load(section, threads)


def load_cross_encoder(section: Scorer) -> Any:
    """The model of a scorer. Raises ConfigError for one that cannot be loaded or gives several scores."""
    from training.cross_encoder import CrossEncoder

    options: dict[str, Any] = {} if section.max_length is None else {"max_length": section.max_length}
    try:
        model = CrossEncoder(_place(section.model), device=section.device, **options)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"{section.model}: cannot be loaded as a cross-encoder: {error}") from error
    _require_one_score(section.model, model.num_labels)
    return model


class ServedCrossEncoder:
    """An exported model, scored as the service does."""

    def __init__(self, model: CrossEncoder) -> None:
        self._model = model

    @classmethod
    def load(cls, section: Scorer, threads: int = 0) -> ServedCrossEncoder:
        """The model of a scorer. Raises ArtifactError, or ConfigError if it gives several scores."""
        options = BackendOptions(threads=threads).for_many_rows()
        model = CrossEncoder.load(section.model, section.backend, options, max_length=section.max_length)
        _require_one_score(section.model, model.num_labels)
        return cls(model)

    def predict(self, pairs: list[tuple[str, str]], **_: Any) -> FloatArray:
        """The score of each pair; batches are the model's own affair."""
        return self._model.predict(pairs)

    def fingerprint(self) -> str:
        """SHA-256 over the graph, the configuration and the tokenizer."""
        folder = self._model.artifact.directory
        names = ("config.json", "tokenizer.json", self._model.backend.source)
        return hashlib.sha256("".join(str(digest(folder / name)["sha256"]) for name in names).encode()).hexdigest()


def _require_one_score(model: str, labels: int) -> None:
    if labels != 1:
        raise ConfigError(f"{model}: gives {labels} scores per pair; mining needs a model with one")


def _sortable(digests: Digests) -> NDArray[np.bytes_]:
    return np.ascontiguousarray(digests).view("S16").ravel()
