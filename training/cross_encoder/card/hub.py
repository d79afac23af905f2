"""What is known of Hub ids: from names and caches without a network, from the Hub only where that is allowed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)
TIMEOUT_S = 5
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_CACHED = re.compile(r"models--(?P<org>.+?)--(?P<name>[^/\\]+)[/\\]snapshots[/\\](?P<revision>[0-9a-f]{40})")


def base_model_of(name_or_path: str, revision: str | None) -> tuple[str | None, str | None]:
    """(Hub id, commit) of what a model was loaded from; (None, None) for a local directory. No network."""
    if match := _CACHED.search(name_or_path):
        return f"{match['org']}/{match['name']}", match["revision"]
    if not name_or_path or Path(name_or_path).exists() or not _ID.fullmatch(name_or_path):
        return None, None
    return name_or_path, revision


def look_up_dataset(dataset_id: str) -> tuple[bool, list[str]]:
    """(does it exist, its languages), asked of the Hub; a Hub that does not answer leaves the id as it is."""
    from huggingface_hub import dataset_info
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = dataset_info(dataset_id, timeout=TIMEOUT_S)
    except RepositoryNotFoundError:
        logger.warning("Model card: no dataset %r on the Hub, or it is private; its id is left out", dataset_id)
        return False, []
    except Exception as error:  # offline, slow, refused: the card says what it was told
        logger.info("Model card: the Hub does not answer for dataset %r: %s", dataset_id, error)
        return True, []
    return True, _languages(info.card_data)


def _languages(card: Any) -> list[str]:
    value = card.get("language") if card else None
    found: Iterable[Any] = [value] if isinstance(value, str) else value or []
    return [str(language) for language in found]


def offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)
