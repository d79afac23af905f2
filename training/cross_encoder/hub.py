"""Publishing a model on the Hugging Face Hub."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi

if TYPE_CHECKING:
    from training.cross_encoder.model import CrossEncoder

logger = logging.getLogger(__name__)


def push(
    model: CrossEncoder,
    repo_id: str,
    *,
    token: str | None,
    private: bool | None,
    safe_serialization: bool,
    commit_message: str | None,
    local_model_path: str | None,
    exist_ok: bool,
    replace_model_card: bool,
    train_datasets: list[str] | None,
    revision: str | None,
    create_pr: bool,
) -> str:
    """Uploads the model, or the directory `local_model_path`; returns the address of the commit or pull request."""
    api = HfApi(token=token)
    created = api.create_repo(repo_id=repo_id, private=private, repo_type=None, exist_ok=exist_ok or create_pr)
    repo_id = created.repo_id  # now with the owner's name
    model.model_card_data.set_model_id(repo_id)
    if revision is not None:
        api.create_branch(repo_id=repo_id, branch=revision, exist_ok=True)
    upload: dict[str, Any] = {
        "repo_id": repo_id,
        "commit_message": commit_message or default_message(model),
        "commit_description": pull_request_text(model, repo_id) if create_pr else None,
        "create_pr": create_pr,
        "revision": revision,
    }
    if local_model_path:
        done = api.upload_folder(folder_path=local_model_path, **upload)
    else:
        with tempfile.TemporaryDirectory() as folder:
            card = replace_model_card or not has_card(api, repo_id, revision)
            model.save_pretrained(folder, repo_id, card, train_datasets, safe_serialization)
            done = api.upload_folder(folder_path=folder, **upload)
    return str(done.pr_url if create_pr else done.commit_url)


def has_card(api: HfApi, repo_id: str, revision: str | None) -> bool:
    """Whether the repository has a README.md. When in doubt it has: somebody's text is not to be overwritten."""
    try:
        return bool(api.file_exists(repo_id, "README.md", revision=revision))
    except Exception as error:  # whatever the network or the Hub does
        logger.warning("%s: cannot see whether it has a README.md (%s); none is written", repo_id, error)
        return True


def default_message(model: CrossEncoder) -> str:
    """The commit message where the user gives none."""
    backend = model.get_backend()
    return f"Add new CrossEncoder model{'' if backend == 'torch' else f' with an {backend} backend'}"


def pull_request_text(model: CrossEncoder, repo_id: str) -> str:
    """What a pull request says about itself: the architecture, and how to try it before merging."""
    return f"""\
This pull request adds the files with which a cross-encoder is loaded.

```
{model}
```

Try it before merging, with the number of this pull request in `revision`:

```python
from sentence_transformers import CrossEncoder

model = CrossEncoder("{repo_id}", revision="refs/pr/1", backend="{model.get_backend()}")
print(model.predict([("The weather is lovely today.", "It's so sunny outside!")]))
```
"""


def organisation_merged(repo_id: str, organization: str | None) -> str:
    """`repo_id` with the deprecated separate organisation in front. Raises ValueError if the two contradict."""
    if not organization:
        return repo_id
    if "/" not in repo_id:
        return f"{organization}/{repo_id}"
    if repo_id.split("/")[0] != organization:
        raise ValueError(f"repo_id {repo_id!r} is not in the organization {organization!r}; give repo_id alone")
    return repo_id


def folder_of(path: str | Path) -> Path:
    """A user's path, with `~` resolved."""
    return Path(path).expanduser()
