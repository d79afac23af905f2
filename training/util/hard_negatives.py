"""Hard negatives for a dataset of pairs: texts that look like an answer to the model and are none."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.model.types import FloatArray
from training.mining.embedding import Encoding, Side, embeddings, pool_of
from training.mining.formats import Names, dataset_of, require_columns
from training.mining.options import MiningOptions
from training.mining.pipeline import Mined, mine
from training.mining.positives import IndexArray, Problem
from training.mining.rescoring import CrossEncoderScorer
from training.mining.similarity import SimilarityRetriever, needs_own_similarity
from training.mining.statistics import measure, report
from training.mining.table import column_names, problem_of

if TYPE_CHECKING:
    from datasets import Dataset

    from training.retrieval import Retriever
    from training.retrieval.hits import Hits
    from training.retrieval.queries import Queries

logger = logging.getLogger(__name__)


def mine_hard_negatives(
    dataset: Dataset,
    model: Any,
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    corpus: Sequence[str] | None = None,
    cross_encoder: Any = None,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: Literal["random", "top"] = "top",
    query_prompt_name: str | None = None,
    query_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    include_positives: bool = False,
    output_format: Literal["triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list"] = "triplet",
    output_scores: bool = False,
    batch_size: int = 32,
    faiss_batch_size: int = 16384,
    use_faiss: bool = False,
    use_multi_process: list[str] | bool = False,
    verbose: bool = True,
    cache_folder: str | Path | None = None,
    as_triplets: bool | None = None,
    margin: float | None = None,
) -> Dataset:
    """A dataset with negatives for each (anchor, positive) pair, found among the positives of all rows and in `corpus`.

    Anchors and positives are the first two columns unless named. Rows with the same anchor are its several positives,
    none of which becomes its negative. Filters, ranks and sampling are those of `training.mining.options`, the formats
    those of `training.mining.formats.table_of`; with `output_scores` the first two get a column `scores`, in the others
    scores stand in place of labels. A `cross_encoder` scores candidates and positives anew if a margin or a score limit
    is given. `include_positives` leaves positives among the candidates, as evaluation sets need them, and makes
    "n-tuple" the format. `faiss_batch_size` only has to be positive: a search is bounded in memory by its tiles.
    `as_triplets` and `margin` are old names for `output_format` and `absolute_margin`.

    ValueError for an empty dataset, unknown columns, rows without text, a window of ranks that holds fewer candidates
    than negatives are asked for, or an unknown format; ImportError if FAISS is wanted and missing.
    """
    options = MiningOptions(
        num_negatives=num_negatives,
        range_min=range_min,
        range_max=range_max,
        max_score=max_score,
        min_score=min_score,
        absolute_margin=_absolute_margin(absolute_margin, margin),
        relative_margin=relative_margin,
        sampling_strategy=sampling_strategy,
        include_positives=include_positives,
    )
    output = _output(output_format, output_scores, as_triplets, options)
    names = Names(*column_names(dataset, anchor_column_name, positive_column_name), output.scores)
    require_columns(output.format, names, num_negatives)
    search = _Search(
        faiss_batch_size, use_faiss, None if cross_encoder is None or not _filters(options) else cross_encoder
    )
    encoding = Encoding(batch_size, use_multi_process, Path(cache_folder) if cache_folder else None, verbose)
    problem = problem_of(dataset, names.anchor, names.positive, corpus)
    options = _announced(problem, len(dataset), options, search, verbose)
    sides = [
        Side("corpus", problem.corpus, corpus_prompt_name, corpus_prompt),
        Side("query", problem.queries, query_prompt_name, query_prompt),
    ]
    mined = _mined(problem, model, sides, encoding, options, search)
    rows = dataset_of(problem, mined, output.format, names)
    if verbose:
        print(report(measure(problem, mined, output.format), mined))
    return rows


@dataclass(frozen=True)
class _Output:
    format: str
    scores: bool


@dataclass(frozen=True)
class _Search:
    """How candidates are found, and what scores them anew; ValueError or ImportError if that cannot be done."""

    batch: int
    faiss: bool
    cross_encoder: Any

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"faiss_batch_size must be a positive integer, got {self.batch}.")
        if self.faiss and find_spec("faiss") is None:
            raise ImportError("use_faiss=True needs FAISS: `pip install faiss-cpu` (or `faiss-gpu`).")


def _absolute_margin(absolute_margin: float | None, margin: float | None) -> float | None:
    if margin is None:
        return absolute_margin
    logger.warning("`margin` is deprecated, use `absolute_margin`: setting `absolute_margin` to `%s`.", margin)
    return margin


def _output(output_format: str, scores: bool, as_triplets: bool | None, options: MiningOptions) -> _Output:
    """The format behind old names, and the one that keeps the order of a ranking with positives."""
    if as_triplets is not None:
        output_format = "triplet" if as_triplets else "n-tuple"
        logger.warning("`as_triplets` is deprecated, use `output_format`: setting it to `%s`.", output_format)
    if output_format == "n-tuple-scores":
        output_format, scores = "n-tuple", True
        logger.warning('`output_format="n-tuple-scores"` is deprecated, use "n-tuple" with `output_scores=True`.')
    if options.include_positives:
        if options != MiningOptions(num_negatives=options.num_negatives, include_positives=True):
            logger.warning(
                "With `include_positives=True`, ranges, limits, margins and sampling may still drop positives."
            )
        if output_format != "n-tuple":
            logger.warning('`include_positives=True` sets `output_format` to "n-tuple", which keeps the ranking.')
            output_format = "n-tuple"
    return _Output(output_format, scores)


def _filters(options: MiningOptions) -> bool:
    """Whether scores decide about more than the order: only then a cross-encoder is asked."""
    limits = (options.absolute_margin, options.relative_margin, options.max_score, options.min_score)
    return any(limit is not None for limit in limits)


def _announced(problem: Problem, rows: int, options: MiningOptions, search: _Search, verbose: bool) -> MiningOptions:
    """The options with their `range_max`; says what follows from the data."""
    resolved = options.resolved(problem.max_positives, rescored=search.cross_encoder is not None)
    if verbose and options.range_max is None:
        print(f"Setting range_max to {resolved.range_max} based on the provided parameters.")
    if verbose and len(problem.queries) != rows:
        print(f"Found {len(problem.queries)} unique queries out of {rows} total queries.")
    if verbose and problem.max_positives > 1:
        print(f"Found an average of {problem.positives.counts.mean():.3f} positives per query.")
    return resolved


def _mined(
    problem: Problem, model: Any, sides: list[Side], encoding: Encoding, options: MiningOptions, search: _Search
) -> Mined:
    if search.cross_encoder is None:
        return mine(problem, _retriever(model, sides, encoding, search), options)
    retriever = _AskedOnce(_retriever(model, sides, encoding, search))
    with pool_of(search.cross_encoder, encoding.devices) as pool:
        scorer = CrossEncoderScorer(
            search.cross_encoder, batch_size=encoding.batch_size, pool=pool, progress=encoding.verbose
        )
        return mine(problem, retriever, options, rescorer=scorer)


class _AskedOnce:
    """A retriever that lets go of its embeddings after the search: a cross-encoder's long work needs none of them."""

    def __init__(self, retriever: Retriever) -> None:
        self._kept = [retriever]

    def top(self, queries: Queries, k: int) -> Hits:
        return self._kept.pop().top(queries, k)

    def pair_scores(self, queries: Queries, query_index: IndexArray, document_index: IndexArray) -> FloatArray:
        raise AssertionError("the cross-encoder scores pairs; this is a bug")


def _retriever(model: Any, sides: list[Side], encoding: Encoding, search: _Search) -> Retriever:
    """Finds documents for the queries in their order, whatever texts it is asked."""
    corpus, queries = embeddings(model, sides, encoding)
    index: Retriever | None = None
    if search.faiss:
        from training.retrieval.faiss_index import FaissRetriever

        index = FaissRetriever(lambda _: queries, corpus)
    if needs_own_similarity(model):
        return SimilarityRetriever(queries, corpus, model.similarity, model.similarity_pairwise, index)
    if index is not None:
        return index
    from training.retrieval.dense import DenseRetriever

    return DenseRetriever(lambda _: queries, corpus, device=getattr(model, "device", None), progress=encoding.verbose)
