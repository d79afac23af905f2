"""What a faster form costs in quality: nDCG@10 of whole evaluation sets beside the float32 form's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.model.bucketing import Budget
from app.model.cross_encoder import CrossEncoder
from tests.benchmarks.bench import Bench, Result
from tests.benchmarks.forms import prepare, runnable
from tests.benchmarks.report import markdown
from training.data.beir import read_pool, read_retrieval
from training.metrics import Ranked, ndcg, order

SETS = ("selqa", "semeval_cqa_a", "wikiqa", "kpa")
"""Those with candidate lists of their own, `pools/test.tsv`, and more than 200 queries."""
REFERENCES = ("vnni fp32", "onnx fp32")
"""The first that the machine runs: within 1e-5 of PyTorch, so that no list changes."""
JUDGED = ("vnni int8", "vnni int16")
BAR, WANTED_SETS = 0.002, 3
BUDGET = Budget(max_tokens=4096)


@dataclass(frozen=True, slots=True)
class Lists:
    """Queries with a relevant candidate: one pair for each candidate, and the grades of each query's."""

    pairs: list[tuple[str, str]]
    grades: list[np.ndarray]


def ranking(bench: Bench) -> Result:
    """nDCG@10 of fixed-point forms on every set of `bench.data`. Raises SystemExit where there is none."""
    if bench.data is None:
        raise SystemExit("ranking: give --data, a directory of evaluation sets in BEIR layout")
    forms = {form.name: form for form in runnable()}
    exported, result = prepare(bench.reference, bench.out), Result("ranking")
    reference = next(forms[name] for name in REFERENCES if name in forms)
    changes: dict[str, list[float]] = {name: [] for name in JUDGED if name in forms}
    rows = []
    for name in SETS:
        lists = read_lists(bench.data / name)
        print(f"  {name}: {len(lists.grades)} queries, {len(lists.pairs)} pairs ...", flush=True)
        plain = quality(reference.load(bench.reference, exported), lists)
        for form in changes:
            change = quality(forms[form].load(bench.reference, exported), lists) - plain
            changes[form].append(float(abs(change.mean())))
            rows.append(_row(name, form, plain, change))
            result.series[f"change|{form}|{name}"] = [float(change.mean()), _error(change)]
    head = ("set", "queries", "form", f"nDCG@10 of {reference.name}", "change", "standard error", "lists that change")
    result.tables.append(markdown(head, rows))
    for form, found in changes.items():
        worst = sorted(found)[WANTED_SETS - 1]
        result.at_most(f"{form}, nDCG@10 change on {WANTED_SETS} of {len(SETS)} sets", worst, "nDCG", BAR)
        result.add(f"{form}, largest nDCG@10 change", max(found), "nDCG")
    return result


def read_lists(directory: Path) -> Lists:
    """The lists of a set's test split."""
    data, pool = read_retrieval(directory, "test"), read_pool(directory / "pools" / "test.tsv")
    pairs, grades = [], []
    for query, judged in data.qrels.items():
        documents = [key for key in pool.get(query, []) if key in data.corpus]
        own = np.array([judged.get(key, 0.0) for key in documents])
        if (own > 0).any():
            pairs += [(data.queries[query], data.corpus[key]) for key in documents]
            grades.append(own)
    return Lists(pairs, grades)


def quality(model: CrossEncoder, lists: Lists) -> np.ndarray:
    """nDCG@10 of each list, shape (lists,)."""
    rows = model.tokenizer.encode_pairs(lists.pairs, model.options)
    scores = model.logits(rows, BUDGET)[:, 0]
    parts = np.split(scores, np.cumsum([len(own) for own in lists.grades])[:-1])
    return np.array([_ndcg(own[order(part)]) for part, own in zip(parts, lists.grades, strict=True)])


def _ndcg(grades: np.ndarray) -> float:
    return float(ndcg(Ranked(grades[None], np.sort(grades[grades > 0])[::-1][None]), 10)[0])


def _row(name: str, form: str, plain: np.ndarray, change: np.ndarray) -> Sequence[str]:
    changed = str(int((change != 0).sum()))
    figures = (f"{plain.mean():.4f}", f"{change.mean():+.4f}", f"{_error(change):.4f}", changed)
    return (name, str(len(change)), form, *figures)


def _error(change: np.ndarray) -> float:
    """Standard error of the mean."""
    return float(change.std() / len(change) ** 0.5)
