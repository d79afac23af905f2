"""The whole card: front matter and sections put into the template."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.cross_encoder.card import datasets, evaluations, hyperparameters, logs, machine, usage
from training.cross_encoder.card.markdown import duration, escape, fence, folded, one_line, plural, squeeze

if TYPE_CHECKING:
    from jinja2 import Template

    from training.cross_encoder.model_card import CrossEncoderModelCardData

FRONT_MATTER = (
    "language",
    "license",
    "library_name",
    "tags",
    "datasets",
    "metrics",
    "pipeline_tag",
    "model-index",
    "co2_eq_emissions",
    "base_model",
)


def front_matter(data: dict[str, Any]) -> str:
    """The YAML of the card's first block; texts in it stay on one line, whatever they hold."""
    import yaml

    fields = {key: _on_one_line(data[key]) for key in FRONT_MATTER if data.get(key) not in (None, "", [], {})}
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=1_000_000).strip()


def _on_one_line(value: Any) -> Any:
    if isinstance(value, dict):
        return {one_line(key): _on_one_line(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_on_one_line(item) for item in value]
    return one_line(value) if isinstance(value, str) else value


def render(card: CrossEncoderModelCardData) -> str:
    """The card's text; the model must be registered."""
    data = card.to_dict()
    sections = _about(card, data) | _usage(card) | _training(card, data)
    return squeeze(_template().render(front_matter=front_matter(data), **sections))


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    # No automatic escaping: this is Markdown, and every value is escaped where it is written.
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)  # noqa: S701
    return environment.from_string(Path(__file__).with_name("template.md").read_text(encoding="utf-8"))


def _about(card: CrossEncoderModelCardData, data: dict[str, Any]) -> dict[str, Any]:
    model = card.model
    labels = int(model.num_labels)
    named = [facts for facts in card.training_facts() if facts.name or facts.id]
    base = _base_model(card)
    return {
        "title": escape(data["model_name"]),
        "origin": f" finetuned from {base}" if base else " trained" if named else "",
        "on_datasets": datasets.sentence_of(named),
        "task": escape(card.task_name or "scoring pairs of texts"),
        "base_model": base + (f" <!-- at revision {card.base_model_revision} -->" if card.base_model_revision else ""),
        "max_length": _max_length(model),
        "labels": f"{labels} {plural('label', labels)}",
        "dataset_names": [datasets.linked(facts) for facts in named],
        "languages": [escape(language) for language in card.language or []],
        "license": escape(card.license) if card.license else "",
        "architecture": fence(str(model)),
    }


def _base_model(card: CrossEncoderModelCardData) -> str:
    if not card.base_model:
        return ""
    return f"[{escape(card.base_model)}](https://huggingface.co/{card.base_model})"


def _max_length(model: Any) -> Any:
    return getattr(model, "max_seq_length", None) or getattr(model, "max_length", None) or "unknown"


def _usage(card: CrossEncoderModelCardData) -> dict[str, Any]:
    model_id = card.model_id or usage.PLACEHOLDER
    snippet = usage.snippet(card.model, card.example_pairs(), model_id, card.generate_widget_examples)
    return {"usage": fence(snippet, "python"), "model_id": repr(model_id)}


def _training(card: CrossEncoderModelCardData, data: dict[str, Any]) -> dict[str, Any]:
    run, best_step = card.run, card.best_model_step
    elapsed = run.clock.elapsed()
    emissions = data.get("co2_eq_emissions")
    found = {"training": card.training_facts(), "evaluation": card.evaluation_facts()}
    shown = hyperparameters.listing(run.hyperparameters)
    return {
        "evaluations": evaluations.sections(card.evaluations, best_step),
        "trained": bool(card.is_trained() or found["training"] or found["evaluation"]),
        "dataset_sections": [
            (plural(f"{kind.title()} Dataset", len(facts)), datasets.sections(facts, kind, card.count_tokens))
            for kind, facts in found.items()
            if facts
        ],
        "hyperparameters": folded("Click to expand", shown) if shown else "",
        "non_default": hyperparameters.listing(run.non_default),
        "logs": logs.section(run.logs, best_step) if run.logs else "",
        "impact": machine.impact(emissions) if emissions else "",
        "hardware": machine.hardware(emissions) if card.is_trained() else "",
        "training_time": "" if elapsed is None else duration(max(elapsed - run.clock.evaluating_s, 0.0)),
        "evaluation_time": duration(run.clock.evaluating_s) if run.clock.evaluating_s else "",
        "total_time": "" if elapsed is None else duration(elapsed),
        "versions": machine.versions(),
        "citations": {name: fence(citation, "bibtex") for name, citation in run.citations.items()},
    }
