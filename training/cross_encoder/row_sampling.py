"""When batches are made by length or by tokens instead of by rows alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.data import BatchSampler

from training.cross_encoder.packed.scorer import PackedScorer
from training.cross_encoder.token_lengths import row_tokens
from training.cross_encoder.training_args import CrossEncoderTrainingArguments
from training.sampling.length_bucketed import LengthBucketedBatchSampler
from training.sampling.token_budget import TokenBudgetBatchSampler
from training.training_args import BatchSamplers

Make = Callable[..., BatchSampler]


def sampler_choice(trainer: Any, dataset: Any, loss: Any) -> Make | None:
    """What makes the sampler of a training dataset; None: the trainer's own `get_batch_sampler`.

    Raises ValueError if tokens or lengths are asked for together with another `batch_sampler`.
    """
    args: CrossEncoderTrainingArguments = trainer.args
    if args.batch_sampler == BatchSamplers.TOKEN_BUDGET and args.batch_tokens is None:
        raise ValueError("batch_sampler='token_budget' needs batch_tokens, the tokens of a batch")
    by_tokens = args.batch_tokens is not None
    if not by_tokens and not args.length_bucketing and args.batch_sampler != BatchSamplers.BATCH_SAMPLER:
        return None
    allowed = (BatchSamplers.BATCH_SAMPLER, BatchSamplers.TOKEN_BUDGET if by_tokens else BatchSamplers.LENGTH_BUCKETED)
    if args.batch_sampler not in allowed:
        raise ValueError(
            f"{'batch_tokens' if by_tokens else 'length_bucketing'} makes the batches itself: leave "
            f"batch_sampler={args.batch_sampler!r} out, or that"
        )
    packed = PackedScorer.of(trainer.model.network) is not None
    if by_tokens:
        return token_budget(trainer, dataset, padded=bool(args.length_bucketing) or not packed)
    wanted = not packed and compares_no_rows(loss) if args.length_bucketing is None else args.length_bucketing
    return LengthBucketedBatchSampler if wanted else None


def compares_no_rows(loss: Any) -> bool:
    """Whether the loss of a row does not depend on the others of its batch, as far as the loss says so."""
    return getattr(loss, "columns", None) in ("pair", "list", "tuple")


def token_budget(trainer: Any, dataset: Any, padded: bool) -> Make:
    """A sampler of batches of `args.batch_tokens` tokens; all texts are tokenised once for it."""
    lengths = row_tokens(dataset, trainer.model.pair_encoder, trainer.label_columns())

    def make(
        dataset: Any, batch_size: int, drop_last: bool, valid_label_columns: Any, generator: Any, seed: int
    ) -> BatchSampler:
        return TokenBudgetBatchSampler(
            dataset,
            None,
            drop_last,
            valid_label_columns,
            generator,
            seed,
            lengths=lengths.tolist(),
            max_tokens=trainer.args.batch_tokens,
            padded=padded,
        )

    return make
