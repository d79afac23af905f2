"""Offline scoring of one trained model in every form beside sentence-transformers' `predict`, in turns.

Every form, and the peer, is a process of its own that sleeps while another scores. Speed and latency of requests of 10
documents by form, mix of lengths and batch budget, and the same through HTTP. Every answer is compared with the peer's:
a form that is further from it than its arithmetic explains ends the run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from statistics import median

from app.model.artifact import Artifact, read_artifact
from app.model.types import EncodeOptions
from tests.benchmarks.bench import Bench, Result
from tests.benchmarks.forms import PEER, Form, prepare, runnable
from tests.benchmarks.matrix_peak import gflop, peaks
from tests.benchmarks.scoring_http import TEXTS, Served, over_http
from tests.benchmarks.scoring_plan import Calls, Plan, texts_of
from tests.benchmarks.scoring_process import ENVIRONMENT, scorer
from tests.benchmarks.scoring_results import (
    MIX,
    Measured,
    bars,
    budget_table,
    fastest,
    kinds,
    latency_table,
    speed_table,
)
from tests.benchmarks.scoring_rounds import measure_mix
from tests.benchmarks.texts import TextSource
from training.parent import load_tokenizer


def scoring(bench: Bench, plan: Plan | None = None, forms: Sequence[Form] | None = None) -> Result:
    """Throughput, latency and fidelity of every form of `bench.reference`."""
    plan, forms, result, began = plan or Plan(), forms or runnable(), Result("scoring"), time.perf_counter()
    artifact, exported = read_artifact(bench.reference), prepare(bench.reference, bench.out)
    source = TextSource(artifact.tokenizer_file)
    requests = source.requests(plan.http_requests, plan.http_documents)
    texts = texts_of(plan, source) | {TEXTS: [request.pairs for request in requests]}
    file = bench.out / "scoring-texts.json"
    file.write_text(json.dumps(texts), encoding="utf-8")
    peak = peaks(ENVIRONMENT)
    measured: list[Measured] = []
    foreign: list[float] = []
    with ExitStack() as stack:
        names = [PEER, *(form.name for form in forms)]
        scorers = {name: stack.enter_context(scorer(name, bench.reference, exported, file)) for name in names}
        for mix, count in plan.pairs.items():
            print(f"  {mix} ...", flush=True)
            work = _gflop(artifact, texts[mix]) / count
            pairs_at_peak = {kind: rate / work for kind, rate in peak.items()}
            of_mix, others = measure_mix(mix, plan, scorers, forms, pairs_at_peak)
            measured, foreign = measured + of_mix, foreign + others
        _report(result, measured, foreign, peak)
        for form, size in _chosen(measured, forms):
            print(f"  HTTP, {form.name} ...", flush=True)
            directory = form.directory(bench.reference, exported)
            served = Served(form, scorers[form.name], size, directory, form.flags(exported))
            over_http(result, served, requests, plan.http_rounds, bench.out)
    result.add("whole scenario", time.perf_counter() - began, "s")
    (bench.out / "scoring.json").write_text(json.dumps([asdict(each) for each in measured], indent=1), encoding="utf-8")
    return result


def _gflop(artifact: Artifact, calls: Calls) -> float:
    """Work of all calls in matrix products, without padding."""
    options = EncodeOptions(max_length=artifact.max_length)
    tokenizer = load_tokenizer(artifact)
    return gflop(artifact.config, [len(row) for pairs in calls for row in tokenizer.encode_pairs(pairs, options)])


def _report(result: Result, measured: Sequence[Measured], foreign: Sequence[float], peak: dict[str, float]) -> None:
    result.tables += [speed_table(measured), budget_table(measured), latency_table(measured)]
    for bar in bars(measured):
        result.at_least(bar.quantity, bar.value, "ratio", bar.bar)
    slowest = min((each for each in measured if each.name != PEER), key=lambda each: median(each.ratios))
    result.add(f"slowest form / peer ({slowest.name}, {slowest.mix})", median(slowest.ratios), "ratio")
    for kind, rate in peak.items():
        result.add(f"matrix products, {kind}", rate, "GFLOP/s")
    result.add("foreign CPU share, median round", median(foreign), "%")
    result.add("foreign CPU share, worst round", max(foreign), "%")
    for each in measured:
        result.series[f"pairs/s|{each.mix}|{each.name}"] = each.rates
        result.series[f"latency|{each.mix}|{each.name}"] = each.latencies_ms
        if each.mix == MIX and each.name != PEER:
            sizes, medians = ",".join(map(str, each.sweep)), map(median, each.latency_sweep.values())
            result.series[f"budget|{sizes}|{each.name}"] = list(each.sweep.values())
            result.series[f"latency by budget|{sizes}|{each.name}"] = list(medians)


def _chosen(measured: Sequence[Measured], forms: Sequence[Form]) -> list[tuple[Form, int]]:
    """The fastest form of each kind, with its batch budget."""
    best = {each.name: each for kind in kinds(measured) for each in [fastest(measured, kind)]}
    return [(form, best[form.name].size) for form in forms if form.name in best]
