"""Whether a graph is faithful enough to serve, by the figures that its export wrote into the manifest."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.errors import ArtifactError
from app.model.artifact import Artifact

log = logging.getLogger(__name__)

LOSSLESS_DIFFERENCE, LOSSLESS_TAU = 1e-3, 0.999
"""A graph within both ranks as its float32 reference does, whatever arithmetic it uses."""


@dataclass(frozen=True, slots=True)
class ParityPolicy:
    """What to do with a graph that its manifest calls unfaithful, or that is outside these bounds of its reference."""

    action: Literal["warn", "refuse", "ignore"] = "warn"
    max_score_difference: float | None = None
    min_kendall_tau: float | None = None


def is_lossless(graph: Mapping[str, Any], backend: str = "") -> bool:
    """Whether a manifest's entry for a graph shows that it scores as its reference does; False without figures.

    They are those of `backend`, as in `figures_on`.
    """
    parity = figures_on(graph, backend)
    difference, tau = parity.get("max_score_difference"), parity.get("kendall_tau")
    return difference is not None and tau is not None and difference <= LOSSLESS_DIFFERENCE and tau >= LOSSLESS_TAU


def figures_on(graph: Mapping[str, Any], backend: str = "") -> Mapping[str, float]:
    """What was measured with a graph on `backend`, or else on the runtime that it was made for; maybe nothing."""
    return (graph.get("parity_on") or {}).get(backend) or graph.get("parity") or {}


def _within_thresholds(graph: Mapping[str, Any], backend: str) -> bool:
    """The verdict of the export on the figures of `figures_on`; True where there is none."""
    if backend in (graph.get("parity_on") or {}):
        return backend in (graph.get("runtimes") or [])
    return graph.get("within_thresholds") is not False


def faults(graph: Mapping[str, Any], policy: ParityPolicy, backend: str = "") -> list[str]:
    """What speaks against serving a graph on `backend` by its manifest entry, of the figures of `figures_on`.

    Empty where nothing does, or nothing is known.
    """
    if policy.action == "ignore":
        return []
    parity = figures_on(graph, backend)
    found = []
    if not _within_thresholds(graph, backend):
        found.append("it missed the parity thresholds of its export")
    difference, tau = parity.get("max_score_difference"), parity.get("kendall_tau")
    if policy.max_score_difference is not None and difference is not None and difference > policy.max_score_difference:
        found.append(f"its scores differ by up to {difference:.3g}, allowed are {policy.max_score_difference:.3g}")
    if policy.min_kendall_tau is not None and tau is not None and tau < policy.min_kendall_tau:
        found.append(f"its Kendall tau is {tau:.4g}, asked for are {policy.min_kendall_tau:.4g}")
    return found


def enforce(artifact: Artifact, source: str, policy: ParityPolicy, backend: str = "") -> None:
    """Warns of an unfaithful graph that `backend` is about to serve, or raises ArtifactError, as the policy says."""
    found = faults(manifest_graphs(artifact).get(source, {}), policy, backend)
    if not found:
        return
    where = f" on {backend}" if backend else ""
    message = f"{artifact.directory / source}{where}: {'; '.join(found)}"
    if policy.action == "refuse":
        raise ArtifactError(f"{message}; export the model again, or set --parity-policy warn")
    log.warning(message)


def manifest_graphs(artifact: Artifact) -> Mapping[str, Mapping[str, Any]]:
    """The manifest's entries for exported graphs; empty without a manifest."""
    return artifact.manifest.graphs if artifact.manifest is not None else {}
