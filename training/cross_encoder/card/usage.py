"""The usage section: example pairs out of the data, and the scores the model really gives them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from training.cross_encoder.sharded import is_sharded

logger = logging.getLogger(__name__)
MOST_PAIRS = 5
LONGEST_TEXT = 400
PLACEHOLDER = "cross_encoder_model_id"
DEFAULT_PAIRS = [
    ("What is the capital of France?", "Paris is the capital and the largest city of France."),
    ("What is the capital of France?", "France borders Germany, Italy and Spain."),
    ("What is the capital of France?", "A baguette is a long, thin loaf of bread."),
]
_NOT_TEXT = ("dataset_name", "label", "labels", "score", "scores")

Pair = tuple[str, str]


def example_pairs(rows: Mapping[str, Sequence[Any]]) -> list[Pair]:
    """Up to five pairs of the first two text columns; of a column of lists, the texts of the first row's list."""
    columns = [name for name, values in rows.items() if name not in _NOT_TEXT and values and _is_text(values[0])]
    if len(columns) < 2:
        return []
    firsts, seconds = rows[columns[0]], rows[columns[1]]
    if isinstance(seconds[0], list):
        seconds = seconds[0]
        firsts = [firsts[0]] * len(seconds)
    pairs = zip(firsts[:MOST_PAIRS], seconds[:MOST_PAIRS], strict=True)
    return [(a[:LONGEST_TEXT], b[:LONGEST_TEXT]) for a, b in pairs if isinstance(a, str) and isinstance(b, str)]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and isinstance(value[0], str))


def snippet(model: Any, pairs: Sequence[Pair], model_id: str, compute: bool) -> str:
    """Python that scores `pairs`; with the results as comments where `compute` is set and the model can run here."""
    scores, ranks = _results(model, pairs) if compute else ("", "")
    lines = [
        "from training import CrossEncoder",
        "",
        f"model = CrossEncoder({model_id!r})",
        "# Scores of pairs of texts",
        "pairs = [",
        *(f"    [{first!r}, {second!r}]," for first, second in pairs),
        "]",
        "scores = model.predict(pairs)",
        *(["print(scores)", scores] if scores else ["print(scores.shape)", f"# {_shape(model, pairs)}"]),
    ]
    if _labels(model) == 1:
        lines += [
            "",
            "# Or the order of several texts for one query",
            "ranks = model.rank(",
            f"    {pairs[0][0]!r},",
            "    [",
            *(f"        {second!r}," for _, second in pairs),
            "    ],",
            ")",
            ranks or "# [{'corpus_id': ..., 'score': ...}, ...]",
        ]
    return "\n".join(lines)


def _labels(model: Any) -> int:
    return int(getattr(model, "num_labels", 1))


def _shape(model: Any, pairs: Sequence[Pair]) -> str:
    return f"({len(pairs)},)" if _labels(model) == 1 else f"({len(pairs)}, {_labels(model)})"


def _results(model: Any, pairs: Sequence[Pair]) -> tuple[str, str]:
    """The scores and the ranking as comments; two empty texts where the model cannot predict."""
    if is_sharded(model):  # one process alone would wait for the others' weights for ever
        return "", ""
    training = model.training
    try:
        return _scores(model, pairs), _ranks(model, pairs) if _labels(model) == 1 else ""
    except Exception as error:  # the card is worth having without them
        logger.warning("Model card: no scores in the usage example: %s", error)
        return "", ""
    finally:
        model.train(training)


def _scores(model: Any, pairs: Sequence[Pair]) -> str:
    import numpy as np

    scores = np.asarray(model.predict([list(pair) for pair in pairs], show_progress_bar=False))
    with np.printoptions(precision=4, suppress=True):
        return "\n".join(f"# {line}" for line in str(scores).splitlines())


def _ranks(model: Any, pairs: Sequence[Pair]) -> str:
    ranks = model.rank(pairs[0][0], [second for _, second in pairs], show_progress_bar=False)
    shown = [{"corpus_id": int(rank["corpus_id"]), "score": round(float(rank["score"]), 4)} for rank in ranks]
    return f"# {shown}"
