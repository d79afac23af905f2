"""What users hand to `encode`, brought into one form: a list of texts."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.cross_encoder.inputs import is_list_like


def as_texts(inputs: Any) -> tuple[list[str], bool]:
    """The checked texts, and whether `inputs` was a single one. Raises ValueError, naming the position."""
    if isinstance(inputs, str):
        return [inputs], True
    if isinstance(inputs, np.ndarray) and inputs.ndim:
        inputs = inputs.tolist()
    if not is_list_like(inputs):
        raise ValueError(f"Unsupported input type: {type(inputs).__name__}. Expected a str or a list of str")
    texts = list(inputs)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"Unsupported input type at position {position}: {type(text).__name__}. Expected a str")
    return texts, False
