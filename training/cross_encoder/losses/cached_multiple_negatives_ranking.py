"""Multiple negatives ranking with bounded memory, for batches with many negatives."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from tqdm import tqdm

from training.cross_encoder.losses.base import Activation, Pairs
from training.cross_encoder.losses.multiple_negatives_ranking import SIGMOID, MultipleNegativesRankingLoss


class CachedMultipleNegativesRankingLoss(MultipleNegativesRankingLoss):
    """Value and gradient of `MultipleNegativesRankingLoss`; memory for about `mini_batch_size` pairs.

    Gradient caching (Gao et al. 2021, arXiv 2101.06983): scores are computed without a graph, then each mini-batch
    again with one, under the same dropout, to receive the gradient of its scores. A batch that fits the bound is
    computed once. `mini_batch_tokens` states the bound in tokens and goes before `mini_batch_size`.
    `show_progress_bar` shows for each batch how many pairs were scored.
    """

    uses_gradient_cache = True
    citation = """
@misc{gao2021scaling,
    title={Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup},
    author={Luyu Gao and Yunyi Zhang and Jiawei Han and Jamie Callan},
    year={2021},
    eprint={2101.06983},
    archivePrefix={arXiv},
    primaryClass={cs.LG}
}
"""

    def __init__(
        self,
        model: Any,
        num_negatives: int | None = 4,
        scale: float = 10.0,
        activation_fn: Activation | None = SIGMOID,
        mini_batch_size: int = 32,
        show_progress_bar: bool = False,
        *,
        gather_across_devices: bool = False,
        mini_batch_tokens: int | None = None,
    ) -> None:
        if mini_batch_size < 1:
            raise ValueError(f"mini_batch_size must be at least 1, but is {mini_batch_size}")
        super().__init__(
            model,
            num_negatives,
            scale,
            activation_fn,
            gather_across_devices=gather_across_devices,
            mini_batch_size=mini_batch_size,
            mini_batch_tokens=mini_batch_tokens,
        )
        self.show_progress_bar = show_progress_bar

    def score(self, pairs: Pairs, prompt: str | None = None, task: str | None = None) -> Tensor:
        """As in the base, with a bar of the scored pairs."""
        with tqdm(total=len(pairs), desc="Score pairs", unit="pair", disable=not self.show_progress_bar) as bar:
            scores = super().score(pairs, prompt, task)
            bar.update(len(pairs))
        return scores

    def get_config_dict(self) -> dict[str, Any]:
        """The options, for the model card."""
        return {**super().get_config_dict(), "mini_batch_size": self.mini_batch_size}
