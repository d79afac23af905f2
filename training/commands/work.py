"""The directory beside the output in which a run keeps what it needs to go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import ConfigError
from training.commands.data import Part, sample_pairs
from training.commands.secrets import without_secrets
from training.cross_encoder.checkpoints import last_complete
from training.recipe import Recipe
from training.util.distributed import get_rank, get_world_size
from training.whole_file import write_whole

NOT_DECISIVE = {"output", "data_root", "checkpoint_every", "report_to"}
"""Keys that may differ when a run goes on: they change no step. `max_steps` does, by the learning rate."""
RUN_FILE = "run.json"
SAMPLE_FILE = "sample.jsonl"


@dataclass(frozen=True, slots=True)
class Work:
    """`folder` holds checkpoints, `run.json` (which recipe and data they belong to) and a sample of the pairs."""

    folder: Path

    @classmethod
    def of(cls, recipe: Recipe) -> Work:
        """OUTPUT.work"""
        return cls(recipe.output.with_name(f"{recipe.output.name}.work"))

    def begin(self, recipe: Recipe, parts: Sequence[Part]) -> Path | None:
        """Makes the directory; returns the newest complete checkpoint in it, None for a fresh run.

        Of several processes the first one writes; all return the same, since none is removed that is complete.
        Raises ConfigError if the checkpoints belong to another recipe or other data.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        newest = self.newest()
        ours = decisive(recipe, parts)
        if newest is not None:
            self._check(ours)
        if get_rank() > 0:
            return newest
        self._clear(newest)
        write_whole(self.folder / RUN_FILE, json.dumps(ours, indent=2) + "\n")
        lines = [
            json.dumps({"query": query, "answer": document}) for query, document in sample_pairs(parts, recipe.seed)
        ]
        write_whole(self.folder / SAMPLE_FILE, "\n".join(lines) + "\n")
        return newest

    def newest(self) -> Path | None:
        """The newest checkpoint that was written to its end."""
        found = last_complete(self.folder, get_world_size())
        return None if found is None else Path(found)

    def _check(self, ours: Mapping[str, Any]) -> None:
        try:
            theirs = json.loads((self.folder / RUN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            theirs = {}
        changed = sorted(
            f"{part}.{key}" if part == "data" else key
            for part in ("recipe", "data")
            for key in {**theirs.get(part, {}), **ours[part]}
            if (key in theirs.get(part, {}) or part == "data" or not theirs)  # an older one knew fewer keys
            and theirs.get(part, {}).get(key) != ours[part].get(key)
        )
        if changed:
            raise ConfigError(
                f"{self.folder}: belongs to another recipe ({', '.join(changed)} changed); delete it to start anew, or "
                "choose another output"
            )

    def _clear(self, newest: Path | None) -> None:
        """Removes what a killed run left half written."""
        step = -1 if newest is None else step_of(newest)
        for path in self.folder.glob("checkpoint-*"):
            if path.name.removeprefix("checkpoint-").isdigit() and step_of(path) > step:
                shutil.rmtree(path)


def step_of(checkpoint: Path) -> int:
    """How many steps were done when it was written."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def decisive(recipe: Recipe, parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
    """Everything that changes the trained weights: keys of the recipe, and digests of the data.

    Evaluations count only where training is interrupted by them, since they draw random numbers, or chooses by them.
    """
    keys = without_secrets(recipe, exclude=NOT_DECISIVE)
    keys["evaluations"] = [one for one in keys["evaluations"] if one["during"]]
    if recipe.watched and recipe.evaluate_every is None:
        keys["evaluate_every"] = recipe.checkpoint_every
    return {"recipe": keys, "data": {part.name: part.sha256 for part in parts}}
