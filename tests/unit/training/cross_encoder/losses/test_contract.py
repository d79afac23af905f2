"""What a loss declares, refuses and asks of the model."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.unit.training.cross_encoder.losses.tables import Table, columns, lists
from training.cross_encoder import CrossEncoder, losses
from training.cross_encoder.losses.base import CrossEncoderLoss, joined_means
from training.cross_encoder.losses.cross_entropy import cross_entropy
from training.cross_encoder.losses.mean import Mean
from training.cross_encoder.texts import TokenizedText

OF_PAIRS = ["BinaryCrossEntropyLoss", "MSELoss", "CrossEntropyLoss"]
OF_LISTS = ["LambdaLoss", "RankNetLoss", "ListNetLoss", "ListMLELoss", "PListMLELoss", "ADRMSELoss"]
OF_POSITIVES = ["MultipleNegativesRankingLoss", "CachedMultipleNegativesRankingLoss"]
ALL = [*OF_PAIRS, *OF_LISTS, *OF_POSITIVES, "MarginMSELoss"]


def make(name: str, outputs: int = 1, **options: Any) -> Any:
    outputs = 3 if name == "CrossEntropyLoss" else outputs
    return getattr(losses, name)(Table(torch.zeros(8, 32, outputs)), **options)


def example(name: str) -> tuple[Any, Any]:
    """A batch that the loss takes."""
    if name in OF_LISTS:
        return lists([3, 2]), [torch.tensor([2.0, 1.0, 0.0]), torch.tensor([0.0, 1.0])]
    if name in OF_POSITIVES:
        return columns(4, 2), None
    if name == "MarginMSELoss":
        return columns(4, 2), torch.tensor([1.0, 2.0, 0.5, 0.1])
    return columns(4, 1), torch.tensor([0, 1, 1, 0])


@pytest.mark.parametrize("name", ALL)
def test_every_loss_declares_its_data(name: str) -> None:
    loss = make(name)
    kinds = {
        **dict.fromkeys(OF_PAIRS, ("pair", "scalar")),
        **dict.fromkeys(OF_LISTS, ("list", "list")),
        **dict.fromkeys(OF_POSITIVES, ("anchor_positive", "none")),
        "CrossEntropyLoss": ("pair", "class"),
        "MarginMSELoss": ("tuple", "margin"),
    }
    assert (loss.columns, loss.labels) == kinds[name]
    assert loss.outputs == (">1" if name == "CrossEntropyLoss" else 1)
    assert loss.tokenized
    assert isinstance(loss, CrossEncoderLoss)
    assert hasattr(loss, "citation") == (name not in {"BinaryCrossEntropyLoss", "CrossEntropyLoss"})
    assert "activation_fn" in loss.get_config_dict()


@pytest.mark.parametrize("name", ALL)
def test_prompt_task_and_token_budget_reach_the_model_in_one_call(name: str, monkeypatch: Any) -> None:
    """The scoring call is the seam to the model; here it is recorded."""
    calls: list[dict[str, Any]] = []

    def record(model: Any, pairs: Any, **options: Any) -> Tensor:
        calls.append(options)
        return torch.zeros(len(pairs), model.num_labels, requires_grad=True)

    monkeypatch.setattr("training.cross_encoder.losses.base.score_pairs", record)
    inputs, labels = example(name)
    make(name, mini_batch_tokens=4096)(inputs, labels, prompt="query: ", task="rank").backward()
    assert calls == [{"mini_batch_tokens": 4096, "prompt": "query: ", "task": "rank"}]


@pytest.mark.parametrize("name", ALL)
def test_more_than_one_output_is_refused_except_for_classes(name: str) -> None:
    if name == "CrossEntropyLoss":
        make(name, outputs=3)
        return
    with pytest.raises(ValueError, match=f"{name} .* with 1 output label, but got .* 2 output labels.*num_labels=1"):
        make(name, outputs=2)


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_cross_encoder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} expects a model of type CrossEncoder.*Linear"):
        getattr(losses, name)(nn.Linear(2, 1))


@pytest.mark.parametrize("name", OF_PAIRS)
def test_pairs_need_two_columns(name: str) -> None:
    with pytest.raises(ValueError, match=r"two non-label columns, but got a dataset with 3 columns: .*select_columns"):
        make(name)(columns(4, 2), torch.zeros(4))


@pytest.mark.parametrize("name", [*OF_PAIRS, *OF_POSITIVES, "MarginMSELoss"])
def test_columns_of_unequal_length_are_refused_by_name(name: str) -> None:
    """Some gave an error of zip(), and the losses over positives took texts of other rows for their own."""
    (*others, last), labels = example(name)
    lengths = " and ".join([*(["4"] * len(others)), "3"])
    with pytest.raises(ValueError, match=f"{name} expects columns of one length, but got {lengths} texts: give every"):
        make(name)([*others, last[:3]], labels)


@pytest.mark.parametrize("name", ["BinaryCrossEntropyLoss", "MSELoss"])
@pytest.mark.parametrize("labels", [torch.zeros(3), torch.zeros(4, 2), [torch.zeros(1)] * 4, None])
def test_pairs_need_one_number_each(name: str, labels: Any) -> None:
    with pytest.raises(ValueError, match=r"expects 4 labels \(one per example\), but got .*one number in each row"):
        make(name)(columns(4, 1), labels)


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([0.0, 1.0, 1.0, 0.0]), torch.zeros(4, 2), torch.zeros(3).long(), torch.zeros(4, 3).long(), None],
)
def test_classes_are_whole_numbers_or_distributions(labels: Any) -> None:
    with pytest.raises(ValueError, match="an integer class id for each of 4 examples, or a list of 3 probabilities"):
        make("CrossEntropyLoss")(columns(4, 1), labels)


def test_class_ids_may_be_of_any_integer_type() -> None:
    """6.2 takes int64 only."""
    make("CrossEntropyLoss")(columns(4, 1), torch.tensor([0, 1, 2, 0], dtype=torch.int32)).backward()


def test_distributions_may_arrive_as_list() -> None:
    make("CrossEntropyLoss")(columns(2, 1), [torch.tensor([0.2, 0.3, 0.5]), torch.tensor([1.0, 0.0, 0.0])]).backward()


@pytest.mark.parametrize("labels", [torch.zeros(4, 4), torch.zeros(3), [torch.zeros(2), torch.zeros(3)], None])
def test_margins_fit_the_negatives(labels: Any) -> None:
    with pytest.raises(ValueError, match=r"does not match expected shape \(4, 2\).*one margin per negative"):
        make("MarginMSELoss")(columns(4, 3), labels)


def test_margins_need_a_negative() -> None:
    with pytest.raises(ValueError, match="at least three non-label columns"):
        make("MarginMSELoss")(columns(4, 1), torch.zeros(4))


@pytest.mark.parametrize("name", OF_POSITIVES)
def test_an_anchor_needs_a_positive(name: str) -> None:
    with pytest.raises(ValueError, match=r"at least two non-label columns .*label column"):
        make(name)(columns(4, 1)[:1], None)


@pytest.mark.parametrize("name", OF_LISTS)
def test_lists_need_lists_of_labels(name: str) -> None:
    for labels in (torch.zeros(2), torch.zeros(2, 3), None, [torch.tensor(1.0), torch.tensor(0.0)]):
        with pytest.raises(ValueError, match=f"{name} expects a list of labels for each sample.*one number for each"):
            make(name)(lists([3, 3]), labels)


@pytest.mark.parametrize("name", OF_LISTS)
def test_lists_and_labels_have_the_same_lengths(name: str) -> None:
    labels = [torch.zeros(3), torch.zeros(1)]
    with pytest.raises(ValueError, match=r"inputs \(\[3, 2\]\) does not match number of labels per query \(\[3, 1\]\)"):
        make(name)(lists([3, 2]), labels)
    with pytest.raises(ValueError, match=r"two inputs .*, but got 3 inputs"):
        make(name)([*lists([3, 1]), ["a", "b"]], labels)
    with pytest.raises(ValueError, match="a list of documents for each query, but got a single text"):
        make(name)([["q0", "q1"], ["abc", "a"]], labels)


def test_options_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"reduction_log must be one of .*'log10'"):
        make("LambdaLoss", reduction_log="log10")
    with pytest.raises(ValueError, match="mini_batch_size must be at least 1"):
        make("CachedMultipleNegativesRankingLoss", mini_batch_size=0)


def test_a_scheme_of_a_user_needs_its_forward() -> None:
    with pytest.raises(NotImplementedError, match=r"BaseWeightingScheme needs forward\(gain, discount, true_sorted\)"):
        losses.BaseWeightingScheme()(torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1))


def test_a_scheme_of_a_user_weighs_the_pairs() -> None:
    class Double(losses.BaseWeightingScheme):  # type: ignore[misc]
        def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
            return torch.tensor(2.0)

    inputs, labels = example("LambdaLoss")
    twice = make("LambdaLoss", weighting_scheme=Double())(inputs, labels)
    torch.testing.assert_close(twice, 2 * make("RankNetLoss")(inputs, labels))


def test_no_drawn_negatives_leaves_the_own_hard_ones() -> None:
    """6.2 fails on drawing 0 texts."""
    loss = make("MultipleNegativesRankingLoss", num_negatives=0)
    loss(columns(4, 2), None)
    assert loss.model.calls == [[(f"q{i}", f"d{j}") for i in range(4) for j in (i, 4 + i)]]


def test_drawn_negatives_are_texts_of_other_rows() -> None:
    loss = make("MultipleNegativesRankingLoss", num_negatives=3)
    loss(columns(4, 2), None)
    for row in range(4):
        own, *drawn, hard = [int(text[1:]) for query, text in loss.model.calls[0] if query == f"q{row}"]
        assert (own, hard) == (row, 4 + row)
        assert len(set(drawn)) == 3
        assert row not in {text % 4 for text in drawn}


def test_gathering_in_one_process_changes_nothing() -> None:
    inputs, _ = example("MultipleNegativesRankingLoss")
    loss = make("MultipleNegativesRankingLoss", gather_across_devices=True)
    torch.manual_seed(0)
    gathered = loss(inputs, None)
    torch.manual_seed(0)
    torch.testing.assert_close(make("MultipleNegativesRankingLoss")(inputs, None), gathered)
    assert loss.get_config_dict()["gather_across_devices"] is True
    assert "gather_across_devices" not in make("MultipleNegativesRankingLoss").get_config_dict()


@pytest.mark.parametrize("shown", [True, False])
def test_the_progress_bar_counts_pairs(shown: bool, capsys: Any) -> None:
    make("CachedMultipleNegativesRankingLoss", show_progress_bar=shown)(columns(4, 1), None)
    assert ("16/16" in capsys.readouterr().err) == shown


def test_a_mini_batch_of_pairs_is_a_budget_of_tokens() -> None:
    """As many tokens as that many of the longest pair; tokens that are given go first; without either, no bound."""
    long = TokenizedText("long", np.zeros(90, dtype=np.int32))
    pairs = [("abc", "abcdef"), ("abc", long)]
    assert make("LambdaLoss").token_budget(pairs) is None
    assert make("LambdaLoss", mini_batch_size=-1).token_budget(pairs) is None
    assert make("LambdaLoss", mini_batch_size=2).token_budget(pairs[:1]) == 2 * (1 + 2 + 4)
    loss = make("CachedMultipleNegativesRankingLoss", mini_batch_size=8)
    assert loss.token_budget(pairs) == 8 * (1 + 90 + 4)
    assert loss.token_budget(pairs, "p" * 9) == 8 * (1 + 90 + 4 + 3)
    loss.model.max_length = 64
    assert loss.token_budget(pairs) == 8 * 64
    loss.mini_batch_tokens = 1000
    assert loss.token_budget(pairs) == 1000


def test_the_model_inside_wrappers_is_asked() -> None:
    wrapper = nn.Module()
    wrapper.module = Table(torch.zeros(1, 1, 2))
    with pytest.raises(ValueError, match="2 output labels"):
        losses.MSELoss(wrapper)


def test_a_mean_of_nothing_is_zero() -> None:
    assert Mean(torch.zeros(()), torch.tensor(0)).value() == 0.0
    assert Mean(torch.tensor(3.0), torch.tensor(0.5)).value() == 6.0


@pytest.mark.parametrize("name", ALL)
def test_the_mean_of_one_process_is_the_ordinary_mean(name: str) -> None:
    inputs, labels = example(name)
    values = []
    for across in (False, True):
        loss = make(name)
        loss.across_processes = across
        torch.manual_seed(0)
        values.append(loss(inputs, labels))
    torch.testing.assert_close(values[0], values[1])


@pytest.mark.parametrize("name", ["BinaryCrossEntropyLoss", "MSELoss", "CrossEntropyLoss", "MarginMSELoss"])
def test_a_sum_is_no_mean_to_join(name: str) -> None:
    inputs, labels = example(name)
    loss = make(name, reduction="sum")
    alone = loss(inputs, labels)
    loss.across_processes = True
    assert loss(inputs, labels) == alone


def test_the_trainer_joins_the_means_of_one_loss_and_leaves_a_choice_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, other = make("LambdaLoss"), nn.Identity()
    with joined_means(loss):
        assert loss.across_processes is None, "one process alone"
    monkeypatch.setattr("training.cross_encoder.losses.base.world_size", lambda: 2)
    with joined_means(loss):
        assert loss.across_processes is True
    assert loss.across_processes is None
    with pytest.raises(ValueError, match="labels"), joined_means(loss):
        loss(example("LambdaLoss")[0], [])
    assert loss.across_processes is None, "also after an error"
    with joined_means({"a": loss, "b": loss}), joined_means(other):
        assert loss.across_processes is None
        assert not hasattr(other, "across_processes")
    for choice in (False, True):
        loss.across_processes = choice
        with joined_means(loss):
            assert loss.across_processes is choice
        assert loss.across_processes is choice


def test_the_mean_of_classes_counts_their_weights() -> None:
    scores, mask, ids = torch.rand(4, 3), torch.ones(4, dtype=torch.bool), torch.tensor([0, 1, 2, 2])
    weights = torch.tensor([1.0, 2.0, 4.0])
    assert cross_entropy(scores, ids, mask, weights, ignore_index=0).weight == 10.0
    assert cross_entropy(scores, ids, mask, ignore_index=0).weight == 3.0
    assert cross_entropy(scores, torch.rand(4, 3), mask, weights).weight == 4.0


def test_a_class_is_importable_from_the_path_of_its_name() -> None:
    """As in scripts of before 2025."""
    for name in ALL:
        module = importlib.import_module(f"training.cross_encoder.losses.{name}")
        assert getattr(module, name) is getattr(losses, name)
        assert isinstance(getattr(losses, name), type), "the module does not hide the class"


def test_the_package_itself_imports_no_torch() -> None:
    code = "import sys; from training.cross_encoder import losses; dir(losses); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["CachedMultipleNegativesRankingLoss", "LambdaLoss", "BinaryCrossEntropyLoss"])
def test_bounded_memory_gives_the_same_value_and_gradients_of_the_weights(name: str, reranker_dir: Path) -> None:
    """Without dropout, since other mini-batches draw other dropout masks; in float64, where no sum is rounded much."""
    inputs, labels = example(name)
    inputs = [[spelled(value) for value in column] for column in inputs]
    model = CrossEncoder(str(reranker_dir), device="cpu").double().eval()
    found = []
    for tokens in (10**9, 24):
        torch.manual_seed(3)
        value = getattr(losses, name)(model, mini_batch_tokens=tokens)(inputs, labels)
        model.zero_grad()
        value.backward()
        found.append((value.detach(), {key: weight.grad for key, weight in model.named_parameters()}))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def spelled(value: Any) -> Any:
    """Texts of different lengths in the place of names such as d7."""
    if isinstance(value, list):
        return [spelled(each) for each in value]
    return "the quick brown fox jumps over a lazy dog and cat while search engine"[: 5 + 7 * int(value[1:])]
