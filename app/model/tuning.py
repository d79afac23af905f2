"""Loads a model in the form that is fastest on this machine: measured at the first start, remembered for the next."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from app.errors import StartupError
from app.model.artifact import Artifact, read_artifact
from app.model.backends import Backend, BackendOptions, Compiling, Precision, backend_class
from app.model.batch_budget import is_measured, measure_budget
from app.model.candidates import LOSS, Candidate, candidates, precision_of
from app.model.contest import hold
from app.model.cpus import available_cpus, cpu_model
from app.model.cross_encoder import CrossEncoder
from app.model.gpus import gpu_models
from app.model.hub import HubOptions, resolve
from app.model.messages import first_line
from app.model.parity import ParityPolicy, enforce, manifest_graphs
from app.model.placement import fixed_backend, installed_runtimes, readable, runtime_versions, select_weights
from app.model.tuning_cache import TuningCache

log = logging.getLogger(__name__)

CONTEST_S = 1.2
"""Most time for measuring candidates: with `BUDGET_S` 2 s in all, beside the loading of the candidates."""
COMPILING = "its machine code is being made, for the starts to come"
STARTS = 3
"""Starts at which a measurement that the limit cut short is tried again: the machine may have been busy."""

Wrap = Callable[[Artifact, Backend], CrossEncoder]
"""`CrossEncoder.of` with the limits that the user set."""


class Tuned(NamedTuple):
    """A loaded model, and the batch budget that suits it and the machine; None where that was not measured."""

    model: CrossEncoder
    max_batch_tokens: int | None


@dataclass(frozen=True, slots=True)
class Tuner:
    """How models are loaded. `max_rows` bounds measured batches; 0 leaves the batch budget alone."""

    options: BackendOptions
    parity: ParityPolicy
    cache: TuningCache
    max_rows: int = 256

    def load(self, model: str, backend: str, hub: HubOptions, wrap: Wrap = CrossEncoder.of) -> Tuned:
        """The model on the named backend, or with `auto` on what is, or was, measured to be fastest here.

        Raises ArtifactError or ConfigError.
        """
        directory = resolve(model, hub, lambda names: select_weights(backend, names, self.options))
        artifact = read_artifact(directory)
        found = self._candidates(artifact, backend)
        tuned = self._tuned(artifact, found, wrap)
        enforce(artifact, tuned.model.backend.source, self.parity, tuned.model.backend.name)
        return tuned

    def _candidates(self, artifact: Artifact, backend: str) -> list[Candidate]:
        """What competes, the default form first; where nothing does, one whose graph its backend finds itself."""
        names, options = artifact.files(), self.options
        fixed = backend if backend != "auto" else fixed_backend(names, options)
        if fixed:
            return [Candidate(fixed, options.graph, options.precision)]
        runtimes = installed_runtimes()
        bf16 = any("bf16" in word for word in cpu_model().split())
        graphs = manifest_graphs(artifact)
        return candidates(readable(names, runtimes), graphs, options, self.parity, runtimes, bf16)

    def _tuned(self, artifact: Artifact, found: Sequence[Candidate], wrap: Wrap) -> Tuned:
        def build(candidate: Candidate) -> CrossEncoder:
            options = replace(self.options, graph=candidate.graph, precision=candidate.precision)
            return wrap(artifact, backend_class(candidate.backend)(artifact, options))

        key = self._key(artifact, found)
        kept = _sound(self.cache.read(key))
        if 0 < kept.get("unfinished_starts", 0) < STARTS:
            kept = {"unfinished_starts": kept["unfinished_starts"]}
        model = _remembered(artifact, found, kept, build)
        measured: dict[str, Any] = {}
        if model is None:
            model, measured = self._contest(artifact, found, build)
        if self.max_rows and is_measured(model.backend.device) and not kept.get("max_batch_tokens"):
            figures = measure_budget(model, self.max_rows)
            measured |= {**figures, "complete": measured.get("complete", True) and figures["complete"]}
        if measured:
            complete, waiting = measured.pop("complete"), COMPILING in measured.get("dropped", {}).values()
            unfinished = max(1, kept.get("unfinished_starts", 0) + (not waiting))
            kept |= {**measured, "unfinished_starts": 0 if complete else unfinished}
            self.cache.write(key, kept)
            log.info("measured", extra={"model": artifact.directory.name, **kept})
        return Tuned(model, kept.get("max_batch_tokens") if self.max_rows else None)

    def _contest(
        self, artifact: Artifact, found: Sequence[Candidate], build: Callable[[Candidate], CrossEncoder]
    ) -> tuple[CrossEncoder, dict[str, Any]]:
        graphs = manifest_graphs(artifact)

        def precision(candidate: Candidate) -> Precision:
            return max(candidate.precision, precision_of(candidate.graph, graphs), key=LOSS.__getitem__)

        waiting = _compiled_aside(artifact, found[1:])
        try:
            contest = hold([each for each in found if each not in waiting], build, precision, CONTEST_S)
        except (StartupError, ImportError):
            if not waiting:
                raise
            contest, waiting = hold(waiting, build, precision, CONTEST_S), []
        rates = {" ".join(candidate): round(rate) for candidate, rate in contest.rates.items()}
        reasons = {**contest.dropped, **dict.fromkeys(waiting, COMPILING)}
        dropped = {" ".join(candidate): reason for candidate, reason in reasons.items()}
        figures = {
            "choice": list(contest.winner),
            "tokens_per_s": rates,
            "dropped": dropped,
            "complete": contest.complete and not waiting,
        }
        return contest.model, figures if len(found) > 1 else {}

    def _key(self, artifact: Artifact, found: Sequence[Candidate]) -> dict[str, Any]:
        """Everything that a measurement depends on, as JSON."""
        gpus = [] if self.options.device == "cpu" else gpu_models()
        return {
            **({"gpus": gpus, "device": self.options.device} if gpus else {}),
            "cpu": cpu_model(),
            "threads": self.options.threads or available_cpus(),
            "artifact": artifact.digest(),
            "candidates": [list(candidate) for candidate in found],
            "versions": runtime_versions(dict.fromkeys(candidate.backend for candidate in found)),
            "max_rows": self.max_rows,
        }


def _sound(kept: dict[str, Any]) -> dict[str, Any]:
    """What the cache holds, or nothing where a hand or another version wrote what cannot be used."""
    numbers = [kept.get(name, 0) for name in ("max_batch_tokens", "unfinished_starts")]
    return kept if all(isinstance(number, int) and number >= 0 for number in numbers) else {}


def _needs_compiling(artifact: Artifact, candidate: Candidate) -> bool:
    """Whether the first use of a candidate here would take longer than a start should."""
    try:
        found = backend_class(candidate.backend)
        return isinstance(found, Compiling) and not found.is_compiled(artifact, candidate.graph)
    except (StartupError, ImportError):  # loading it will say so, where that can be told
        return False


def _compiled_aside(artifact: Artifact, found: Sequence[Candidate]) -> list[Candidate]:
    """Those of the candidates that need compiling, which begins beside this start."""
    waiting = [candidate for candidate in found if _needs_compiling(artifact, candidate)]
    for backend in dict.fromkeys(candidate.backend for candidate in waiting):
        compiling = cast(Compiling, backend_class(backend))
        compiling.compile_aside(artifact, [each.graph for each in waiting if each.backend == backend])
    return waiting


def _remembered(
    artifact: Artifact, found: Sequence[Candidate], kept: dict[str, Any], build: Callable[[Candidate], CrossEncoder]
) -> CrossEncoder | None:
    """The model in the form that won earlier, if there was a contest and that form still loads."""
    choice = next((candidate for candidate in found if list(candidate) == kept.get("choice")), None)
    if choice is None:
        return None
    try:
        if choice != found[0] and _needs_compiling(artifact, choice):
            return None
        model = build(choice)
    except (StartupError, ImportError) as error:
        log.warning("%s does not load any more (%s); measuring again", " ".join(choice), first_line(error))
        return None
    log.info("measured earlier", extra={"model": model.artifact.directory.name, **kept})
    return model
