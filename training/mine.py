"""`rerank-training mine`: hard negatives and evaluation sets from pairs and a corpus."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

from app.errors import ConfigError
from training.engines import Engine, EngineOptions, open_engine
from training.errors import DataError, Interrupted
from training.mine_recipe import MineRecipe, load_mine_recipe
from training.mining.cache import Cache, readable
from training.mining.filters import Skipped
from training.mining.formats import require_columns
from training.mining.options import MiningOptions
from training.mining.outputs import names_of, write_outputs
from training.mining.pipeline import Mined, mine
from training.mining.report import Facts, terminal_report, write_report
from training.mining.search import Recorded, build_retriever, build_scorer
from training.mining.sources import Source, load_source
from training.publish import publishing, require_free


def mine_command(options: argparse.Namespace) -> int:
    """Runs the command line's `mine`."""
    flags = {"engine": options.engine, "engine_workers": options.workers, "engine_address": options.address}
    overrides = [f"{key}={value}" for key, value in flags.items() if value is not None]
    recipe = load_mine_recipe(options.recipe, [*options.overrides, *overrides])
    try:
        print(mine_recipe(recipe))
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped; run the same command to go on: what was computed is kept in {recipe.cache_folder}"
        ) from None
    return 0


def mine_recipe(recipe: MineRecipe, progress: bool = True) -> str:
    """Mines as the recipe says; writes its `output` directory, whole or not at all, and returns the report's table.

    Raises ConfigError or DataError with one clear line.
    """
    require_free(recipe.output)
    options = mining_options(recipe)
    limit = None if recipe.cache_limit_gb is None else recipe.cache_limit_gb * 1e9
    cache = Cache(recipe.cache_folder, limit)
    seconds: dict[str, float] = {}
    with cache.opened():
        with _timed(seconds, "read"):
            source = load_source(recipe, cache.folder, progress)
        require_enough(recipe, source)
        with engine_of(recipe) as engine:
            with _timed(seconds, "index"):
                retriever, used = build_retriever(recipe, source, cache, progress, engine)
            recorded = Recorded(retriever, depth_of(recipe, source))
            with _timed(seconds, "mine"):
                mined, models = _mined(recipe, options, source, recorded, cache, progress, engine)
        require_some(source, mined)
        assert recorded.found is not None
        with publishing(recipe.output) as draft:
            with _timed(seconds, "write"):
                written = write_outputs(recipe, source, mined, recorded.found, draft)
            facts = Facts(recipe, {"retrievers": used, **models}, seconds, cache.size_bytes(), written)
            write_report(source, mined, facts, draft)
    lines = [terminal_report(source, mined, recipe), "", f"written to {recipe.output}, where report.md shows examples:"]
    lines += [f"  {name}: {count:,} rows" for name, count in written.items()]
    lines.append(f"cache: {readable(facts.cache_bytes)} in {cache.folder}; delete it when you need it no more")
    return "\n".join(lines)


def engine_of(recipe: MineRecipe) -> AbstractContextManager[Engine | None]:
    """The engine that the recipe names, None for this process. Raises ConfigError."""
    if recipe.engine == "local":
        return nullcontext()
    return open_engine(recipe.engine, EngineOptions(recipe.engine_workers, recipe.engine_address))


def mining_options(recipe: MineRecipe) -> MiningOptions:
    """The recipe's filters and sampling. Raises ConfigError for values that leave nothing to mine."""
    sampling, filters, teacher = recipe.sampling, recipe.filters, recipe.teacher
    try:
        options = MiningOptions(
            num_negatives=sampling.num_negatives,
            range_min=sampling.range_min,
            range_max=sampling.range_max,
            sampling_strategy=sampling.strategy,
            temperature=sampling.temperature,
            random_share=sampling.random_share,
            max_score=filters.max_score,
            min_score=filters.min_score,
            absolute_margin=filters.absolute_margin,
            relative_margin=filters.relative_margin,
            percentile=filters.percentile,
            teacher_margin=None if teacher is None else teacher.margin,
            teacher_max_score=None if teacher is None else teacher.max_score,
            seed=recipe.seed,
        )
        options.resolved(1, rescored=recipe.rescoring is not None)
        for output in recipe.outputs:
            if output.is_rows:
                require_columns(output.format, names_of(recipe), sampling.num_negatives)
    except ValueError as error:
        raise ConfigError(f"the recipe cannot be mined: {error}") from error
    return options


def require_enough(recipe: MineRecipe, source: Source) -> None:
    """Raises DataError for a corpus that cannot hold the negatives of any query."""
    documents, wanted = len(source.problem.corpus), recipe.sampling.num_negatives
    if documents <= wanted:
        raise DataError(
            f"{recipe.pairs.path}: {documents} different documents cannot give {wanted} negatives beside the right "
            "answer; add a [corpus], or lower sampling.num_negatives"
        )


def require_some(source: Source, mined: Mined) -> None:
    """Raises DataError, naming the filter that dropped most, if no query has a negative."""
    if (mined.indices >= 0).any():
        return
    most = max(mined.skipped, key=lambda skip: skip.dropped, default=Skipped("", 0, 0, 0))
    reason = (
        f"{most.name} of {most.value} dropped {most.dropped:,} of them; change it"
        if most.dropped
        else ("the retrievers found nothing but right answers; lower sampling.range_min, or add a [corpus]")
    )
    raise DataError(
        f"no negative among the {mined.candidates:,} candidates of {len(mined.indices):,} queries: {reason}"
    )


def depth_of(recipe: MineRecipe, source: Source) -> int:
    """Candidates of each query that the outputs need: their own, and the right answers that some leave out."""
    wanted = [output.documents for output in recipe.outputs if output.format in ("evaluation", "run")]
    return max(wanted) + source.problem.max_positives if wanted else 1


def _mined(
    recipe: MineRecipe,
    options: MiningOptions,
    source: Source,
    retriever: Recorded,
    cache: Cache,
    progress: bool,
    engine: Engine | None,
) -> tuple[Mined, dict[str, object]]:
    """What was mined, and the models that scored."""
    with ExitStack() as stack:
        rescorer, rescoring = stack.enter_context(build_scorer(recipe.rescoring, "rescore", cache, progress, engine))
        teacher, teaching = stack.enter_context(
            build_scorer(recipe.teacher, "ask the teacher", cache, progress, engine)
        )
        try:
            mined = mine(source.problem, retriever, options, rescorer=rescorer, teacher=teacher)
        except ValueError as error:
            raise ConfigError(f"the recipe cannot be mined: {error}") from error
    used = {"rescoring": rescoring, "teacher": teaching}
    return mined, {name: one for name, one in used.items() if one is not None}


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - begin
