"""Adapters: the classification head is trained, saved and restored with them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig
from sentence_transformers import CrossEncoder as Oracle
from transformers import BertConfig, BertForMaskedLM

from tests.unit.training.cross_encoder.test_predict import PAIRS
from training.cross_encoder import CrossEncoder

CLOSE = {"rtol": 0, "atol": 1e-5}


def lora(**kwargs: object) -> LoraConfig:
    return LoraConfig(r=4, target_modules=["query", "value"], **kwargs)


@pytest.fixture(scope="module")
def base_dir(reranker_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model without head and pooler, which both are drawn anew at each loading."""
    folder = Path(shutil.copytree(reranker_dir, tmp_path_factory.mktemp("base") / "model"))
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig.from_pretrained(reranker_dir)).save_pretrained(folder)
    return folder


def step(model: CrossEncoder) -> None:
    """One large step of everything that is trainable."""
    model.train()
    model({"rows": model.pair_encoder.pairs(PAIRS[:8])})["scores"].pow(2).mean().backward()
    torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.3).step()


def test_head_and_fresh_pooler_are_trained_saved_and_restored(base_dir: Path, tmp_path: Path) -> None:
    """In 6.2 the head is neither trained nor saved after add_adapter, and reloading gives a random one."""
    model = CrossEncoder(base_dir, num_labels=3, seed=1)
    before = model.predict(PAIRS)
    model.add_adapter(lora())
    trained = {name.rpartition(".modules_to_save")[0] for name, one in model.named_parameters() if one.requires_grad}
    assert {"model.classifier", "model.bert.pooler.dense"} <= trained
    np.testing.assert_allclose(model.predict(PAIRS), before, **CLOSE)
    step(model)
    after = model.predict(PAIRS)
    assert not np.allclose(after, before, atol=1e-3)
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    again = CrossEncoder(tmp_path)
    assert again.num_labels == 3
    np.testing.assert_allclose(again.predict(PAIRS), after, **CLOSE)
    np.testing.assert_allclose(Oracle(str(tmp_path), device="cpu").predict(PAIRS), after, **CLOSE)


def test_the_callers_own_choice_of_saved_modules_is_kept(reranker_dir: Path) -> None:
    config = lora(modules_to_save=["pooler.dense"])
    model = CrossEncoder(reranker_dir)
    model.add_adapter(config)
    assert not any(one.requires_grad for name, one in model.named_parameters() if "classifier" in name)
    assert config.modules_to_save == ["pooler.dense"]


def test_the_configuration_that_was_given_is_not_changed(reranker_dir: Path) -> None:
    config = lora()
    CrossEncoder(reranker_dir).add_adapter(config)
    assert config.modules_to_save is None


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")  # peft, of a second adapter
def test_adapters_can_be_switched_and_removed(reranker_dir: Path, tmp_path: Path) -> None:
    model = CrossEncoder(reranker_dir)
    base = model.predict(PAIRS)
    model.add_adapter(lora(), "one")
    step(model)
    adapted = model.predict(PAIRS)
    model.save(tmp_path, create_model_card=False)
    assert model.active_adapters() == ["one"]
    assert model.active_adapter() == "one"
    assert any("lora_A" in name for name in model.get_adapter_state_dict())
    model.disable_adapters()
    np.testing.assert_allclose(model.predict(PAIRS), base, **CLOSE)
    model.enable_adapters()
    np.testing.assert_allclose(model.predict(PAIRS), adapted, **CLOSE)
    model.load_adapter(str(tmp_path), adapter_name="two")
    model.set_adapter("two")
    np.testing.assert_allclose(model.predict(PAIRS), adapted, **CLOSE)
    model.delete_adapter("one")
    assert model.active_adapters() == ["two"]


def test_a_whole_model_saved_over_an_adapter_leaves_nothing_of_it(reranker_dir: Path, tmp_path: Path) -> None:
    adapted = CrossEncoder(reranker_dir)
    adapted.add_adapter(lora())
    adapted.save(tmp_path, create_model_card=False)
    whole = CrossEncoder(reranker_dir)
    whole.save(tmp_path, create_model_card=False)
    np.testing.assert_allclose(CrossEncoder(tmp_path).predict(PAIRS), whole.predict(PAIRS), **CLOSE)


def test_a_graph_takes_no_adapter(reranker_dir: Path) -> None:
    with pytest.raises(ValueError, match="backend='torch'"):
        CrossEncoder(reranker_dir, backend="onnx").add_adapter(lora())


def test_without_peft_the_extra_is_named(reranker_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading said that the directory holds no weights."""
    model = CrossEncoder(reranker_dir)
    model.add_adapter(LoraConfig(r=2))
    model.save(tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    for attempt in (lambda: CrossEncoder(tmp_path), lambda: CrossEncoder(reranker_dir).add_adapter(LoraConfig())):
        with pytest.raises(ImportError, match=r"pip install 'crossrank\[peft\]'"):
            attempt()
