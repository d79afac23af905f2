"""What was mined, for people and for programs: a table, report.json, report.md and a picture."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.mine_recipe import MineRecipe
from training.mining.filters import lowest_positive
from training.mining.pipeline import Mined
from training.mining.plot import plot_scores
from training.mining.positives import IndexArray
from training.mining.sources import Source
from training.mining.statistics import Statistics, measure, report

TEXT_CHARACTERS = 400
"""Of a document in an example."""
NOT_SHOWN = {"output", "data_root", "cache"}
"""Where things lay on one machine says nothing to a reader elsewhere."""


@dataclass(frozen=True)
class Facts:
    """What a report tells beside the mined negatives themselves."""

    recipe: MineRecipe
    models: dict[str, Any]
    seconds: dict[str, float]
    cache_bytes: int
    written: dict[str, int]


@dataclass(frozen=True)
class Example:
    """A document that stands near a query, and the query's right answer with the lowest score."""

    query: str
    answer: str
    answer_score: float
    document: str
    score: float


def format_of(recipe: MineRecipe) -> str:
    """The format whose rows are counted: that of the first output with rows."""
    return next((output.format for output in recipe.outputs if output.is_rows), "triplet")


def terminal_report(source: Source, mined: Mined, recipe: MineRecipe) -> str:
    """The table, and before it what was read."""
    lines = [read_line(source), "", report(measure(source.problem, mined, format_of(recipe)), mined)]
    above, of = above_right_answers(source, mined)
    if above:
        lines.append(f"{above:,} negatives ({above / of:.2%}) score above a right answer of their query.")
    if without := int((mined.indices < 0).all(axis=1).sum()):
        lines.append(f"{without:,} queries ({without / len(mined.indices):.2%}) have no negative at all.")
    return "\n".join(lines)


def above_right_answers(source: Source, mined: Mined) -> tuple[int, int]:
    """How many negatives score above the lowest right answer of their query, and of how many."""
    lowest = lowest_positive(mined.positive_scores, source.problem.positives)
    there = mined.indices >= 0
    return int((there & (mined.scores > lowest)).sum()), int(there.sum())


def read_line(source: Source) -> str:
    """What was read, on one line, without what did not occur."""
    first = ("queries", "right answers", "documents")
    more = [f"{count:,} {name}" for name, count in source.counts.items() if count and name not in first]
    return ", ".join(f"{source.counts[name]:,} {name}" for name in first) + f" (read: {', '.join(more)})"


