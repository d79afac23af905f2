"""A random language model with a byte-level tokenizer, as Qwen's and Llama's are, a few kilobytes large."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from tests.models import TEXT

SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>", "<s>"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{% endfor %}<|im_start|>assistant\\n"
)
STRUCTURED = (
    "{% for message in messages %}[{{ message.role }}] {% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %} {% endfor %}relevant:"
)
USERS_ONLY = "{% for message in messages %}{% if message.role == 'user' %}{{ message.content }}{% endif %}{% endfor %}"


def tokenizer(chat_template: str | None = None, starts: bool = False) -> PreTrainedTokenizerFast:
    """With the words "yes" and "no"; `starts`: every text begins with `<s>`, as Llama's do."""
    raw = Tokenizer(BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=420,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([TEXT, *["yes no"] * 9, *["yes", "no"] * 99], trainer)
    if starts:
        start = SPECIAL.index("<s>")
        raw.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", start)]
        )
    made = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", model_max_length=256)
    made.chat_template = chat_template
    return made


def write_causal(directory: Path, chat_template: str | None = None, kind: str = "qwen") -> Path:
    """Saves model and tokenizer; weights are large enough that scores differ clearly."""
    llama = kind == "llama"
    words = tokenizer(chat_template, starts=llama)
    sizes = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "tie_word_embeddings": not llama,
    }
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes)) if llama else Qwen2ForCausalLM(Qwen2Config(**sizes))
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return directory
