"""Bars and tables of the scoring scenario, from made-up figures."""

from __future__ import annotations

import math

import pytest

from tests.benchmarks.forms import PEER
from tests.benchmarks.scoring_results import (
    MIX,
    Measured,
    bars,
    budget_table,
    fastest,
    is_faithful,
    kinds,
    latency_table,
    speed_table,
)

PEER_RATES = [10.0, 10.0, 20.0]


def measured(name: str, kind: str, ratios: list[float], mix: str = MIX, **more: object) -> Measured:
    rates = [ratio * peer for ratio, peer in zip(ratios, PEER_RATES, strict=True)]
    return Measured(name, kind, mix, 512, rates, PEER_RATES, **more)  # type: ignore[arg-type]


FOUND = [
    measured(PEER, "peer", [1.0, 1.0, 1.0]),
    measured("torch", "fp32", [1.5, 1.5, 1.5]),
    measured("onnx", "fp32", [2.0, 1.7, 1.9]),
    measured("qdq", "int8", [6.5, 4.0, 7.0], difference=0.2, tau=0.95),
    measured("torch", "fp32", [2.0, 2.0, 2.0], mix="long"),
    measured("onnx", "fp32", [0.9, 0.8, 1.5], mix="long"),
    measured("qdq", "int8", [1.1, 1.2, 0.9], mix="long"),
]


def test_the_fastest_form_of_each_kind_is_judged_by_median_and_lowest_round() -> None:
    """And on the other mixes by the peer's own speed, though another form of its kind be faster there."""
    assert [(bar.quantity, pytest.approx(bar.value), bar.bar) for bar in bars(FOUND)] == [
        ("fp32 (onnx) / peer, median", 1.9, 1.9),
        ("fp32 (onnx) / peer, lowest round", 1.7, 1.6),
        ("fp32 (onnx) / peer, long", 0.9, 1.0),
        ("int8 (qdq) / peer, median", 6.5, 6.0),
        ("int8 (qdq) / peer, lowest round", 4.0, 5.0),
        ("int8 (qdq) / peer, long", 1.1, 1.0),
    ]


def test_lossless_has_bars_only_where_bf16_ran() -> None:
    assert kinds(FOUND) == ["fp32", "int8"]
    with_bf16 = [*FOUND, measured("bf16", "bf16", [3.6, 3.4, 3.5], difference=1e-3, tau=0.999)]
    assert kinds(with_bf16) == ["fp32", "lossless", "int8"]
    assert [(bar.value, bar.bar) for bar in bars(with_bf16) if "bf16" in bar.quantity] == [(3.5, 3.5), (3.4, 3.2)]


@pytest.mark.parametrize(
    ("ratio", "difference", "tau"),
    [(1.0, 0.0, 1.0), (3.5, 1.1e-3, 1.0), (3.5, 0.0, 0.998), (3.5, math.nan, 1.0)],
    ids=["slower", "other scores", "other order", "no numbers"],
)
def test_float32_is_the_fastest_lossless_form_where_bf16_is_slower_or_loses(
    ratio: float, difference: float, tau: float
) -> None:
    bf16 = measured("bf16", "bf16", [ratio] * 3, difference=difference, tau=tau)
    assert fastest([*FOUND, bf16], "lossless").name == "onnx"


@pytest.mark.parametrize(
    ("kind", "difference", "faithful"),
    [
        ("fp32", 1e-5, True),
        ("fp32", 1.1e-5, False),
        ("int16", 1e-3, True),
        ("int16", 1.1e-3, False),
        ("bf16", 0.05, True),
        ("bf16", 0.06, False),
        ("bf16", math.nan, False),
        ("int8", 0.9, True),
        ("int8", math.nan, False),
        ("fp32", math.nan, False),
    ],
)
def test_what_a_kind_promises_of_its_scores(kind: str, difference: float, faithful: bool) -> None:
    assert is_faithful(kind, difference) is faithful


def test_the_table_has_a_line_per_form_and_mix() -> None:
    one = measured("onnx", "fp32", [2.0, 1.7, 1.9], of_peak=43.4, latencies_ms=[1.0, 2.0, 3.0], difference=3e-6)
    lines = speed_table([measured(PEER, "peer", [1.0, 1.0, 1.0], latencies_ms=[5.0]), one]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][:4] == ["mix", "form", "budget", "pairs/s"]
    assert cells[2][1:6] == [PEER, "512 pairs", "10.0", "1.00", "1.00"]
    assert cells[3] == [MIX, "onnx", "512 tokens", "20.0", "1.90", "1.70", "43 %", "2.0", "3.0", "3e-06", "1.0000"]
    assert len({len(line) for line in lines}) == 1


def test_the_table_of_budgets_leaves_the_peer_out() -> None:
    """Its batches are counted in pairs."""
    swept = [
        measured(PEER, "peer", [1.0, 1.0, 1.0], sweep={32: 1.0}),
        measured("onnx", "fp32", [1.0, 1.0, 1.0], sweep={256: 7.0, 512: 8.5}),
    ]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in budget_table(swept).splitlines()]
    assert lines[0] == ["mix", "form", "256", "512"]
    assert lines[2:] == [[MIX, "onnx", "7.0", "8.5"]]


def test_latencies_by_budget() -> None:
    """A budget that was not measured leaves its place empty: the peer's are numbers of pairs."""
    found = [
        measured("onnx", "fp32", [1.0, 1.0, 1.0], latency_sweep={256: [10.0, 20.0], 512: [5.0]}),
        measured(PEER, "peer", [1.0, 1.0, 1.0], latency_sweep={32: [40.0]}),
    ]
    lines = [[cell.strip() for cell in line.split("|")[2:-1]] for line in latency_table(found).splitlines()]
    assert lines[0] == ["form", "32: p50, p99 ms", "256: p50, p99 ms", "512: p50, p99 ms"]
    assert lines[2] == ["onnx", "", "15.0, 19.9", "5.0, 5.0"]
    assert lines[3] == [PEER, "40.0, 40.0", "", ""]
