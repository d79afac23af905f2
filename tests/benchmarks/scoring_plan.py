"""How much the scoring scenario measures, and on which texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.benchmarks.scoring_results import MIX
from tests.benchmarks.texts import Request, TextSource

SHORT, LONG = "20 tokens", "512 tokens"
WORDS = {SHORT: 10, LONG: 502}
"""Words of a document beside a query of 7 words and 3 special tokens."""
PEER_BATCH = 32
"""The default of sentence-transformers' `predict`."""
Calls = list[list[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """By mix of lengths: pairs of a round, pairs that the batch budget is chosen with, and lone requests."""

    rounds: int = 5
    pairs: Mapping[str, int] = field(default_factory=lambda: {MIX: 300, SHORT: 300, LONG: 32})
    sampled: Mapping[str, int] = field(default_factory=lambda: {MIX: 100, SHORT: 100, LONG: 8})
    budgets: Sequence[int] = (256, 512, 1024, 2048, 4096)
    peer_batches: Sequence[int] = (8, 16, PEER_BATCH, 64)
    budget_rounds: int = 2
    lone: Mapping[str, int] = field(default_factory=lambda: {MIX: 30, SHORT: 30, LONG: 6})
    lone_turns: int = 3
    documents: int = 10
    http_requests: int = 8
    http_documents: int = 100
    http_rounds: int = 3


def sample(mix: str) -> str:
    """Name of the texts that the budget is chosen with."""
    return f"{mix}, sample"


def turn(mix: str, number: int) -> str:
    """Name of the lone requests of one turn."""
    return f"{mix}, lone {number}"


def texts_of(plan: Plan, source: TextSource) -> dict[str, Calls]:
    """Calls, each some pairs, by name."""
    found: dict[str, Calls] = {}
    for mix, count in plan.pairs.items():
        pairs = _pairs(source, mix, count)
        found[mix] = [pairs]
        found[sample(mix)] = [pairs[:: max(1, count // plan.sampled[mix])]]
        for number in range(plan.lone_turns):
            own = range(plan.lone[mix] // plan.lone_turns)
            found[turn(mix, number)] = [_lone(source, mix, plan.documents).pairs for _ in own]
    return found


def _pairs(source: TextSource, mix: str, count: int) -> list[tuple[str, str]]:
    if mix in WORDS:
        return source.pairs_of(WORDS[mix], count)
    return [request.pairs[0] for request in source.requests(count, 1)]


def _lone(source: TextSource, mix: str, documents: int) -> Request:
    if mix not in WORDS:
        return source.requests(1, documents)[0]
    pairs = source.pairs_of(WORDS[mix], documents)
    return Request(pairs[0][0], tuple(document for _, document in pairs))
