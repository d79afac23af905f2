"""What a transformer is used for in a cross-encoder, as it stands in `sentence_bert_config.json`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

MODEL_TYPE = "CrossEncoder"
CLASSIFICATION = "sequence-classification"
FEATURES = "feature-extraction"
GENERATION = "text-generation"
OUTPUTS = {
    CLASSIFICATION: ("logits", "scores"),
    FEATURES: ("last_hidden_state", "token_embeddings"),
    GENERATION: ("logits", "causal_logits"),
}
"""By task: the field of the transformer's output, and the name of the feature that it becomes."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The task of the transformer, what is read off it, and whether texts reach it as messages of a chat."""

    task: str
    field: str
    feature: str
    chat: str | None = None
    """How a message holds its text: "flat" (a string) or "structured" (a list of parts); None: no messages."""

    def settings(self) -> dict[str, Any]:
        """As it is saved."""
        entry = {"method": "forward", "method_output_name": self.field}
        modalities: dict[str, Any] = {"text": entry}
        if self.chat is not None:
            modalities["message"] = {**entry, "format": self.chat}
        return {"transformer_task": self.task, "modality_config": modalities, "module_output_name": self.feature}

    def with_template_of(self, tokenizer: Any, model_type: str) -> Setup:
        """For a model that was never saved as a cross-encoder: as messages wherever there is a chat template."""
        if getattr(tokenizer, "chat_template", None) is None:
            return self
        return replace(self, chat=message_format(tokenizer.chat_template, model_type))


def setup_for(task: str) -> Setup:
    """The setup of one task. Raises ValueError for one that is unknown."""
    if task not in OUTPUTS:
        raise ValueError(f"transformer_task {task!r} is not supported; choose one of {', '.join(OUTPUTS)}")
    return Setup(task, *OUTPUTS[task])


def saved_setup(settings: dict[str, Any], default: str, name: str) -> Setup:
    """The setup in a saved model's settings. Raises ValueError for what no transformer's forward pass gives."""
    setup = setup_for(settings.get("transformer_task", default))
    modalities: dict[str, Any] = settings.get("modality_config") or {}
    entry = modalities.get("text") or modalities.get("message")
    if entry is None:
        return setup
    if entry.get("method") != "forward" or not isinstance(entry.get("method_output_name"), str):
        raise ValueError(f"{name}: its transformer gives {entry}; only a named output of 'forward' is supported")
    chat = (modalities["message"].get("format") or "auto") if "message" in modalities else None
    return Setup(setup.task, entry["method_output_name"], settings.get("module_output_name", setup.feature), chat)


STRUCTURED = ("content[0]", ".type", "'type'", '"type"', "message.content[")
"""What stands in templates that read the parts of a message."""
FLAT_TYPES = ("apertus", "deepseek_v3", "gpt_oss", "seed_oss")
"""Models whose templates speak of types but take strings."""


def message_format(template: Any, model_type: str) -> str:
    """How messages for `template` hold their text, as sentence-transformers decides it."""
    if model_type in FLAT_TYPES:
        return "flat"
    if not isinstance(template, str) or not template or any(sign in template for sign in STRUCTURED):
        return "structured"
    return "flat"