def write_report(source: Source, mined: Mined, facts: Facts, folder: Path) -> None:
    """Writes report.json, report.md and histogram.png."""
    statistics = measure(source.problem, mined, format_of(facts.recipe))
    content = as_json(source, mined, statistics, facts)
    (folder / "report.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "report.md").write_text("\n".join(markdown(source, mined, facts)) + "\n", encoding="utf-8")
    queries = source.problem.positives.queries
    valid = mined.indices[queries] >= 0
    difference = (mined.positive_scores[:, None] - mined.scores[queries])[valid]
    plot_scores(mined.positive_scores, mined.scores[mined.indices >= 0], difference, folder / "histogram.png")


def as_json(source: Source, mined: Mined, statistics: Statistics, facts: Facts) -> dict[str, Any]:
    """Everything that determines the result, and its figures; NaN is null."""
    names = ("positive", "negative", "difference")
    return {
        "recipe": shown(facts.recipe),
        "options": {key: value for key, value in asdict(mined.options).items() if value is not None},
        "data": {"sha256": source.files, **source.counts},
        "models": facts.models,
        "rows_written": facts.written,
        "statistics": {
            "positives": statistics.positives,
            "negatives": statistics.negatives,
            "scores": {
                metric: {name: _known(value) for name, value in zip(names, values, strict=True)}
                for metric, values in statistics.values.items()
            },
        },
        "candidates": mined.candidates,
        "skipped": [{**skip._asdict(), "share": round(skip.share, 6)} for skip in mined.skipped],
        "missing": {"rows": statistics.missing, "of": statistics.possible},
        "negatives_above_right_answers": above_right_answers(source, mined)[0],
        "queries_without_negatives": int((mined.indices < 0).all(axis=1).sum()),
        "seconds": {name: round(value, 3) for name, value in facts.seconds.items()},
        "cache_bytes": facts.cache_bytes,
    }


def shown(recipe: MineRecipe) -> dict[str, Any]:
    """The recipe with its defaults and overrides, without what was left open."""
    return recipe.model_dump(mode="json", exclude=NOT_SHOWN, exclude_none=True)


def markdown(source: Source, mined: Mined, facts: Facts) -> Iterator[str]:
    """report.md, line by line."""
    yield from ("# Mined negatives", "", "```", terminal_report(source, mined, facts.recipe), "```", "")
    yield "![Scores](histogram.png)"
    yield from ("", "| Output | Rows |", "|---|---|")
    yield from (f"| {name} | {count:,} |" for name, count in facts.written.items())
    yield from ("", "## Hardest negatives", "")
    yield "Negatives whose scores come nearest to those of a right answer, or above. Are they really wrong?"
    yield from _listed(hardest(source, mined, facts.recipe.examples))
    yield from ("", "## Suspected false negatives", "")
    if mined.skipped:
        yield "The best candidates that the filters dropped for being too near: perhaps right answers nobody marked."
        yield "Where they are wrong answers after all, the filters are too strict."
    else:
        yield "No filter is set, so nothing was dropped: see the hardest negatives above. If right answers are among"
        yield "them, set `filters.relative_margin` (0.05 is a start), or a `[teacher]`."
    yield from _listed(suspects(source, mined, facts.recipe.examples))
    yield from ("", "## Recipe", "", "```json")
    yield from (json.dumps(shown(facts.recipe), indent=2, ensure_ascii=False), "```")


def hardest(source: Source, mined: Mined, count: int) -> list[Example]:
    """The negatives nearest to their right answers, one of each query."""
    return _examples(source, mined, mined.indices, mined.scores, count)


def suspects(source: Source, mined: Mined, count: int) -> list[Example]:
    """The dropped candidates nearest to, or farthest above, their right answers, one of each query."""
    return _examples(source, mined, mined.suspects.indices, mined.suspects.scores, count)


def _examples(source: Source, mined: Mined, indices: IndexArray, scores: Any, count: int) -> list[Example]:
    problem = source.problem
    lowest = lowest_positive(mined.positive_scores, problem.positives)[:, 0]
    best = np.argmax(np.where(indices >= 0, scores, -np.inf), axis=1)
    rows = np.arange(len(indices))
    excess = np.where(indices[rows, best] >= 0, scores[rows, best] - lowest, np.nan)
    order = np.argsort(-excess, kind="stable")  # NaN comes last
    chosen = order[: min(count, int(np.isfinite(excess).sum()))]
    return [
        _example(source, mined, int(query), int(indices[query, best[query]]), float(scores[query, best[query]]))
        for query in chosen
    ]


def _example(source: Source, mined: Mined, query: int, document: int, score: float) -> Example:
    problem = source.problem
    start, stop = problem.positives.offsets[query : query + 2]
    lowest = start + int(np.nanargmin(mined.positive_scores[start:stop]))
    answer = problem.corpus[int(problem.positives.documents[lowest])].as_py()
    text = problem.corpus[document].as_py()
    return Example(problem.queries[query].as_py(), answer, float(mined.positive_scores[lowest]), text, score)


def _listed(examples: Sequence[Example]) -> Iterator[str]:
    for number, example in enumerate(examples, start=1):
        yield from ("", f"{number}. **{_short(example.query)}**")
        yield f"   - right answer, {example.answer_score:.4f}: {_short(example.answer)}"
        yield f"   - {example.score:.4f}: {_short(example.document)}"
    if not examples:
        yield from ("", "None.")


def _short(text: str) -> str:
    line = " ".join(text.split())
    cut = line if len(line) <= TEXT_CHARACTERS else line[:TEXT_CHARACTERS].rsplit(" ", 1)[0] + " ..."
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", cut)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
