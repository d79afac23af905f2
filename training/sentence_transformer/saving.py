"""A directory that this package and sentence-transformers can both load."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from training.cross_encoder.modules.files import save_tail
from training.cross_encoder.saving import TRANSFORMER_CLASS, write_json
from training.sentence_transformer.loading import MODEL_TYPE

if TYPE_CHECKING:
    from training.sentence_transformer.model import SentenceTransformer

FIRST = {
    "StaticEmbedding": "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding",
    "Transformer": TRANSFORMER_CLASS,
}
"""Where sentence-transformers has the modules that come first; both are kept in the model's directory itself."""


def save(model: SentenceTransformer, path: Path) -> None:
    """Writes all modules and settings into `path`, not the card. Raises ValueError for one without `save(path)`."""
    path.mkdir(parents=True, exist_ok=True)
    (name, first), *tail = model.named_children()
    first.save(path)  # type: ignore[operator]
    entry = {"idx": 0, "name": name, "path": "", "type": FIRST[type(first).__name__]}
    write_json(path / "modules.json", [entry, *save_tail(dict(tail), path)])
    write_json(path / "config_sentence_transformers.json", model_settings(model))


def model_settings(model: SentenceTransformer) -> dict[str, Any]:
    """What a model keeps about itself as a whole."""
    settings: dict[str, Any] = {
        "__version__": {
            "crossrank": version("crossrank"),
            "pytorch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "default_prompt_name": model.default_prompt_name,
        "model_type": MODEL_TYPE,
        "prompts": model.prompts,
        "similarity_fn_name": model.similarity_fn_name,
    }
    return settings if model.truncate_dim is None else {**settings, "truncate_dim": model.truncate_dim}


def card(model: SentenceTransformer, model_name: str | None) -> str:
    """README.md: the one that was loaded with the model, else how to use it."""
    if model.loaded_card is not None:
        return model.loaded_card
    name = model_name or "path/to/this/directory"
    return f"""\
---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- sentence-similarity
- feature-extraction
---

# {model_name or "Embedding model"}

Texts become vectors of {model.get_embedding_dimension()} numbers, compared by {model.similarity_fn_name} similarity.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{name}")
embeddings = model.encode(["The weather is lovely today.", "It's so sunny outside!"])
print(model.similarity(embeddings, embeddings))
```

```
{model}
```
"""
