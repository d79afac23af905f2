"""The model as an object: saving, publishing, properties, and the smaller members."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder as Oracle
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from app.model.cross_encoder import CrossEncoder as Served
from tests.unit.training.cross_encoder.test_predict import PAIRS
from training.cross_encoder import CrossEncoder, hub
from training.cross_encoder.fp32 import Float32Linear
from training.cross_encoder.sources import Source

CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture
def model(reranker_dir: Path) -> CrossEncoder:
    return CrossEncoder(reranker_dir, device="cpu")


@pytest.mark.parametrize("which", ["reranker_dir", "classifier_dir"])
def test_6_2_and_plain_transformers_and_the_service_read_what_is_saved(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    prompts = {"query": "what is "}
    ours = CrossEncoder(
        request.getfixturevalue(which), device="cpu", prompts=prompts, activation_fn=torch.nn.Softmax(-1)
    )
    ours.save_pretrained(tmp_path)
    expected = ours.predict(PAIRS)
    theirs = Oracle(str(tmp_path), device="cpu")
    assert theirs.prompts == prompts
    logits = theirs.predict(PAIRS, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(ours.predict(PAIRS, activation_fn=torch.nn.Identity()), logits, **CLOSE)
    again = CrossEncoder(tmp_path)
    np.testing.assert_allclose(again.predict(PAIRS), expected, **CLOSE)
    assert isinstance(again.activation_fn, torch.nn.Softmax)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    inputs = tokenizer([a for a, _ in PAIRS], [b for _, b in PAIRS], padding=True, truncation=True, return_tensors="pt")
    np.testing.assert_allclose(plain(**inputs).logits.detach().numpy().squeeze(), logits, atol=1e-4)
    np.testing.assert_allclose(Served.load(tmp_path, "torch").predict(PAIRS), expected, atol=1e-4)


def test_what_6_2_saves_is_read(classifier_dir: Path, tmp_path: Path) -> None:
    theirs = Oracle(
        str(classifier_dir), device="cpu", max_length=64, prompts={"q": "find "}, activation_fn=torch.nn.Tanh()
    )
    theirs.default_prompt_name = "q"
    theirs.save_pretrained(str(tmp_path))
    ours = CrossEncoder(tmp_path)
    assert (ours.max_length, ours.prompts, ours.default_prompt_name) == (64, {"q": "find "}, "q")
    np.testing.assert_allclose(ours.predict(PAIRS), theirs.predict(PAIRS), **CLOSE)


def test_the_card_that_came_with_a_model_is_kept(model: CrossEncoder, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "first", create_model_card=False)
    (tmp_path / "first" / "README.md").write_text("# Written by hand\n")
    CrossEncoder(tmp_path / "first").save_pretrained(tmp_path / "second")
    assert (tmp_path / "second" / "README.md").read_text() == "# Written by hand\n"


def test_a_card_that_fails_does_not_cost_the_model(
    model: CrossEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model.model_card_data.tags = 7  # type: ignore[assignment]
    model.save(str(tmp_path / "model"))
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert not (tmp_path / "model" / "README.md").exists()
    assert "model is saved without" in caplog.text
    model.save(None)


def test_saving_over_an_exported_artifact_takes_its_manifest_away(model: CrossEncoder, tmp_path: Path) -> None:
    """Its digests would be those of other files, and the service would refuse the directory."""
    (tmp_path / "reranker.json").write_text("{}")
    model.save(tmp_path, create_model_card=False)
    assert not (tmp_path / "reranker.json").exists()


def test_forward_takes_padded_tensors_as_6_2_does(model: CrossEncoder, reranker_dir: Path) -> None:
    theirs = Oracle(str(reranker_dir), device="cpu")
    expected = theirs.preprocess(PAIRS, prompt="the ")
    found = model.preprocess(PAIRS, prompt="the ")
    assert found.keys() == expected.keys() - {"prompt_length"}  # which only pooling modules look at
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        torch.testing.assert_close(found[name], expected[name])
    model.eval()
    torch.testing.assert_close(model(found)["scores"], theirs(expected)["scores"])
    assert model.preprocess([]) == {}
    assert model.tokenize(PAIRS[0])["input_ids"].shape[0] == 1


def test_both_ways_through_forward_agree_and_carry_gradients(model: CrossEncoder) -> None:
    model.eval()
    packed = model({"rows": model.pair_encoder.pairs(PAIRS)})["scores"]
    torch.testing.assert_close(packed, model(model.preprocess(PAIRS))["scores"], rtol=0, atol=1e-4)
    packed.sum().backward()
    assert model.model.classifier.weight.grad.abs().sum() > 0


def test_the_encoder_follows_tokenizer_and_length(model: CrossEncoder) -> None:
    first = model.pair_encoder
    assert model.pair_encoder is first
    model.max_seq_length = 20
    assert model.pair_encoder is not first
    assert max(map(len, model.pair_encoder.pairs(PAIRS))) == 20
    second = model.pair_encoder
    model.tokenizer.add_tokens(["zebra"])
    assert model.pair_encoder is not second


def test_properties_are_those_of_6_2(model: CrossEncoder, reranker_dir: Path) -> None:
    theirs = Oracle(str(reranker_dir), device="cpu")
    for name in ("num_labels", "max_seq_length", "dtype", "device", "model_type", "modalities", "backend"):
        assert getattr(model, name) == getattr(theirs, name), name
    assert type(model.model) is type(theirs.model) is type(model.transformers_model)
    assert model.processor is model.tokenizer
    assert model.config.to_dict().keys() == theirs.config.to_dict().keys()
    assert model.supports("text") is theirs.supports("text") is True
    assert model.supports("image") is False
    assert model._target_device == model.device
    model._target_device = "cpu"
    assert model.get_model_kwargs() == []
    assert model.is_singular_input(("a", "b"))
    assert model.to("cpu") is model.cpu() is model


def test_the_activation_is_no_part_of_the_weights(model: CrossEncoder) -> None:
    model.activation_fn = torch.nn.PReLU()
    assert not any("activation_fn" in name for name, _ in model.named_parameters())


def test_a_model_can_be_copied_and_pickled(model: CrossEncoder) -> None:
    expected = model.predict(PAIRS)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        weights = other.state_dict()
        assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
        # Not the same bits everywhere: what products give may depend on how their matrices lie in memory.
        np.testing.assert_allclose(other.predict(PAIRS), expected, rtol=0, atol=1e-6)


def test_evaluate_calls_the_evaluator_with_a_directory_that_exists(model: CrossEncoder, tmp_path: Path) -> None:
    def evaluator(given: CrossEncoder, output_path: Path) -> dict[str, float]:
        assert output_path.is_dir()
        return {"same": float(given is model)}

    assert model.evaluate(evaluator, tmp_path / "deep" / "down") == {"same": 1.0}


def test_a_compiled_model_scores_through_what_was_compiled(model: CrossEncoder) -> None:
    expected = model.predict(PAIRS[:4])
    model.compile(backend="eager", dynamic=True)
    np.testing.assert_allclose(model.predict(PAIRS[:4]), expected, **CLOSE)


def test_gradient_checkpointing_reaches_the_transformer_and_keeps_the_gradient(model: CrossEncoder) -> None:
    def gradient() -> torch.Tensor:
        model.zero_grad()
        model({"rows": model.pair_encoder.pairs(PAIRS[:6])})["scores"].sum().backward()
        return model.model.bert.embeddings.word_embeddings.weight.grad.clone()

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    expected = gradient()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.model.modules())
    torch.testing.assert_close(gradient(), expected)
    model.gradient_checkpointing_disable()
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.model.modules())


def test_selected_layers_compute_in_float32_and_the_selection_is_saved(reranker_dir: Path, tmp_path: Path) -> None:
    half = {"dtype": torch.bfloat16}
    model = CrossEncoder(reranker_dir, model_kwargs=half, keep_in_fp32_modules=["0.model.classifier"])
    assert type(model.model.classifier) is Float32Linear
    assert model(model.preprocess(PAIRS))["scores"].dtype == torch.float32
    model.save(tmp_path, create_model_card=False)
    again = CrossEncoder(tmp_path, model_kwargs=half)
    assert again.keep_in_fp32_modules == ["model.classifier"]
    assert Oracle(str(tmp_path), device="cpu", model_kwargs=half).keep_in_fp32_modules == ["0.model.classifier"]
    again.set_keep_in_fp32_modules([])
    assert type(again.model.classifier) is torch.nn.Linear
    with pytest.raises(ValueError, match="takes plain"):
        model.set_keep_in_fp32_modules(["model.bert"])
    with pytest.raises(ValueError, match="there is no module"):
        model.set_keep_in_fp32_modules(["model.absent"])
    with pytest.raises(ValueError, match="must be a list"):
        model.set_keep_in_fp32_modules("model.classifier")  # type: ignore[arg-type]


class FakeApi:
    """A Hub in a directory."""

    root: Path
    tokens: list[str | None]

    def __init__(self, token: str | None = None) -> None:
        self.tokens.append(token)

    def create_repo(self, repo_id: str, private: bool | None, repo_type: None, exist_ok: bool) -> SimpleNamespace:
        full = repo_id if "/" in repo_id else f"me/{repo_id}"
        (self.root / full).mkdir(parents=True, exist_ok=exist_ok)
        return SimpleNamespace(repo_id=full)

    def create_branch(self, repo_id: str, branch: str, exist_ok: bool) -> None:
        (self.root / repo_id / f"branch-{branch}").touch(exist_ok=exist_ok)

    def file_exists(self, repo_id: str, filename: str, revision: str | None) -> bool:
        return (self.root / repo_id / filename).exists()

    def upload_folder(self, repo_id: str, folder_path: str, **kwargs: Any) -> SimpleNamespace:
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        (self.root / repo_id / "commit.json").write_text(json.dumps(kwargs))
        return SimpleNamespace(commit_url=f"hub/{repo_id}/commit/1", pr_url=f"hub/{repo_id}/discussions/1")


@pytest.fixture
def hub_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory behind the fake Hub."""
    FakeApi.root, FakeApi.tokens = tmp_path / "hub", []
    monkeypatch.setattr(hub, "HfApi", FakeApi)
    return FakeApi.root


