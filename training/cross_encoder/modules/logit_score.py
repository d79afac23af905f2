"""A relevance score from what a language model would say next."""

from __future__ import annotations

from training.sentence_transformer.modules.module import Features, Module


class LogitScore(Module):
    """`logit(true token) - logit(false token)` at the last position: the log-odds of "yes" against "no".

    Without a false token the score is the true token's logit. The last position must be a real token, so rows are
    padded on the left. Nogueira et al. 2020, "Document Ranking with a Pretrained Sequence-to-Sequence Model".
    """

    config_keys = ("true_token_id", "false_token_id", "module_input_name")

    def __init__(
        self, true_token_id: int, false_token_id: int | None = None, module_input_name: str = "causal_logits"
    ) -> None:
        super().__init__()
        self.true_token_id, self.false_token_id = true_token_id, false_token_id
        self.module_input_name = module_input_name

    def forward(self, features: Features) -> Features:
        """Adds "scores", shape (rows, 1)."""
        last = features[self.module_input_name][:, -1]
        scores = last[:, self.true_token_id]
        if self.false_token_id is not None:
            scores = scores - last[:, self.false_token_id]
        features["scores"] = scores.unsqueeze(1)
        return features


def yes_or_no(tokenizer: object, name: str) -> LogitScore:
    """The score by the tokens "yes" and "no". Raises ValueError where the vocabulary lacks one of them.

    A vocabulary with a token for unknown words would give that one's id for both, and a score of 0 for every pair.
    """
    found = [tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no")]  # type: ignore[attr-defined]
    unknown = getattr(tokenizer, "unk_token_id", None)
    if any(one is None or one == unknown for one in found):
        raise ValueError(
            f"{name}: its tokenizer has no token 'yes' or no token 'no', which are the default ones of LogitScore; "
            "give modules=[Transformer(..., transformer_task='text-generation'), LogitScore(true_token_id, "
            "false_token_id)] with tokens that it has"
        )
    return LogitScore(*found)
