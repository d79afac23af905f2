"""RankNet: the order of each pair of documents."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from training.cross_encoder.losses.base import IDENTITY, Activation
from training.cross_encoder.losses.lambda_loss import LambdaLoss, Logarithm, lambda_loss
from training.cross_encoder.losses.lambda_schemes import NoWeightingScheme
from training.cross_encoder.losses.mean import Mean

NO_WEIGHTING = NoWeightingScheme()


def rank_net(
    scores: Tensor,
    labels: Tensor,
    mask: Tensor,
    k: int | None = None,
    sigma: float = 1.0,
    reduction_log: Logarithm = "binary",
) -> Mean:
    """-log sigmoid(sigma (s_i - s_j)), mean over the pairs with label_i > label_j (Burges et al. 2005).

    Shapes and `k` as in `lambda_loss`.
    """
    return lambda_loss(scores, labels, mask, NO_WEIGHTING, k, sigma, reduction_log=reduction_log)


class RankNetLoss(LambdaLoss):
    """`rank_net` over activation(scores). Inputs: queries and lists of documents; labels: a list for each query."""

    citation = """
@inproceedings{burges2005learning,
  title={Learning to Rank using Gradient Descent},
  author={Burges, Chris and Shaked, Tal and Renshaw, Erin and Lazier, Ari and Deeds, Matt and Hamilton, Nicole and
    Hullender, Greg},
  booktitle={Proceedings of the 22nd international conference on Machine learning},
  pages={89--96},
  year={2005}
}
"""

    def __init__(
        self,
        model: Any,
        k: int | None = None,
        sigma: float = 1.0,
        eps: float = 1e-10,
        reduction_log: Logarithm = "binary",
        activation_fn: Activation | None = IDENTITY,
        mini_batch_size: int | None = None,
        *,
        mini_batch_tokens: int | None = None,
    ) -> None:
        super().__init__(
            model,
            NO_WEIGHTING,
            k,
            sigma,
            eps,
            reduction_log,
            activation_fn,
            mini_batch_size,
            mini_batch_tokens=mini_batch_tokens,
        )

    def get_config_dict(self) -> dict[str, Any]:
        """The options, for the model card."""
        config = super().get_config_dict()
        del config["weighting_scheme"]
        return config
