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


def is_lossless(graph: Mapping[str, Any]) -> bool:
    """Whether a manifest's entry for a graph shows that it scores as its reference does; False without figures."""
    parity = graph.get("parity") or {}
    difference, tau = parity.get("max_score_difference"), parity.get("kendall_tau")
    return difference is not None and tau is not None and difference <= LOSSLESS_DIFFERENCE and tau >= LOSSLESS_TAU


def faults(graph: Mapping[str, Any], policy: ParityPolicy) -> list[str]:
    """What speaks against a graph by its manifest entry; empty where nothing does, or nothing is known."""
    if policy.action == "ignore":
        return []
    parity = graph.get("parity") or {}
    found = []
    if graph.get("within_thresholds") is False:
        found.append("it missed the parity thresholds of its export")
    difference, tau = parity.get("max_score_difference"), parity.get("kendall_tau")
    if policy.max_score_difference is not None and difference is not None and difference > policy.max_score_difference:
        found.append(f"its scores differ by up to {difference:.3g}, allowed are {policy.max_score_difference:.3g}")
    if policy.min_kendall_tau is not None and tau is not None and tau < policy.min_kendall_tau:
        found.append(f"its Kendall tau is {tau:.4g}, asked for are {policy.min_kendall_tau:.4g}")
    return found


def enforce(artifact: Artifact, source: str, policy: ParityPolicy) -> None:
    """Warns of an unfaithful graph that is about to be served, or raises ArtifactError, as the policy says."""
    found = faults(manifest_graphs(artifact).get(source, {}), policy)
    if not found:
        return
    message = f"{artifact.directory / source}: {'; '.join(found)}"
    if policy.action == "refuse":
        raise ArtifactError(f"{message}; export the model again, or set --parity-policy warn")
    log.warning(message)


def manifest_graphs(artifact: Artifact) -> Mapping[str, Mapping[str, Any]]:
    """The manifest's entries for exported graphs; empty without a manifest."""
    return artifact.manifest.graphs if artifact.manifest is not None else {}
