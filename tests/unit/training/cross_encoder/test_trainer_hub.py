"""What the trainer sends to the Hub, and the card it writes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import transformers.trainer

from tests.unit.training.cross_encoder.trainer_data import arguments, pairs
from training.cross_encoder import CrossEncoder, CrossEncoderTrainer
from training.cross_encoder.modules import Dense, Pooling, Transformer


class Hub:
    """Keeps what would be uploaded."""

    def __init__(self) -> None:
        self.uploads: list[set[str]] = []

    def create_repo(self, repo_id: str, **kwargs: Any) -> Any:
        return SimpleNamespace(repo_id=repo_id, url="https://hub")

    def upload_folder(self, folder_path: str, **kwargs: Any) -> Any:
        folder = Path(folder_path)
        ignored = {"checkpoint", "runs", "eval"}
        files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        self.uploads.append({one.as_posix() for one in files if one.parts[0].partition("-")[0] not in ignored})
        return SimpleNamespace(done=lambda: True, result=lambda: None)


def test_every_pushed_checkpoint_is_a_whole_model(
    reranker_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub()
    monkeypatch.setattr(transformers.trainer, "hf_api", lambda: hub)
    model = CrossEncoder(str(reranker_dir), device="cpu")
    settings = {"push_to_hub": True, "hub_model_id": "me/reranker", "save_strategy": "steps", "save_steps": 1}
    trainer = CrossEncoderTrainer(model, arguments(tmp_path / "out", max_steps=1, **settings), pairs(8))
    assert model.model_card_data.model_id == "me/reranker"
    trainer.train()
    model.save_pretrained(str(tmp_path / "saved"))
    whole = {path.name for path in (tmp_path / "saved").iterdir()}
    assert whole <= hub.uploads[0]
    assert not {"optimizer.pt", "trainer_state.json"} & hub.uploads[0]


def test_a_pushed_checkpoint_of_a_modular_model_has_its_modules(
    reranker_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In folders of their own, without which nobody could load it."""
    hub = Hub()
    monkeypatch.setattr(transformers.trainer, "hf_api", lambda: hub)
    modules = [Transformer(str(reranker_dir)), Pooling(32, "mean"), Dense(32, 1, module_output_name="scores")]
    model = CrossEncoder(modules=modules, device="cpu")
    settings = {"push_to_hub": True, "hub_model_id": "me/reranker", "save_strategy": "steps", "save_steps": 1}
    CrossEncoderTrainer(model, arguments(tmp_path / "out", max_steps=1, **settings), pairs(8)).train()
    model.save_pretrained(str(tmp_path / "saved"))
    whole = {
        path.relative_to(tmp_path / "saved").as_posix() for path in (tmp_path / "saved").rglob("*") if path.is_file()
    }
    assert any("/" in name for name in whole)
    assert whole <= hub.uploads[0]


def test_the_card_is_written_with_what_the_caller_adds(reranker_dir: Path, tmp_path: Path) -> None:
    model = CrossEncoder(str(reranker_dir), device="cpu")
    trainer = CrossEncoderTrainer(model, arguments(tmp_path, max_steps=1), pairs(8))
    trainer.train()
    trainer.create_model_card(language="en", license="apache-2.0", tags="mine", model_name="A reranker")
    card = (tmp_path / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "- mine" in card
    assert "loss:BinaryCrossEntropyLoss" in card


def test_runs_that_name_no_project_join_those_of_earlier_scripts(
    reranker_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from transformers import TrainerCallback

    class WandbCallback(TrainerCallback):
        """What transformers adds for `report_to="wandb"`, without the service."""

    monkeypatch.setenv("WANDB_PROJECT", "")
    monkeypatch.delenv("WANDB_PROJECT")
    model = CrossEncoder(str(reranker_dir), device="cpu")
    CrossEncoderTrainer(model, arguments(tmp_path), callbacks=[WandbCallback()])
    assert os.environ["WANDB_PROJECT"] == "sentence-transformers"
