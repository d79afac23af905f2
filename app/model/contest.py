"""Loads the candidates for serving a model and lets them score the same batches against each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.errors import StartupError
from app.model.candidates import Candidate
from app.model.cross_encoder import CrossEncoder
from app.model.measuring import Run, Timing, compare, first_near_best
from app.model.messages import first_line
from app.model.types import Batch, Encoded, EncodeOptions, FloatArray

SHAPES = ((4, 64), (1, 256))
"""(rows, tokens) of the batches that candidates are compared with: passages, and a long document."""
ENOUGH = 2
"""Timings that a choice can rest on."""
NO_TIME = "no time left to load it"
AGREEMENT = {"fp32": 1e-3, "fp16": 0.1, "bf16": 0.1, "int16": 0.01, "int8": 1.0}
"""How far logits may be from the default form's, by the less precise of the two and in units of the largest logit (at
least 1). Sound runtimes stay far below, a broken one gives something else altogether."""


@dataclass(slots=True)
class Contest:
    """What came of it: `rates` of those that ran [tokens/s], and why each of the others did not.

    `complete`: whether the time sufficed for all of them.
    """

    winner: Candidate
    model: CrossEncoder
    rates: dict[Candidate, float] = field(default_factory=dict)
    dropped: dict[Candidate, str] = field(default_factory=dict)
    complete: bool = True


@dataclass(slots=True)
class _Entrant:
    """A loaded candidate on the batches of the contest."""

    candidate: Candidate
    model: CrossEncoder
    batches: list[Batch]
    logits: FloatArray | None = None
    failure: str = ""

    def score(self) -> None:
        """Scores the batches, and keeps what a runtime that cannot says: the others go on."""
        if self.failure:
            return
        try:
            self.logits = np.concatenate([self.model.forward(batch) for batch in self.batches])
        except Exception as error:  # each runtime has its own classes
            self.failure = first_line(error)


def hold(
    found: Sequence[Candidate],
    build: Callable[[Candidate], CrossEncoder],
    precision: Callable[[Candidate], str],
    limit_s: float,
) -> Contest:
    """The fastest of the candidates, the first of which is the default form and wins a draw.

    Timing them takes at most the limit; so does, beforehand, loading all but the first, except that what is being
    loaded is finished. One that cannot be loaded, fails or scores otherwise than the default is left out. Raises what
    the first candidate raised if none can be loaded.
    """
    entrants, dropped = _load_all(found, build, limit_s)
    runs = [Run(sum(int(batch["input_ids"].size) for batch in each.batches), each.score) for each in entrants]
    timing = compare(runs, limit_s) if len(entrants) > 1 else Timing([0.0], [ENOUGH])
    reference = entrants[0]
    sound: dict[Candidate, float] = {}
    for each, rate in zip(entrants, timing.rates, strict=True):
        fault = each.failure or _disagreement(each, reference, precision)
        if fault and each is not reference:
            dropped[each.candidate] = fault
        else:
            sound[each.candidate] = rate
    winner = list(sound)[first_near_best(list(sound.values()))]
    model = next(each.model for each in entrants if each.candidate == winner)
    complete = min(timing.counts) >= ENOUGH and NO_TIME not in dropped.values()
    return Contest(winner, model, {key: rate for key, rate in sound.items() if rate}, dropped, complete)


def _load_all(
    found: Sequence[Candidate], build: Callable[[Candidate], CrossEncoder], limit_s: float
) -> tuple[list[_Entrant], dict[Candidate, str]]:
    entrants: list[_Entrant] = []
    dropped: dict[Candidate, str] = {}
    errors: list[Exception] = []
    deadline = float("inf")
    for candidate in found:
        if time.perf_counter() > deadline:
            dropped[candidate] = NO_TIME
            continue
        try:
            model = build(candidate)
        except (StartupError, ImportError) as error:  # ImportError: a runtime whose own libraries are missing
            errors.append(error)
            dropped[candidate] = first_line(error)
            continue
        entrants.append(_Entrant(candidate, model, sample_batches(model)))
        if len(entrants) == 1:
            deadline = time.perf_counter() + limit_s
    if not entrants:
        raise errors[0]
    return entrants, dropped


def sample_batches(model: CrossEncoder) -> list[Batch]:
    """The batches of a contest, of rows no two of which are the same."""
    return [model.pad(sample_rows(model, rows, tokens)) for rows, tokens in SHAPES]


def sample_rows(model: CrossEncoder, rows: int, tokens: int) -> list[Encoded]:
    """Pairs of letters, cut to `tokens` or the model's limit: every tokenizer knows them."""
    limit = min(tokens, model.max_length)
    words = [chr(ord("a") + i % 26) for i in range(limit + rows)]
    pairs = [(words[row], " ".join(words[row : row + limit])) for row in range(rows)]
    return model.tokenizer.encode_pairs(pairs, EncodeOptions(limit))


def _disagreement(each: _Entrant, reference: _Entrant, precision: Callable[[Candidate], str]) -> str:
    """How an entrant's logits differ from the reference's by more than they may; empty if they do not."""
    if each.logits is None or reference.logits is None:
        return ""
    far = float(np.abs(each.logits - reference.logits).max())
    unit = max(1.0, float(np.abs(reference.logits).max()))
    allowed = unit * max(AGREEMENT[precision(one.candidate)] for one in (each, reference))
    return "" if far <= allowed else f"its logits differ by {far:.3g} from those of the default form"
