"""What all losses of a cross-encoder share: what they declare about their data, and one scoring call per step.

A loss of a user needs none of this: any `nn.Module(model)` with `forward(inputs, labels)` works in the trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from training.cross_encoder.losses.lists import check_lists, flatten_lists, pad_lists
from training.cross_encoder.losses.mean import Mean, world_size
from training.cross_encoder.scoring import WRAPPERS, score_pairs
from training.cross_encoder.texts import TokenizedText

Pairs = list[tuple[str, str]]
Activation = Callable[[Tensor], Tensor]

IDENTITY = nn.Identity()
SPECIAL_TOKENS = 4  # the most that any encoder of pairs adds: <s> a </s></s> b </s>
CHARACTERS_PER_TOKEN = 3  # cautious: English has 4 to 5


class CrossEncoderLoss(nn.Module):
    """Base of the built-in losses. The class attributes tell trainer and collator what the loss needs.

    - `columns`: "pair" (two texts), "list" (a text and a list of texts), "tuple" (query, positive, negatives) or
      "anchor_positive" (anchor, positive, any number of negatives);
    - `labels`: "none", "scalar" (one number per row), "class" (a class id or a distribution), "list" (one number
      per listed text) or "margin" (one number or a list of them per row);
    - `outputs`: the number of the model's labels: 1, ">1" or "any";
    - `tokenized`: texts may arrive as `TokenizedText`.

    `mini_batch_tokens` bounds memory: above that many tokens, scores are computed with gradient caching, which gives
    the same value and gradient for about a third more time. `mini_batch_size` asks for the same in pairs: the budget
    is then that many times the longest pair of the batch.

    `across_processes`: data parallel training averages the gradients of the processes. That equals one process with
    the whole batch exactly where the processes hold equal shares of what the loss takes its mean over: rows (the
    losses over pairs and tuples), queries (ListNet, ListMLE), documents (ADR-MSE), pairs of documents (Lambda,
    RankNet). With `across_processes = True` it equals it for any shares, at the price of summing one number over all
    processes whenever the loss is called with gradients, so only where all of them call it equally often. None, the
    default: in the steps of the trainer (`joined_means`), and nowhere else; False: never.
    A class that inherits from a loss and skips its `forward` for some batches must set it to False.
    """

    columns: ClassVar[Literal["pair", "list", "tuple", "anchor_positive"]]
    labels: ClassVar[Literal["none", "scalar", "class", "list", "margin"]]
    outputs: ClassVar[Literal[1, "any", ">1"]] = 1
    tokenized: ClassVar[bool] = True

    def __init__(
        self,
        model: Any,
        activation_fn: Activation | None = None,
        *,
        mini_batch_size: int | None = None,
        mini_batch_tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.check_model(model)
        self.model = model
        self.activation_fn: Activation = IDENTITY if activation_fn is None else activation_fn
        self.mini_batch_size = mini_batch_size
        self.mini_batch_tokens = mini_batch_tokens
        self.across_processes: bool | None = None

    def check_model(self, model: Any) -> None:
        """ValueError if `model` is no cross-encoder or has the wrong number of labels for this loss."""
        name, count = type(self).__name__, getattr(unwrapped(model), "num_labels", None)
        if not isinstance(count, int):
            raise ValueError(
                f"{name} expects a model of type CrossEncoder, but got a model of type {type(model)}: "
                "load it with CrossEncoder(name_or_path)"
            )
        if self.outputs == 1 and count != 1:
            raise ValueError(
                f"{name} expects a model with 1 output label, but got a model with {count} output labels: load it "
                "with CrossEncoder(name_or_path, num_labels=1), or take CrossEntropyLoss for classes"
            )

    def score(self, pairs: Pairs, prompt: str | None = None, task: str | None = None) -> Tensor:
        """The model's logits for `pairs`: at least float32, shape (pairs, labels), with gradient.

        The model is called exactly once, also for no pairs: a process with an empty batch must take part in the
        gradient exchange of its fellows.
        """
        scored = pairs or [("", "")]
        scores = score_pairs(
            self.model, scored, mini_batch_tokens=self.token_budget(scored, prompt), prompt=prompt, task=task
        )
        return at_least_float32(scores)[: len(pairs)]

    def activated(self, pairs: Pairs, prompt: str | None = None, task: str | None = None) -> Tensor:
        """Scores of `pairs` by a model of one label, after the activation: shape (pairs,)."""
        return self.activation_fn(self.score(pairs, prompt, task).reshape(-1))

    def activated_lists(
        self, inputs: Sequence[Any], labels: Any, prompt: str | None = None, task: str | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and mask of a listwise batch, each of shape (queries, longest list); ValueError as told."""
        check_lists(type(self).__name__, inputs, labels)
        queries, documents = inputs
        lengths = [len(texts) for texts in documents]
        scores, mask = pad_lists(self.activated(flatten_lists(queries, documents), prompt, task), lengths)
        flat_labels = torch.cat([torch.as_tensor(row).reshape(-1) for row in labels]) if labels else scores.new_zeros(0)
        return scores, pad_lists(flat_labels.to(scores), lengths)[0], mask

    def token_budget(self, pairs: Pairs, prompt: str | None = None) -> int | None:
        """How many tokens may be held with their activations at once; None: all."""
        size = self.mini_batch_size
        if self.mini_batch_tokens is not None or size is None or size <= 0:
            return self.mini_batch_tokens
        longest = max(token_count(a) + token_count(b) for a, b in pairs) + token_count(prompt or "") + SPECIAL_TOKENS
        limit = getattr(unwrapped(self.model), "max_length", None)
        return size * (min(longest, limit) if isinstance(limit, int) and limit > 0 else longest)

    def joined(self, found: Mean | Tensor) -> Tensor:
        """The loss of this process: its own mean, or in training its part of the mean of all processes.

        What is no mean (another `reduction`) stays as it is.
        """
        if not isinstance(found, Mean):
            return found
        together = self.across_processes and torch.is_grad_enabled()
        return found.value_across_processes() if together else found.value()