def test_a_pushed_model_can_be_loaded_and_its_card_names_it(model: CrossEncoder, hub_root: Path) -> None:
    assert model.push_to_hub("tiny", token="secret", private=True) == "hub/me/tiny/commit/1"
    np.testing.assert_array_equal(CrossEncoder(hub_root / "me" / "tiny").predict(PAIRS), model.predict(PAIRS))
    assert "CrossEncoder('me/tiny')" in (hub_root / "me/tiny/README.md").read_text()
    assert json.loads((hub_root / "me/tiny/commit.json").read_text())["commit_message"] == "Add new CrossEncoder model"
    assert FakeApi.tokens == ["secret"]
    with pytest.raises(FileExistsError):
        model.push_to_hub("tiny")


def test_a_push_keeps_somebody_elses_card_unless_told_otherwise(model: CrossEncoder, hub_root: Path) -> None:
    card = hub_root / "owner/tiny/README.md"
    card.parent.mkdir(parents=True)
    card.write_text("by hand")
    model.push_to_hub("owner/tiny", exist_ok=True)
    assert card.read_text() == "by hand"
    model.push_to_hub("owner/tiny", exist_ok=True, replace_model_card=True)
    assert card.read_text() != "by hand"


def test_a_pull_request_and_a_branch_and_a_ready_directory_can_be_pushed(
    model: CrossEncoder, hub_root: Path, tmp_path: Path
) -> None:
    model.save(tmp_path / "ready", create_model_card=False)
    done = model.push_to_hub(
        "owner/tiny", revision="next", create_pr=True, local_model_path=str(tmp_path / "ready"), commit_message="Mine"
    )
    commit = json.loads((hub_root / "owner/tiny/commit.json").read_text())
    assert done == "hub/owner/tiny/discussions/1"
    assert (commit["create_pr"], commit["revision"], commit["commit_message"]) == (True, "next", "Mine")
    assert "owner/tiny" in commit["commit_description"]
    assert (hub_root / "owner/tiny/branch-next").exists()


def test_save_to_hub_is_push_to_hub_under_its_old_arguments(model: CrossEncoder, hub_root: Path) -> None:
    assert model.save_to_hub("tiny", "owner") == "hub/owner/tiny/commit/1"
    assert json.loads((hub_root / "owner/tiny/commit.json").read_text())["commit_message"] == "Add new model."
    assert model.save_to_hub(repo_name="owner/other") == "hub/owner/other/commit/1"
    assert model.save_to_hub("owner/third", None, True, True, "Third") == "hub/owner/third/commit/1"
    assert json.loads((hub_root / "owner/third/commit.json").read_text())["commit_message"] == "Third"
    with pytest.raises(ValueError, match="not in the organization"):
        model.save_to_hub("owner/tiny", organization="another")


def test_a_directory_never_leads_to_the_network(reranker_dir: Path) -> None:
    assert Source(str(reranker_dir)).hub_kwargs()["local_files_only"] is True
    assert Source("owner/name").hub_kwargs()["local_files_only"] is False
