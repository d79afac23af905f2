"""Offline scoring of one trained model in every form beside sentence-transformers' `predict`, in one process, in turns.

Speed by form, mix of lengths and batch budget, latency of a request of 10 documents, and the same through HTTP. Every
form's scores are compared with the peer's: a form promised as fp32 or lossless that is not ends the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from sentence_transformers import CrossEncoder as Peer

from app.model.bucketing import Budget
from app.model.cpus import available_cpus
from app.model.cross_encoder import CrossEncoder
from app.model.types import FloatArray
from tests.benchmarks.bench import Bench, Result, apply, latencies_ms, percentile
from tests.benchmarks.forms import Form, prepare, runnable
from tests.benchmarks.load import Stream
from tests.benchmarks.matrix_peak import gflop, peak_gflops
from tests.benchmarks.server import serving
from tests.benchmarks.texts import TextSource
from training.parity import kendall_tau

Pairs = list[tuple[str, str]]
ROUNDS, BUDGET_ROUNDS, PEER_BATCH = 5, 2, 32
MIXES = {"lognormal": 300, "20 tokens": 300, "512 tokens": 40}
"""Mixes of lengths with the number of pairs that are scored."""
BUDGETS = (256, 512, 1024, 2048, 4096)
PROMISED = {"fp32": 1e-5, "lossless": 1e-3, "int8": 1.0}
"""Largest score difference from the peer by kind of form. What int8 costs on real text, `export` says."""
MEDIAN_BAR = {"fp32": 1.9, "lossless": 3.5, "int8": 6.0}
LOWEST_BAR = {"fp32": 1.6, "lossless": 3.2, "int8": 5.0}
LONE_REQUESTS, LONE_DOCUMENTS, HTTP_ROUNDS = 20, 10, 3


def scoring(bench: Bench) -> Result:
    """Throughput, latency and fidelity of every form of `bench.reference`."""
    reference = bench.reference
    exported = prepare(reference, bench.out)
    torch.set_num_threads(available_cpus())
    peer = Peer(str(reference), device="cpu")
    forms = {form: form.load(reference, exported) for form in runnable()}
    result = Result("scoring")
    ratios = {mix: _mix(result, mix, pairs, peer, forms) for mix, pairs in mixes(bench.source).items()}
    _judge(result, ratios)
    _budgets(result, mixes(bench.source)["lognormal"], forms)
    _latency(result, bench.source, peer, forms)
    for form in dict.fromkeys(_fastest(ratios["lognormal"], kind) for kind in PROMISED):
        _over_http(result, bench, form, forms[form], exported if form.target else reference)
    return result


def mixes(source: TextSource) -> dict[str, Pairs]:
    """Pairs by mix: lengths as in traffic, and all short or all long."""
    lognormal = [request.pairs[0] for request in source.requests(MIXES["lognormal"], 1)]
    fixed = {"20 tokens": 10, "512 tokens": 502}  # with a query of 7 words and 3 special tokens
    return {"lognormal": lognormal} | {mix: source.pairs_of(words, MIXES[mix]) for mix, words in fixed.items()}


def _mix(
    result: Result, mix: str, pairs: Pairs, peer: Peer, forms: dict[Form, CrossEncoder]
) -> dict[Form, list[float]]:
    """Ratios to the peer by form, one per round."""

    def theirs() -> FloatArray:
        return np.asarray(peer.predict(pairs, batch_size=PEER_BATCH, show_progress_bar=False))

    expected = theirs()
    for form, model in forms.items():
        _check(result if mix == "lognormal" else None, form, expected, model.predict(pairs))
    rates: dict[str | Form, list[float]] = {"peer": [], **{form: [] for form in forms}}
    for _ in range(ROUNDS):
        rates["peer"].append(len(pairs) / _seconds(theirs))
        for form, model in forms.items():
            rates[form].append(len(pairs) / _seconds(model.predict, pairs))
    result.series[f"{mix}: sentence-transformers"] = rates["peer"]
    result.add(f"{mix}: sentence-transformers fp32, batch {PEER_BATCH}", median(rates["peer"]), "pairs/s")
    ratios = {form: [a / b for a, b in zip(rates[form], rates["peer"], strict=True)] for form in forms}
    for form, model in forms.items():
        result.series[f"{mix}: {form.name}"] = rates[form]
        result.add(f"{mix}: {form.name}", median(rates[form]), "pairs/s")
        result.add(f"{mix}: {form.name} / peer, lowest round", min(ratios[form]), "ratio")
        lengths = [len(row) for row in model.tokenizer.encode_pairs(pairs, model.options)]
        work = gflop(model.artifact.config, lengths) / len(pairs)
        result.add(
            f"{mix}: {form.name}, of the matrix peak", 100 * work * median(rates[form]) / peak_gflops(form.kind), "%"
        )
    return ratios


def _check(result: Result | None, form: Form, expected: FloatArray, found: FloatArray) -> None:
    difference = float(np.abs(found - expected).max())
    if not difference <= PROMISED[form.kind]:
        raise SystemExit(f"{form.name}: scores differ by {difference:.3g} from the peer's; nothing was timed")
    if result is not None:
        result.add(f"{form.name}: largest score difference", difference, "score")
        result.add(f"{form.name}: Kendall tau", kendall_tau(expected, found), "tau")


def _judge(result: Result, ratios: dict[str, dict[Form, list[float]]]) -> None:
    """The bars: for the fastest form of each kind, and for every regime that no form is slower than the peer."""
    for kind in PROMISED:
        fastest = _fastest(ratios["lognormal"], kind)
        own = ratios["lognormal"][fastest]
        result.at_least(f"{kind} ({fastest.name}) / peer, median", median(own), "ratio", MEDIAN_BAR[kind])
        result.at_least(f"{kind} ({fastest.name}) / peer, lowest round", min(own), "ratio", LOWEST_BAR[kind])
    for mix, of_mix in ratios.items():
        slowest = min(median(of_mix[_fastest(of_mix, kind)]) for kind in PROMISED)
        result.at_least(f"{mix}: slowest kind / peer", slowest, "ratio", 1.0)


def _fastest(ratios: dict[Form, list[float]], kind: str) -> Form:
    # What fp32 reaches counts as lossless too.
    of_kind = [form for form in ratios if form.kind in ({"fp32", "lossless"} if kind == "lossless" else {kind})]
    return max(of_kind, key=lambda form: median(ratios[form]))


def _budgets(result: Result, pairs: Pairs, forms: dict[Form, CrossEncoder]) -> None:
    """Throughput by batch budget, budgets in turns."""
    for form, model in forms.items():
        rates: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
        for _ in range(BUDGET_ROUNDS):
            for budget in BUDGETS:
                rates[budget].append(len(pairs) / _seconds(model.predict, pairs, Budget(max_tokens=budget)))
        result.series[f"budget: {form.name}"] = [max(rates[budget]) for budget in BUDGETS]
        for budget in BUDGETS:
            result.add(f"{form.name}, budget {budget}", max(rates[budget]), "pairs/s")


def _latency(result: Result, source: TextSource, peer: Peer, forms: dict[Form, CrossEncoder]) -> None:
    requests = source.requests(LONE_REQUESTS, LONE_DOCUMENTS)
    calls: dict[str, Callable[..., object]] = {
        "sentence-transformers": lambda pairs: peer.predict(pairs, batch_size=PEER_BATCH, show_progress_bar=False)
    }
    calls |= {form.name: model.predict for form, model in forms.items()}
    for name, call in calls.items():
        taken = [1e3 * _seconds(call, request.pairs) for request in requests]
        result.add(f"{name}: {LONE_DOCUMENTS} documents, p50", percentile(taken, 50), "ms")
        result.add(f"{name}: {LONE_DOCUMENTS} documents, p99", percentile(taken, 99), "ms")


def _over_http(result: Result, bench: Bench, form: Form, model: CrossEncoder, directory: Path) -> None:
    """The service with this form beside the form in a plain loop, in turns."""
    requests = bench.source.requests(8, 100)
    stream = Stream("scoring", [request.body for request in requests], clients=8)
    ratios, latencies = [], []
    with serving(str(directory), bench.out / "server-scoring.log", form.flags) as server:
        for _ in range(HTTP_ROUNDS):
            alone = sum(_seconds(model.predict, request.pairs) for request in requests)
            window = apply(server, [stream], seconds=600, count=len(requests))
            ratios.append(alone / window.outcome.wall_s)
            latencies += latencies_ms(window.outcome.answers)
    result.at_least(f"HTTP / {form.name} alone, median", median(ratios), "ratio", 0.95)
    result.add(f"HTTP, {form.name}: 100 documents, 8 clients, p50", percentile(latencies, 50), "ms")
    result.add(f"HTTP, {form.name}: 100 documents, 8 clients, p99", percentile(latencies, 99), "ms")


def _seconds(call: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - began
