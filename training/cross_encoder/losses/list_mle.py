"""ListMLE: the likelihood of the right order, each place counting the same."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from training.cross_encoder.losses.base import IDENTITY, Activation
from training.cross_encoder.losses.mean import Mean
from training.cross_encoder.losses.plist_mle import PListMLELoss, plist_mle


def list_mle(scores: Tensor, labels: Tensor, mask: Tensor, respect_input_order: bool = True) -> Mean:
    """-sum log Plackett-Luce of the right order, mean over queries (Xia et al. 2008); shapes as in `plist_mle`."""
    return plist_mle(scores, labels, mask, None, respect_input_order)


class ListMLELoss(PListMLELoss):
    """`list_mle` over activation(scores); inputs and labels as for `PListMLELoss`."""

    citation = """
@inproceedings{10.1145/1390156.1390306,
    title = {Listwise Approach to Learning to Rank - Theory and Algorithm},
    author = {Xia, Fen and Liu, Tie-Yan and Wang, Jue and Zhang, Wensheng and Li, Hang},
    booktitle = {Proceedings of the 25th International Conference on Machine Learning},
    pages = {1192-1199},
    year = {2008},
    url = {https://doi.org/10.1145/1390156.1390306},
}
"""

    def __init__(
        self,
        model: Any,
        activation_fn: Activation | None = IDENTITY,
        mini_batch_size: int | None = None,
        respect_input_order: bool = True,
        *,
        mini_batch_tokens: int | None = None,
    ) -> None:
        super().__init__(
            model, None, activation_fn, mini_batch_size, respect_input_order, mini_batch_tokens=mini_batch_tokens
        )

    def get_config_dict(self) -> dict[str, Any]:
        """The options, for the model card."""
        config = super().get_config_dict()
        del config["lambda_weight"]
        return config
