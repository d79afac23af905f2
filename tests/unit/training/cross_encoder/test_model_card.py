"""The model card: every section, valid front matter, data that cannot break it, no call of the Hub unasked."""

from __future__ import annotations

import copy
import logging
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset, DatasetDict
from huggingface_hub import ModelCard

from tests.unit.training.cross_encoder.card_fakes import (
    FakeLoss,
    FakeModel,
    FakeRankingEvaluator,
    OtherLoss,
    fake_trainer,
    pairs,
)
from training.cross_encoder.card import hub
from training.cross_encoder.model_card import (
    CrossEncoderModelCardData,
    generate_model_card,
    write_model_card,
)

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def hub_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The Hub is never asked, unless a test says so; what was asked is listed."""
    calls: list[str] = []

    def look_up(dataset_id: str) -> tuple[bool, list[str]]:
        calls.append(dataset_id)
        return not dataset_id.startswith("no/"), ["fr", "de"]

    monkeypatch.setattr(hub, "look_up_dataset", look_up)
    return calls


def front_matter_of(text: str) -> dict[str, Any]:
    block, _, _ = text.removeprefix("---\n").partition("\n---\n")
    loaded: dict[str, Any] = yaml.safe_load(block)
    return loaded


def trained(model: FakeModel, trainer: Any) -> None:
    card = model.model_card_data
    card.register_trainer(trainer)
    card.begin_run()


def section(text: str, heading: str) -> str:
    """What stands below `heading`, up to the next heading of its level or above ("# " begins comments in code)."""
    level = heading.count("#")
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{2,{level}}} |\Z)", text, re.M | re.S)
    assert found, f"no {heading!r}"
    return found[1]


def test_front_matter_names_library_tags_task_datasets_metrics_and_base_model() -> None:
    model = FakeModel(
        language="en",
        license="apache-2.0",
        model_name="Tiny: a #1 reranker",
        train_datasets=[{"name": "GooAQ", "id": "org/gooaq"}],
        local_files_only=True,
    )
    model.model_card_data.set_base_model("org/base", SHA)
    trained(model, fake_trainer(pairs(), pairs(8)))
    evaluator = FakeRankingEvaluator("dev")
    model.model_card_data.set_evaluation_metrics(evaluator, evaluator.metrics(0.5))
    text = generate_model_card(model)
    data = front_matter_of(text)
    assert data["language"] == ["en"]
    assert data["license"] == "apache-2.0"
    assert data["library_name"] == "sentence-transformers"
    assert data["tags"] == [
        "sentence-transformers",
        "cross-encoder",
        "reranker",
        "generated_from_trainer",
        "dataset_size:120",
        "loss:FakeLoss",
    ]
    assert data["datasets"] == ["org/gooaq"]
    assert data["metrics"] == ["map", "ndcg@10"]
    assert data["pipeline_tag"] == "text-ranking"
    assert data["base_model"] == "org/base"
    (index,) = data["model-index"]
    assert index["name"] == "Tiny: a #1 reranker"
    assert {metric["type"]: metric["value"] for metric in index["results"][0]["metrics"]} == {
        "map": 0.25,
        "ndcg@10": 0.5,
    }
    assert ModelCard(text, ignore_metadata_errors=False).data.get("license") == "apache-2.0"


def test_a_classifier_is_tagged_as_such_and_is_not_asked_to_rank() -> None:
    text = generate_model_card(FakeModel(num_labels=3))
    assert front_matter_of(text)["pipeline_tag"] == "text-classification"
    assert "text pair classification" in text
    assert "**Number of Output Labels:** 3 labels" in text
    assert "model.rank(" not in text


def test_description_and_details() -> None:
    model = FakeModel(
        language=["en", "de"],
        license="mit",
        train_datasets=[{"id": "org/a"}, {"name": "Mine"}],
        local_files_only=True,
    )
    model.model_card_data.set_base_model("org/base", SHA)
    text = generate_model_card(model)
    assert "# CrossEncoder based on org/base\n" in text
    assert "finetuned from [org/base](https://huggingface.co/org/base) on the" in text
    assert "[org/a](https://huggingface.co/datasets/org/a) and Mine datasets" in text
    assert f"- **Base model:** [org/base](https://huggingface.co/org/base) <!-- at revision {SHA} -->" in text
    assert "- **Maximum Sequence Length:** 64 tokens" in text
    assert "- **Number of Output Labels:** 1 label\n" in text
    assert "- **Supported Modality:** Text" in text
    assert "- **Training Datasets:**\n    - [org/a]" in text
    assert "- **Languages:** en, de" in text
    assert "- **License:** mit" in text
    assert "FakeModel(\n" in section(text, "### Full Model Architecture")


def test_usage_shows_the_real_scores_and_the_ranking() -> None:
    model = FakeModel(model_id="me/tiny")
    trained(model, fake_trainer(pairs()))
    model.train()
    usage = section(generate_model_card(model), "## Usage")
    assert "from training import CrossEncoder" in usage
    assert "model = CrossEncoder('me/tiny')" in usage
    assert "    ['what is number 0', 'number 0 is a number'],\n" in usage
    assert "# [0.2 0.2 0.2 0.2 0.2]" in usage.replace("0.2 ", "0.2 ")
    assert "'score': 0.2}" in usage
    assert "AutoModelForSequenceClassification" in usage
    assert "sentence_transformers.CrossEncoder('me/tiny')" in usage
    assert model.training, "writing a card leaves the model in training mode"


def test_usage_takes_the_documents_of_a_list_column() -> None:
    model = FakeModel()
    data = Dataset.from_dict({"query": ["q"], "docs": [["one", "two", "three"]], "labels": [[1, 0, 0]]})
    trained(model, fake_trainer(data))
    usage = section(generate_model_card(model), "## Usage")
    assert "['q', 'one'],\n    ['q', 'two'],\n    ['q', 'three'],\n" in usage


def test_without_widget_examples_nothing_is_predicted() -> None:
    model = FakeModel(generate_widget_examples=False)
    usage = section(generate_model_card(model), "## Usage")
    assert model.predictions == 0
    assert "print(scores.shape)\n# (3,)" in usage


def test_a_model_that_cannot_predict_gets_a_card_without_scores(caplog: pytest.LogCaptureFixture) -> None:
    model = FakeModel()
    model.predict = None  # type: ignore[assignment, method-assign]
    assert "print(scores.shape)" in generate_model_card(model)
    assert "no scores in the usage example" in caplog.text


def test_evaluators_of_a_kind_share_a_table_with_their_parameters() -> None:
    model = FakeModel()
    first, second, third = (
        FakeRankingEvaluator("a", at_k=10),
        FakeRankingEvaluator("b", at_k=10),
        FakeRankingEvaluator(),
    )
    for evaluator, ndcg in ((first, 0.25), (second, 0.75), (third, 0.5)):
        model.model_card_data.set_evaluation_metrics(evaluator, evaluator.metrics(ndcg), -1, -1)
    metrics = section(generate_model_card(model), "### Metrics")
    assert metrics.count("#### Fake Ranking\n") == 2
    assert "* Datasets: <code>a</code> and <code>b</code>" in metrics
    assert '"at_k": 10' in metrics
    assert "| Metric | a | b |" in metrics
    assert "| map | 0.1250 | 0.3750 |" in metrics
    assert "| **ndcg@10** | **0.2500** | **0.7500** |" in metrics
    assert "| Metric | Value |" in metrics
    assert "| **ndcg@10** | **0.5000** |" in metrics


def test_figures_with_a_difference_are_shown_as_they_are_and_counted_by_their_first_number() -> None:
    model = FakeModel()
    evaluator = FakeRankingEvaluator("x")
    model.model_card_data.set_evaluation_metrics(evaluator, {"x_ndcg@10": "0.5000 (+0.1000)", "x_map": float("nan")})
    text = generate_model_card(model)
    assert "**0.5000 (+0.1000)**" in text
    (metric,) = front_matter_of(text)["model-index"][0]["results"][0]["metrics"]
    assert metric["value"] == 0.5


def test_an_evaluator_that_runs_again_replaces_its_figures_and_is_not_kept_alive() -> None:
    model = FakeModel()
    for ndcg in (0.1, 0.9):
        evaluator = FakeRankingEvaluator("dev")
        model.model_card_data.set_evaluation_metrics(evaluator, evaluator.metrics(ndcg), -1, -1)
    (one,) = model.model_card_data.evaluations
    del evaluator
    assert one.evaluator is None or one.evaluator() is None
    assert "**0.9000**" in section(generate_model_card(model), "### Metrics")


def test_dataset_sections_have_size_columns_statistics_samples_and_loss() -> None:
    data = Dataset.from_dict(
        {
            "query": ["one two three", "one"] * 100,
            "docs": [["a"], ["a", "b", "c"]] * 100,
            "fixed": [[1, 2], [3, 4]] * 100,
            "score": [0.0, 1.0] * 100,
            "label": [0, 1] * 100,
            "flag": [True, True] * 100,
            "many": list(range(200)),
            "empty": [None] * 200,
        }
    )
    model = FakeModel()
    trained(model, fake_trainer(DatasetDict(first=data), loss=FakeLoss(alpha=0.5, activation_fn=torch.nn.Sigmoid())))
    text = section(generate_model_card(model), "### Training Dataset")
    assert "#### first" in text
    assert "* Size: 200 training samples" in text
    assert "<code>many</code> and <code>empty</code>" in text
    assert "based on the first 100 samples" in text
    header, _, types, details = [line.strip() for line in text.splitlines() if line.startswith("  |")][:4]
    assert header == "|  | query | docs | fixed | score | label | flag | many | empty |"
    assert types == "| type | string | list | list | float | int | bool | int | none |"
    cells = [cell.strip() for cell in details.strip("|").split("|")]
    assert cells[1] == "<ul><li>min: 3 tokens</li><li>mean: 4.00 tokens</li><li>max: 5 tokens</li></ul>"
    assert cells[2] == "<ul><li>min: 1 elements</li><li>mean: 2.00 elements</li><li>max: 3 elements</li></ul>"
    assert cells[3] == "<ul><li>size: 2 elements</li></ul>"
    assert cells[4] == "<ul><li>min: 0.00</li><li>mean: 0.50</li><li>max: 1.00</li></ul>"
    assert cells[5] == r"<ul><li>0: \~50.00%</li><li>1: \~50.00%</li></ul>"
    assert cells[6] == "<ul><li>True: 100.00%</li></ul>"
    assert cells[7] == "<ul><li>min: 0.00</li><li>mean: 49.50</li><li>max: 99.00</li></ul>"
    assert text.count("<code>one two three</code>") == 2, "three samples: rows 0, 1 and 2"
    assert "* Loss: <code>tests.unit.training.cross\\_encoder" not in text
    assert "FakeLoss</code> with these parameters:" in text
    assert '"alpha": 0.5' in text
    assert '"activation_fn": "torch.nn.modules.activation.Sigmoid"' in text


def test_a_tokenizer_that_fails_leaves_characters() -> None:
    model = FakeModel()
    model.tokenizer = None  # type: ignore[assignment, method-assign]
    trained(model, fake_trainer(pairs(4)))
    assert "<li>min: 16 characters</li>" in generate_model_card(model)


def test_each_dataset_of_a_dictionary_names_its_own_loss() -> None:
    model = FakeModel()
    losses = {"a": FakeLoss(k=1), "b": OtherLoss(k=2)}
    trained(model, fake_trainer({"a": pairs(5), "b": pairs(7)}, {"a": pairs(2), "b": pairs(3)}, losses))
    text = generate_model_card(model)
    assert section(text, "### Training Datasets").count("#### ") == 2
    assert '"k": 1' in section(text, "#### a")
    assert '"k": 2' in section(text, "#### b")
    assert "* Size: 3 evaluation samples" in section(text, "### Evaluation Datasets")
    assert {"dataset_size:12", "loss:FakeLoss", "loss:OtherLoss"} <= set(front_matter_of(text)["tags"])


def test_more_than_three_datasets_are_folded_and_long_names_are_counted() -> None:
    few, many = FakeModel(), FakeModel()
    trained(few, fake_trainer({name: pairs(4) for name in "abc"}))
    trained(many, fake_trainer({f"a_long_name_of_a_dataset_{i:03}" * 2: pairs(4) for i in range(4)}))
    assert "<details><summary>a" not in generate_model_card(few)
    assert "on the a, b and c datasets" in generate_model_card(few)
    text = generate_model_card(many)
    assert text.count("<details><summary>a_long") == 4
    assert text.count("<details>") == text.count("</details>")
    assert " on 4 datasets" in text


def test_user_given_names_that_do_not_match_the_data_are_left_aside(caplog: pytest.LogCaptureFixture) -> None:
    model = FakeModel(train_datasets=[{"name": "one"}, {"name": "two"}])
    trained(model, fake_trainer(pairs(4)))
    assert "2 datasets are described, 1 are used" in caplog.text
    assert "#### Unnamed Dataset" in generate_model_card(model)


def test_a_stream_is_named_but_not_read() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        raise AssertionError("the stream was read")
        yield {}

    from datasets import IterableDataset

    model = FakeModel()
    trained(model, fake_trainer(IterableDataset.from_generator(rows)))
    assert "* Loss:" in section(generate_model_card(model), "### Training Dataset")


def test_losses_are_cited_once_and_share_an_equal_citation() -> None:
    model = FakeModel()
    trained(model, fake_trainer({"a": pairs(4), "b": pairs(4)}, loss={"a": FakeLoss(), "b": OtherLoss()}))
    citation = section(generate_model_card(model), "### BibTeX")
    assert citation.count("@article{fake,") == 1
    assert "#### FakeLoss and OtherLoss\n\n```bibtex\n@article" in citation


def test_the_loss_inside_a_loss_is_cited_too() -> None:
    outer = FakeLoss("@misc{outer}")
    outer.loss = OtherLoss("@misc{inner}")
    model = FakeModel()
    trained(model, fake_trainer(pairs(4), loss=outer))
    citation = section(generate_model_card(model), "### BibTeX")
    assert "@misc{outer}" in citation
    assert "@misc{inner}" in citation


def test_versions_of_the_frameworks() -> None:
    model = FakeModel()
    trained(model, fake_trainer(pairs(4)))
    versions = section(generate_model_card(model), "### Framework Versions")
    assert f"- PyTorch: {torch.__version__}" in versions
    for name in ("Python", "Transformers", "Accelerate", "Datasets", "Tokenizers"):
        assert f"- {name}: " in versions


NASTY = 'a|b\n---\n# no heading\r\n<script>x</script> `c` *d* [e](http://f) ```g | "h": {{ i }} \\| \u2028 \x00 end'


def test_data_cannot_break_tables_html_or_front_matter() -> None:
    name = 'x: "y"\n---\n| z'
    data = Dataset.from_dict({"que|ry": [NASTY] * 3, "<b>": [NASTY] * 3, "docs": [[NASTY, "|"]] * 3})
    model = FakeModel(model_name=name, license='a: "b"\n---', tags=["t: [", "u\n---"])
    trained(model, fake_trainer({name: data}))
    evaluator = FakeRankingEvaluator(name)
    model.model_card_data.set_evaluation_metrics(evaluator, evaluator.metrics(0.5))
    text = generate_model_card(model)
    data = front_matter_of(text)
    assert data["license"] == 'a: "b" ---'
    assert data["tags"][:2] == ["t: [", "u ---"]
    assert data["model-index"][0]["name"] == 'x: "y" --- | z'
    assert text.count("\n---\n") == 1, "only the front matter ends with a rule"
    assert "<script>" not in text.replace("```python", "\0").split("\0")[0]
    body = section(text, "### Training Dataset")
    assert "<script>" not in body
    assert "\n# no heading" not in text
    tables = re.findall(r"(?:^ *\|.*\n)+", text, re.M)
    assert len(tables) >= 3
    for table in tables:
        borders = {len(re.findall(r"(?<!\\)\|", re.sub(r"\\\\", "", line))) for line in table.splitlines()}
        assert len(borders) == 1, table


def test_there_are_never_two_blank_lines_in_a_row() -> None:
    bare = FakeModel()
    full = FakeModel(language="en", license="mit")
    trained(full, fake_trainer({str(i): pairs(4) for i in range(5)}, pairs(3)))
    for model in (bare, full):
        text = generate_model_card(model)
        assert not re.search(r"\n[ \t]*\n[ \t]*\n", text)
        assert text.endswith("\n")


def test_making_a_card_asks_the_hub_only_for_ids_and_only_when_it_is_written(
    hub_calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "offline", lambda: False)
    model = FakeModel(train_datasets=[{"name": "A", "id": "org/a"}], eval_datasets=[{"id": "no/where"}])
    trained(model, fake_trainer(pairs(4), pairs(4)))
    assert hub_calls == []
    text = generate_model_card(model)
    generate_model_card(model)
    assert hub_calls == ["org/a", "no/where"], "each id is looked up once"
    assert front_matter_of(text)["datasets"] == ["org/a"]
    assert front_matter_of(text)["language"] == ["fr", "de"]
    assert "datasets/no/where" not in text


@pytest.mark.parametrize("barred", ["local_files_only", "offline"])
def test_no_hub_lookup_where_it_is_barred(barred: str, hub_calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "offline", lambda: barred == "offline")
    model = FakeModel(train_datasets=[{"id": "org/a"}], local_files_only=barred == "local_files_only")
    assert front_matter_of(generate_model_card(model))["datasets"] == ["org/a"]
    assert hub_calls == []


def test_local_data_never_asks_the_hub(hub_calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "offline", lambda: False)
    model = FakeModel(train_datasets=[{"name": "Mine"}])
    trained(model, fake_trainer(pairs(4)))
    generate_model_card(model)
    assert hub_calls == []


def test_base_model_comes_from_names_and_caches_without_the_hub(tmp_path: Path) -> None:
    assert hub.base_model_of("org/name", "sha") == ("org/name", "sha")
    assert hub.base_model_of("bert-base-uncased", None) == ("bert-base-uncased", None)
    cached = f"/cache/models--org--a--name/snapshots/{SHA}"
    assert hub.base_model_of(cached, None) == ("org/a--name", SHA)
    for path in (str(tmp_path), "/no/such/place", "../up/it", ""):
        assert hub.base_model_of(path, None) == (None, None)


def test_a_loaded_card_is_kept_until_the_model_is_trained() -> None:
    model = FakeModel(model_id="me/new")
    model.loaded_card = "# Mine\n\nmodel = CrossEncoder('cross_encoder_model_id')\n"  # type: ignore[assignment]
    assert generate_model_card(model) == "# Mine\n\nmodel = CrossEncoder('me/new')\n"
    model.model_card_data.register_trainer(fake_trainer(pairs(4)))
    assert generate_model_card(model).startswith("# Mine")
    model.model_card_data.begin_run()
    assert "Full Model Architecture" in generate_model_card(model)


def test_a_card_that_cannot_be_made_is_logged_not_raised(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = FakeModel()
    write_model_card(model, tmp_path, model_name="me/model")
    assert "CrossEncoder('me/model')" in (tmp_path / "README.md").read_text()
    model.num_labels = "many"  # type: ignore[assignment]
    write_model_card(model, tmp_path)
    assert "README.md could not be made" in caplog.text


def test_a_trainer_whose_data_cannot_be_read_is_logged_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        info = None

        def __len__(self) -> int:
            raise OSError("gone")

        def __getitem__(self, _: object) -> None:
            raise OSError("gone")

    model = FakeModel()
    trained(model, fake_trainer(Broken()))
    assert "the trainer's data cannot be described" in caplog.text
    assert generate_model_card(model)


def test_a_wrong_model_id_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert CrossEncoderModelCardData(model_id="no-owner").model_id is None
    assert "names no owner" in caplog.text


def test_setters_of_the_established_library() -> None:
    card = CrossEncoderModelCardData()
    card.set_language("en")
    card.set_license("mit")
    card.add_tags("one")
    card.add_tags(["one", "two"])
    card.set_model_id("me/it")
    assert (card.language, card.license, card.model_id) == (["en"], "mit", "me/it")
    assert card.tags == ["sentence-transformers", "cross-encoder", "reranker", "one", "two"]
    assert yaml.safe_load(card.to_yaml())["tags"] == card.tags


def test_a_model_is_copied_and_pickled_with_its_card_but_without_callbacks() -> None:
    model = FakeModel()
    unpicklable = lambda: None  # noqa: E731
    trained(model, fake_trainer(pairs(4), callbacks=[unpicklable]))
    evaluator = FakeRankingEvaluator("dev")
    model.model_card_data.set_evaluation_metrics(evaluator, evaluator.metrics(0.5), 1, 10)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.model_card_data.model is twin
        assert "* Size: 4 training samples" in generate_model_card(twin)
        assert "**0.5000**" in generate_model_card(twin)


def test_a_sharded_model_is_not_asked_to_predict(caplog: pytest.LogCaptureFixture) -> None:
    """One process alone would wait for ever for the weights that the others hold."""
    model = FakeModel()
    model.head.weight.ds_id = 1  # type: ignore[attr-defined]
    with caplog.at_level(logging.WARNING):
        assert "print(scores.shape)" in generate_model_card(model)
    assert model.predictions == 0
