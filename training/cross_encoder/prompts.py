"""Texts that are put before the first text of each pair, by name."""

from __future__ import annotations

from collections.abc import Mapping

from training.cross_encoder.legacy_arguments import warn_once


def checked_prompts(prompts: Mapping[str, str | None], default_name: str | None) -> dict[str, str]:
    """The prompts, None as no text. Raises ValueError if the default is not among them."""
    known = {name: text or "" for name, text in prompts.items()}
    if default_name is not None and default_name not in known:
        raise ValueError(f"Default prompt name {default_name!r} is not among the configured prompts {list(known)!r}")
    return known


def resolve_prompt(
    prompts: Mapping[str, str], default_name: str | None, prompt: str | None, prompt_name: str | None
) -> str | None:
    """The prompt given, else the one named, else the default one. Raises ValueError for an unknown name."""
    if prompt is not None:
        if prompt_name is not None:
            warn_once("both prompt and prompt_name were given: prompt_name is ignored")
        return prompt
    name = default_name if prompt_name is None else prompt_name
    if name is None:
        return None
    if name not in prompts:
        raise ValueError(f"Prompt name {name!r} not found in the configured prompts with names {list(prompts)!r}")
    return prompts[name]
