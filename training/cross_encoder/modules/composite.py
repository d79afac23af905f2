"""A transformer and the modules after it, called as one sequence classifier."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from training.cross_encoder.input_names import input_names
from training.cross_encoder.modules.logit_score import LogitScore
from training.cross_encoder.modules.setup import GENERATION, Setup
from training.sentence_transformer.modules.module import Features


class Composite(nn.Module):
    """What `forward.score_rows` needs of a classifier, from a transformer in another task and the modules behind it.

    It owns nothing: the modules are those of the cross-encoder.
    """

    def __init__(self, model: Any, setup: Setup, tail: Iterable[nn.Module]) -> None:
        super().__init__()
        self.model, self.tail = model, nn.ModuleList(tail)
        self._setup = setup
        self._known = input_names(model)
        self.config = SimpleNamespace(num_labels=labels_of(model.config, self.tail))

    def get_base_model(self) -> nn.Module:
        """The transformer, whose inputs are those of the whole."""
        transformer: nn.Module = self.model
        return transformer

    def forward(self, **inputs: Any) -> SequenceClassifierOutput:
        """Scores as `logits`, shape (rows, labels)."""
        return SequenceClassifierOutput(logits=self.scored(inputs)["scores"])

    def scored(self, features: Features) -> Features:
        """The features with those of every module added. Raises ValueError if none of them gives scores."""
        features = self.transformed(features)
        for module in self.tail:
            features = module(features)
        if "scores" not in features:
            raise ValueError("no module gives 'scores': the last one should be Dense(..., module_output_name='scores')")
        return features

    def transformed(self, features: Features) -> Features:
        """The features with that of the transformer added."""
        given = {**self._defaults(features), **features}
        output = self.model(**{name: value for name, value in given.items() if name in self._known})
        features[self._setup.feature] = getattr(output, self._setup.field)
        return features

    def _defaults(self, features: Features) -> dict[str, Any]:
        """A language model answers once, at the end, and counts positions from the first real token."""
        if self._setup.task != GENERATION:
            return {}
        keep = {"logits_to_keep": 1, "use_cache": False}
        mask: Tensor | None = features.get("attention_mask")
        return keep if mask is None else {**keep, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}


def labels_of(config: Any, tail: Iterable[nn.Module]) -> int:
    """Scores per row: as many as the last module that makes scores gives."""
    modules: list[Any] = list(tail)
    for module in reversed(modules):
        if isinstance(module, LogitScore):
            return 1
        if getattr(module, "module_output_name", None) == "scores" and hasattr(module, "out_features"):
            return int(module.out_features)
    return int(config.num_labels)
