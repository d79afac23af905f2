"""The datasets of a training run: what the card remembers of them, and their sections."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.cross_encoder.card.losses import LossFacts, facts_of_loss
from training.cross_encoder.card.markdown import code, escape, folded, joined
from training.cross_encoder.card.parameters import parameters_block
from training.cross_encoder.card.statistics import ROWS, CountTokens, samples_table, statistics_table

logger = logging.getLogger(__name__)
MOST_UNFOLDED = 3
LONGEST_NAMES = 200
UNNAMED = "Unnamed Dataset"
_HUB_SOURCE = re.compile(r"hf://datasets/(?P<id>[^@]+)@(?P<revision>[^/]+)")


@dataclass
class DatasetFacts:
    """What the card says of one dataset: plain values, so that neither the data nor its files are held."""

    name: str | None = None
    id: str | None = None
    revision: str | None = None
    size: int | None = None
    columns: list[str] = field(default_factory=list)
    rows: dict[str, list[Any]] = field(default_factory=dict)
    """The first 100 rows, by column."""
    loss: LossFacts | None = None


def facts_of(dataset: Any, loss: Any, given: Sequence[Mapping[str, Any]]) -> list[DatasetFacts]:
    """Of each dataset in `dataset` (one, or a mapping by name); `given` are the user's names and ids, in that order.

    Where the user's number does not match, they are left aside with a warning.
    """
    named = dict(dataset) if isinstance(dataset, Mapping) else {None: dataset}
    if given and len(given) != len(named):
        logger.warning("Model card: %d datasets are described, %d are used: no names taken", len(given), len(named))
        given = []
    entries = given or [{}] * len(named)
    found = []
    for (name, one), entry in zip(named.items(), entries, strict=True):
        facts = _facts_of_one(one, name)
        facts.loss = facts_of_loss(loss.get(name) if isinstance(loss, Mapping) else loss)
        facts.name = entry.get("name") or facts.name
        facts.id = entry.get("id") or facts.id
        facts.revision = entry.get("revision") or facts.revision
        found.append(facts)
    return found


def facts_given(given: Sequence[Mapping[str, Any]]) -> list[DatasetFacts]:
    """Of datasets that are only named."""
    keys = ("name", "id", "revision", "size")
    return [DatasetFacts(**{key: entry[key] for key in keys if entry.get(key)}) for entry in given]


def _facts_of_one(dataset: Any, name: str | None) -> DatasetFacts:
    info = getattr(dataset, "info", None)
    facts = DatasetFacts(name=name or getattr(info, "dataset_name", None))
    if facts.name and re.fullmatch(r"_dataset_\d+", facts.name):
        facts.name = None  # a name that `fit` made up
    source = next(iter(getattr(info, "download_checksums", None) or ()), "")
    if match := _HUB_SOURCE.match(source):
        facts.id = match["id"]
        facts.revision = match["revision"] if len(match["revision"]) == 40 else None
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        facts.size = len(dataset)
        facts.rows = _first_rows(dataset)
        facts.columns = list(facts.rows)
    else:  # a stream is not read: that would cost a download, or rows
        names = getattr(dataset, "column_names", None) or []
        facts.columns = [column for column in names if column != "dataset_name"]
    return facts


def _first_rows(dataset: Any) -> dict[str, list[Any]]:
    """As Python values, whatever the format; a transform of the user's is applied, since training sees its columns."""
    if dataset.format["type"] != "custom":
        dataset = dataset.with_format(None)
    rows = dataset[: min(ROWS, len(dataset))] if len(dataset) else {name: [] for name in dataset.column_names}
    return {name: list(values) for name, values in rows.items() if name != "dataset_name"}


def linked(facts: DatasetFacts) -> str:
    name = escape(facts.name or facts.id or UNNAMED)
    return f"[{name}](https://huggingface.co/datasets/{facts.id})" if facts.id else name


def sentence_of(datasets: Sequence[DatasetFacts]) -> str:
    """' on the A and B datasets', ' on 12 datasets' where the names are long, '' where there are none."""
    named = [facts for facts in datasets if facts.name or facts.id]
    if not named:
        return ""
    word = "dataset" if len(named) == 1 else "datasets"
    if len(", ".join(facts.name or facts.id or "" for facts in named)) > LONGEST_NAMES:
        return f" on {len(named)} {word}"
    return f" on the {joined(linked(facts) for facts in named)} {word}"


def sections(datasets: Sequence[DatasetFacts], kind: str, count_tokens: CountTokens) -> str:
    """One section per dataset, of `kind` "training" or "evaluation"; more than three are folded."""
    parts = [_section(facts, kind, count_tokens) for facts in datasets]
    if len(datasets) > MOST_UNFOLDED:
        summaries = [escape(facts.name or facts.id or UNNAMED) for facts in datasets]
        parts = [folded(summary, part) for summary, part in zip(summaries, parts, strict=True)]
    return "\n\n".join(parts)


def _section(facts: DatasetFacts, kind: str, count_tokens: CountTokens) -> str:
    lines = [f"#### {escape(facts.name or facts.id or UNNAMED)}", ""]
    if facts.id:
        lines.append(f"* Dataset: {linked(facts)}{_at_revision(facts)}")
    if facts.size is not None:
        lines.append(f"* Size: {facts.size:,} {kind} samples")
    if facts.columns:
        lines.append(f"* Columns: {joined(code(column) for column in facts.columns)}")
    if any(facts.rows.values()):
        count = len(next(iter(facts.rows.values())))
        lines += [f"* Approximate statistics based on the first {count} samples:", ""]
        lines += [_indented(statistics_table(facts.rows, count_tokens)), "* Samples:", ""]
        lines.append(_indented(samples_table(facts.rows)))
    if facts.loss:
        lines.append(f"* Loss: {code(facts.loss.name)}{' with these parameters:' if facts.loss.config else ''}")
        lines += [_indented(parameters_block(facts.loss.config))] if facts.loss.config else []
    return "\n".join(lines)


def _at_revision(facts: DatasetFacts) -> str:
    if not facts.revision:
        return ""
    return f" at [{facts.revision[:7]}](https://huggingface.co/datasets/{facts.id}/tree/{facts.revision})"


def _indented(block: str) -> str:
    """Inside of the list item above."""
    return "\n".join(f"  {line}" for line in block.splitlines())