@contextmanager
def joined_means(loss: Any, one_dataset: bool = False) -> Iterator[None]:
    """In it, a built-in loss that leaves `across_processes` open takes its mean over the items of all processes.

    Of several losses by dataset (a dictionary) each does, provided that all processes have batches of `one_dataset` in
    a step: losses of different ones have no common mean. For training steps only, where every process calls the loss.
    """
    losses = list(loss.values()) if isinstance(loss, Mapping) else [loss]
    joins = world_size() > 1 and (one_dataset or not isinstance(loss, Mapping))
    built_in = [each for each in losses if joins and isinstance(each, CrossEncoderLoss)]
    opened = [each for each in built_in if each.across_processes is None]
    for each in opened:
        each.across_processes = True
    try:
        yield
    finally:
        for each in opened:
            each.across_processes = None


def check_pairs(name: str, inputs: Sequence[Any]) -> None:
    """ValueError unless there are exactly two columns of one length."""
    if len(inputs) != 2:
        raise ValueError(
            f"{name} expects a dataset with two non-label columns, but got a dataset with {len(inputs)} columns: "
            "keep the two text columns with dataset.select_columns([..., ..., 'label'])"
        )
    check_lengths(name, inputs)


def check_lengths(name: str, inputs: Sequence[Any]) -> None:
    """ValueError unless all columns have as many texts."""
    if len({len(column) for column in inputs}) > 1:
        raise ValueError(
            f"{name} expects columns of one length, but got {' and '.join(str(len(column)) for column in inputs)} "
            "texts: give every row a text in each column"
        )


def one_label_per_pair(name: str, labels: Any, count: int) -> Tensor:
    """The labels as a tensor of shape (count,); ValueError if they are not one number for each pair."""
    if not isinstance(labels, Tensor):
        raise ValueError(
            f"{name} expects {count} labels (one per example), but got {type(labels).__name__}: the dataset needs a "
            "column 'label' or 'score' with one number in each row"
        )
    if labels.numel() != count:
        raise ValueError(
            f"{name} expects {count} labels (one per example), but got {labels.numel()} labels with shape "
            f"{tuple(labels.shape)}: the label column needs one number in each row"
        )
    return labels.reshape(-1)


def unwrapped(model: Any) -> Any:
    """The model inside wrappers such as DistributedDataParallel or `torch.compile`."""
    for name in WRAPPERS:
        model = getattr(model, name, model)
    return model


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision as float32; wider floats stay."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def token_count(text: str) -> int:
    """Tokens of a text; of a text without ids, a cautious guess."""
    return len(text.ids) if isinstance(text, TokenizedText) else -(-len(text) // CHARACTERS_PER_TOKEN)
