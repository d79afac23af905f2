"""One mix of lengths, scored by the peer and by every form in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tests.benchmarks.foreign import ForeignCpu
from tests.benchmarks.forms import PEER, Form
from tests.benchmarks.scoring_plan import PEER_BATCH, Plan, sample, turn
from tests.benchmarks.scoring_process import Answer, Scorer
from tests.benchmarks.scoring_results import Measured, is_faithful
from training.parity import kendall_tau


def measure_mix(
    mix: str, plan: Plan, scorers: Mapping[str, Scorer], forms: Sequence[Form], peaks: Mapping[str, float]
) -> tuple[list[Measured], list[float]]:
    """The peer and the forms, and the share of the CPU that others took in each round [%].

    `peaks` are pairs/s at the matrix peak by kind. Raises SystemExit where a form is not what it is promised to be.
    """
    sweeps = {name: _sweep(each, mix, plan) for name, each in scorers.items()}
    sizes = {name: max(sweep, key=sweep.__getitem__) for name, sweep in sweeps.items()} | {PEER: PEER_BATCH}
    kinds = {form.name: form.kind for form in forms} | {PEER: "peer"}
    rates, foreign, faults = _rounds(mix, plan, scorers, sizes, kinds)
    latencies = _latencies(mix, plan, scorers, sizes)
    latency_sweeps = _latency_sweeps(mix, plan, scorers)
    measured = [
        Measured(
            name,
            kinds[name],
            mix,
            sizes[name],
            rates[name],
            rates[PEER],
            sweeps[name],
            100 * float(np.median(rates[name])) / peaks["fp32" if name == PEER else kinds[name]],
            latencies[name],
            *faults[name],
            latency_sweeps[name],
        )
        for name in scorers
    ]
    return measured, foreign


def _sweep(scorer: Scorer, mix: str, plan: Plan) -> dict[int, float]:
    """Pairs/s by batch budget, sizes in turns; the best of some rounds, since the first holds allocations."""
    rates = dict.fromkeys(plan.peer_batches if scorer.name == PEER else plan.budgets, 0.0)
    for _ in range(plan.budget_rounds):
        for size in rates:
            rates[size] = max(rates[size], _rate(scorer.score(sample(mix), size)))
    return rates


def _rounds(
    mix: str, plan: Plan, scorers: Mapping[str, Scorer], sizes: Mapping[str, int], kinds: Mapping[str, str]
) -> tuple[dict[str, list[float]], list[float], dict[str, tuple[float, float]]]:
    """Pairs/s by round, foreign CPU by round, and (largest score difference, Kendall tau) of all rounds.

    The first is not timed; then the order of the turns alternates.
    """
    rates: dict[str, list[float]] = {name: [] for name in scorers}
    faults = dict.fromkeys(scorers, (0.0, 1.0))
    foreign = []
    expected = np.zeros(0, np.float32)
    for number in range(plan.rounds + 1):
        watch = ForeignCpu([each.process for each in scorers.values()])
        for name in list(scorers)[:: -1 if number % 2 else 1]:
            answer = scorers[name].score(mix, sizes[name])
            found = np.array(answer.scores[0], dtype=np.float32)
            expected = expected if expected.size else found  # the peer's: it is the first
            difference = float(np.abs(found - expected).max())
            if name != PEER and not is_faithful(kinds[name], difference):
                raise SystemExit(f"{name}, {mix}: scores differ by {difference:.3g} from the peer's; it is not timed")
            faults[name] = max(faults[name][0], difference), min(faults[name][1], kendall_tau(expected, found))
            if number:
                rates[name].append(_rate(answer))
        if number:
            foreign.append(watch.percent())
    return rates, foreign, faults


def _latencies(mix: str, plan: Plan, scorers: Mapping[str, Scorer], sizes: Mapping[str, int]) -> dict[str, list[float]]:
    """Milliseconds of lone requests, some of each form in turns."""
    found: dict[str, list[float]] = {name: [] for name in scorers}
    for number in range(plan.lone_turns):
        for name, each in scorers.items():
            found[name] += [1e3 * taken for taken in each.score(turn(mix, number), sizes[name]).seconds]
    return found


def _latency_sweeps(mix: str, plan: Plan, scorers: Mapping[str, Scorer]) -> dict[str, dict[int, list[float]]]:
    """Milliseconds of the lone requests of one turn with each batch budget, the budgets of all forms in turns."""
    found: dict[str, dict[int, list[float]]] = {name: {} for name in scorers}
    for place in range(max(len(plan.budgets), len(plan.peer_batches))):
        for name, each in scorers.items():
            for size in list(plan.peer_batches if name == PEER else plan.budgets)[place : place + 1]:
                found[name][size] = [1e3 * taken for taken in each.score(turn(mix, 0), size).seconds]
    return found


def _rate(answer: Answer) -> float:
    return sum(map(len, answer.scores)) / sum(answer.seconds)
