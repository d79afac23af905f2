"""`python -m tests.benchmarks`, also `make bench`: runs the scenarios, prints one table, writes it and a plot."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import psutil

from app.config import Settings
from app.model.backends import BackendOptions
from app.model.batch_budget import DEFAULT_BUDGET
from app.model.bucketing import Budget
from app.model.hub import HubOptions
from app.model.parity import ParityPolicy
from app.model.tuning import Tuner
from app.model.tuning_cache import TuningCache
from tests.benchmarks.bench import Bench, Scenario
from tests.benchmarks.lone import lone
from tests.benchmarks.mixed import mixed, mixed_poisson
from tests.benchmarks.overload import overload
from tests.benchmarks.plot import write_plot
from tests.benchmarks.ranking import ranking
from tests.benchmarks.report import write_table
from tests.benchmarks.saturation import saturation
from tests.benchmarks.scoring import scoring
from tests.benchmarks.texts import TextSource

SCENARIOS: dict[str, Scenario] = {
    "saturation": saturation,
    "lone": lone,
    "mixed": mixed,
    "mixed-poisson": mixed_poisson,
    "overload": overload,
    "scoring": scoring,
    "ranking": ranking,
}
FP32_TOLERANCE, INT8_TOLERANCE = 1e-5, 0.05
"""Dynamic int8 scales activations by the extremes of the whole batch: scores depend on what shares a batch."""


def main() -> int:
    """Exit code 0 when every bar is met, 1 otherwise."""
    arguments = _parser().parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    bench = _prepare(arguments, out)
    chosen = arguments.only or [name for name in SCENARIOS if _possible(name, bench)]
    backend = bench.engine.backend
    heading = f"{backend.source} on {backend.name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} at start"
    print(heading, f"{psutil.cpu_percent(1.0):.0f} % of the CPU busy before the bench", sep="; ")
    results = []
    for name in chosen:
        print(f"running {name} ...", flush=True)
        results.append(SCENARIOS[name](bench))
    figures = [figure for result in results for figure in result.figures]
    write_table(results, out, heading)
    write_plot(results, out / "bench.png", heading)
    missed = [figure for figure in figures if figure.passed is False]
    print(f"\n{len(missed)} bars missed; written to {out}")
    return bool(missed)


def _possible(name: str, bench: Bench) -> bool:
    """Whether what a scenario needs is there; says so if not."""
    if name in ("scoring", "ranking") and not bench.reference.is_dir():
        print(f"no model in {bench.reference}: {name} is left out; give --reference")
        return False
    if name == "ranking" and bench.data is None:
        print("no evaluation sets: ranking is left out; give --data")
        return False
    return True


def _prepare(arguments: argparse.Namespace, out: Path) -> Bench:
    """The model in the form, and with the batch budget, that the service chooses: it reads the same measurements."""
    settings = Settings()
    tuner = Tuner(BackendOptions(), ParityPolicy(), TuningCache.at(settings.cache_dir), settings.max_batch_rows)
    engine, tokens = tuner.load(arguments.model, settings.backend, HubOptions())
    source, budget = TextSource(engine.artifact.tokenizer_file), Budget(max_tokens=tokens or DEFAULT_BUDGET)
    model, seconds, reference, data = arguments.model, arguments.seconds, arguments.reference, arguments.data
    bench = Bench(model, engine, budget, source, seconds, FP32_TOLERANCE, out, reference, data)
    return replace(bench, tolerance=INT8_TOLERANCE) if bench.is_int8 else bench


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--model", default="default", help="'default' or a directory with an ONNX graph")
    parser.add_argument(
        "--reference",
        type=Path,
        default=Path("runs/default"),
        help="trained PyTorch directory to export and compare with sentence-transformers (default: where the default "
        "recipe writes)",
    )
    parser.add_argument("--data", type=Path, help="evaluation sets in BEIR layout, each in a directory of its name")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="one scenario; repeat for several")
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long one round lasts [s]")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="where table and plot are written")
    return parser


if __name__ == "__main__":
    sys.exit(main())
