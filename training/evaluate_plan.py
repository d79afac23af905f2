"""From the command line of `evaluate` to the sets that are measured."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import ConfigError
from training.commands.sources import holds_table
from training.recipe import EvaluationSet, Recipe, load_recipe

DEPTH = 100
DEPTHS = (10, 20, 50, 100, 200)
SET_OPTIONS = ("split", "pool")
"""Options that say what a directory holds; in a recipe each set has them as keys."""


@dataclass(frozen=True, slots=True)
class Job:
    """One evaluation set: `options.depth` candidates are retrieved, `depth` of them reranked, and `depths` plotted."""

    options: EvaluationSet
    depth: int
    depths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. `parent` is the recipe's, whose cosine is a baseline; a directory has none."""

    jobs: tuple[Job, ...]
    root: Path
    seed: int
    parent: str | None


def plan_of(options: argparse.Namespace) -> Plan:
    """The sets of a recipe, or the corpus directory that is the target. Raises ConfigError."""
    for name in ("depth", "limit"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise ConfigError(f"--{name} {value}: must be 1 or more")
    if any(depth < 1 for depth in options.depths or ()):
        raise ConfigError(f"--depths {min(options.depths)}: must be 1 or more")
    return _of_directory(options) if options.target.is_dir() else _of_recipe(options)


def _of_directory(options: argparse.Namespace) -> Plan:
    if options.overrides:
        raise ConfigError(f"{options.overrides[0]!r}: key=value replaces a value of a recipe, and this is a directory")
    if options.only:
        raise ConfigError("--only chooses among the sets of a recipe; leave it out for a directory")
    directory = options.target.resolve()
    one = EvaluationSet(
        name=directory.name,
        path=directory,
        split=options.split or "test",
        pool=options.pool,
        depth=options.depth or DEPTH,
    )
    seed = 0 if options.seed is None else options.seed
    return Plan((_job(one, options, options.depths or DEPTHS),), Path(), seed, None)


def _of_recipe(options: argparse.Namespace) -> Plan:
    for name in SET_OPTIONS:
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name} goes with a directory; in a recipe write evaluations.0.{name}=...")
    recipe = load_recipe(options.target, options.overrides)
    seed = recipe.seed if options.seed is None else options.seed
    jobs = [_job(one, options, options.depths) for one in _selected(recipe, options.only)]
    return Plan(tuple(jobs), recipe.data_root, seed, None if options.no_baselines else recipe.parent)


def _job(one: EvaluationSet, options: argparse.Namespace, depths: Sequence[int] | None) -> Job:
    """The set with the command line's options in place of its own.

    Deeper lists are retrieved where the curve asks for them; without such a wish its depths are those that cost no
    more than the set's own.
    """
    depth = options.depth or one.depth
    wanted = tuple(depths or (own for own in DEPTHS if own <= depth))
    given = {"limit": options.limit, "first_stage": options.first_stage}
    changed = {key: value for key, value in given.items() if value is not None}
    return Job(one.model_copy(update={**changed, "depth": max(depth, *wanted, 1)}), depth, wanted)


def _selected(recipe: Recipe, names: Sequence[str] | None) -> list[EvaluationSet]:
    sets = [one for one in recipe.evaluations if one.kind == "reranking" and not holds_table(one, recipe.data_root)]
    known = {one.name: one for one in sets}
    if not known:
        raise ConfigError("the recipe has no [[evaluations]] to rerank; add a BEIR directory to measure with")
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ConfigError(f"--only {unknown[0]}: no such evaluation set; the recipe has {', '.join(known)}")
    return [known[name] for name in names] if names else list(known.values())
