"""A linear layer with an activation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from training.cross_encoder.sources import Source
from training.sentence_transformer.modules.module import Features, Module, inside, read_weights
from training.util.misc import fullname, import_from_string

logger = logging.getLogger(__name__)


class Dense(Module):
    """activation(Wx + b) of "sentence_embedding", or of another feature, plus x itself with `use_residual`.

    Where the sizes differ, the residual goes through a matrix of its own.
    """

    config_keys = (
        "in_features",
        "out_features",
        "bias",
        "activation_function",
        "module_input_name",
        "module_output_name",
        "use_residual",
    )

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation_function: Callable[[Tensor], Tensor] | None = nn.Tanh(),  # noqa: B008  # it has no state
        init_weight: Tensor | None = None,
        init_bias: Tensor | None = None,
        module_input_name: str = "sentence_embedding",
        module_output_name: str | None = None,
        use_residual: bool = False,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = in_features, out_features, bias
        self.activation_function = activation_function or nn.Identity()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.module_input_name = module_input_name
        self.module_output_name = module_output_name or module_input_name
        self.use_residual = use_residual
        if use_residual and in_features != out_features:
            self.residual = nn.Linear(in_features, out_features, bias=False)
        if init_weight is not None:
            self.linear.weight = nn.Parameter(init_weight)
        if init_bias is not None and bias:
            self.linear.bias = nn.Parameter(init_bias)

    def forward(self, features: Features) -> Features:
        value = features[self.module_input_name]
        result = self.activation_function(self.linear(value))
        if self.use_residual:
            result = result + (self.residual(value) if hasattr(self, "residual") else value)
        features[self.module_output_name] = result
        return features

    def get_embedding_dimension(self) -> int:
        """Numbers per embedding."""
        return self.out_features

    def get_config_dict(self) -> dict[str, Any]:
        """The settings, the activation as the path of its class."""
        config = {**super().get_config_dict(), "activation_function": fullname(self.activation_function)}
        if not self.use_residual:
            del config["use_residual"]  # releases before 5.7 do not know it
        return config

    @classmethod
    def read(cls, source: Source, folder: str) -> Dense:
        """The activation is imported from `torch` only, unless the model's code is trusted; else it is Tanh."""
        saved = source.json(inside(folder, cls.config_file_name))
        known = {key: value for key, value in saved.items() if key in cls.config_keys}
        if ignored := sorted(set(saved) - set(known)):
            logger.warning("%s: unknown settings of Dense are ignored: %s", source.name, ", ".join(ignored))
        if "activation_function" in known:
            known["activation_function"] = _activation(known["activation_function"], source)
        module = cls(**known)
        module.load_state_dict(read_weights(source, folder))
        return module


def _activation(path: str, source: Source) -> Callable[[Tensor], Tensor]:
    if not path.startswith("torch.") and not source.trust_remote_code:
        logger.warning("%s: activation %s is not torch's and not trusted, Tanh takes its place", source.name, path)
        return nn.Tanh()
    found = import_from_string(path)
    if not source.trust_remote_code and not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"{source.name}: activation_function {path} of Dense is no module class; pick one of torch.nn")
    made: Callable[[Tensor], Tensor] = found()
    return made
