"""What the scoring scenario has measured, its bars, and its tables. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from app.model.parity import LOSSLESS_DIFFERENCE, LOSSLESS_TAU
from tests.benchmarks.bench import percentile
from tests.benchmarks.forms import PEER
from tests.benchmarks.report import markdown

MIX = "lognormal"
"""The mix of lengths that forms are chosen by: as in traffic."""
PROMISED = {"fp32": 1e-5, "int16": 1e-3, "bf16": 0.05, "int8": math.inf}
"""Largest score difference from the peer by kind of form. What int8 costs on real text, `export` says."""
LOSSLESS = "lossless"
"""A kind by what was measured: whatever form came within 1e-3 of the peer's scores, with a Kendall tau of 0.999."""
MEDIAN_BAR = {"fp32": 1.9, "lossless": 3.5, "int8": 6.0}
LOWEST_BAR = {"fp32": 1.6, "lossless": 3.2, "int8": 5.0}
Sweep = Mapping[int, float]
"""Pairs/s by batch budget."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A form, or the peer, on one mix of lengths.

    `rates` [pairs/s] and `peer_rates` are of the same rounds, `size` is the batch budget [tokens] of all (of the peer:
    pairs), `of_peak` the share of the machine's matrix products [%], `latencies_ms` are of requests of 10 documents.
    """

    name: str
    kind: str
    mix: str
    size: int
    rates: list[float]
    peer_rates: list[float]
    sweep: Sweep = field(default_factory=dict)
    of_peak: float = math.nan
    latencies_ms: list[float] = field(default_factory=list)
    difference: float = 0.0
    tau: float = 1.0
    latency_sweep: Mapping[int, list[float]] = field(default_factory=dict)
    """Milliseconds of requests of 10 documents by batch budget."""

    @property
    def ratios(self) -> list[float]:
        """Speed over the peer's, round by round."""
        return [own / peer for own, peer in zip(self.rates, self.peer_rates, strict=True)]


@dataclass(frozen=True, slots=True)
class Bar:
    """What has to be reached."""

    quantity: str
    value: float
    bar: float


def is_faithful(kind: str, difference: float) -> bool:
    """Whether the figures of a form of this kind may count; not where the difference is not a number."""
    return difference <= PROMISED[kind]


def kinds(measured: Sequence[Measured]) -> list[str]:
    """Kinds that have bars of their own: where there are only float32 and int8, nothing else can be lossless."""
    found = {each.kind for each in measured}
    return ["fp32", *([LOSSLESS] if found & {"bf16", "int16"} else []), *(["int8"] if "int8" in found else [])]


def fastest(measured: Sequence[Measured], kind: str) -> Measured:
    """The fastest form of a kind on texts as in traffic."""
    of_kind = _is_lossless if kind == LOSSLESS else lambda each: each.kind == kind
    own = [each for each in measured if each.mix == MIX and of_kind(each)]
    return max(own, key=lambda each: median(each.ratios))


def _is_lossless(one: Measured) -> bool:
    return one.name != PEER and one.difference <= LOSSLESS_DIFFERENCE and one.tau >= LOSSLESS_TAU


def bars(measured: Sequence[Measured]) -> list[Bar]:
    """For the fastest form of each kind: its speed, and that it is not slower than the peer on any mix of lengths."""
    found = []
    for kind in kinds(measured):
        best = fastest(measured, kind)
        found.append(Bar(f"{kind} ({best.name}) / peer, median", median(best.ratios), MEDIAN_BAR[kind]))
        found.append(Bar(f"{kind} ({best.name}) / peer, lowest round", min(best.ratios), LOWEST_BAR[kind]))
        found += [
            Bar(f"{kind} ({each.name}) / peer, {each.mix}", median(each.ratios), 1.0)
            for each in measured
            if each.name == best.name and each.mix != MIX
        ]
    return found


def speed_table(measured: Sequence[Measured]) -> str:
    """Markdown: one line per mix and form."""
    head = ("mix", "form", "budget", "pairs/s", "/ peer", "lowest", "of peak", "p50 ms", "p99 ms", "diff.", "tau")
    rows = [
        (
            each.mix,
            each.name,
            f"{each.size} {'pairs' if each.name == PEER else 'tokens'}",
            f"{median(each.rates):.1f}",
            f"{median(each.ratios):.2f}",
            f"{min(each.ratios):.2f}",
            "" if math.isnan(each.of_peak) else f"{each.of_peak:.0f} %",
            f"{percentile(each.latencies_ms, 50):.1f}",
            f"{percentile(each.latencies_ms, 99):.1f}",
            f"{each.difference:.2g}",
            f"{each.tau:.4f}",
        )
        for each in measured
    ]
    return markdown(head, rows)


def budget_table(measured: Sequence[Measured]) -> str:
    """Markdown: pairs/s of each form by batch budget [tokens], the best of few rounds over few pairs."""
    forms = [each for each in measured if each.name != PEER]
    sizes = sorted({size for each in forms for size in each.sweep})
    rows = [(each.mix, each.name, *(f"{each.sweep.get(size, math.nan):.1f}" for size in sizes)) for each in forms]
    return markdown(("mix", "form", *map(str, sizes)), rows)


def latency_table(measured: Sequence[Measured]) -> str:
    """Markdown: p50 and p99 of requests of 10 documents by batch budget [tokens; of the peer: pairs]."""
    sizes = sorted({size for each in measured for size in each.latency_sweep})
    rows = [(each.mix, each.name, *(_p50_p99(each.latency_sweep.get(size, [])) for size in sizes)) for each in measured]
    return markdown(("mix", "form", *(f"{size}: p50, p99 ms" for size in sizes)), rows)


def _p50_p99(latencies_ms: Sequence[float]) -> str:
    return ", ".join(f"{percentile(latencies_ms, q):.1f}" for q in (50, 99)) if latencies_ms else ""
