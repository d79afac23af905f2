"""The five tokenizer styles of the models that we promise, trained on a few lines and saved by transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertTokenizer,
    DebertaV2Tokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

from tests.models import write_json

CORPUS = [
    "The capital of France is Paris, and the river Seine flows through it.",
    "What is the population of Berlin? About 3.7 million people live there (2023).",
    "Größe, naïve café, El Niño, smörgåsbord — accents decide nothing.",
    "Поисковая система ранжирует документы. Η μηχανή αναζήτησης ταξινομεί έγγραφα.",
    "検索エンジンは文書を並べ替える。搜索引擎对文档进行排序。검색 엔진은 문서를 정렬한다.",
    "محرك البحث يرتب المستندات. מנוע החיפוש מדרג מסמכים.",
    "def rank(query, documents): return sorted(documents, key=score, reverse=True)",
    "👩‍💻 👍🏽 ❤️ 🇫🇷 emoji and  runs   of    spaces\tand\ttabs",
]


def save_bert(directory: Path) -> None:
    """WordPiece, lower-cased; `[CLS] A [SEP] B [SEP]` with type ids 0 and 1."""
    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    inner = sorted({f"##{one}" for line in CORPUS for one in raw.normalizer.normalize_str(line) if not one.isspace()})
    trainer = trainers.WordPieceTrainer(  # it would number inner characters in an order of its own every time
        vocab_size=400, special_tokens=[*special, *inner], show_progress=False
    )
    raw.train_from_iterator(CORPUS, trainer)
    BertTokenizer(vocab=raw.get_vocab()).save_pretrained(directory)


def save_roberta(directory: Path) -> None:
    """Byte-level BPE; `<s> A </s></s> B </s>` without type ids."""
    raw = _byte_level_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    model = raw.model
    merges = _merges(raw)
    assert isinstance(model, models.BPE)
    RobertaTokenizer(vocab=raw.get_vocab(), merges=merges).save_pretrained(directory)


def save_xlm_roberta(directory: Path) -> None:
    """Unigram with Metaspace; `<s> A </s></s> B </s>` without type ids."""
    pieces = _unigram(["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<unk>")
    XLMRobertaTokenizer(vocab=pieces).save_pretrained(directory)


def save_deberta_v2(directory: Path) -> None:
    """Unigram with Metaspace; `[CLS] A [SEP] B [SEP]` with type ids 0 and 1."""
    pieces = _unigram(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], "[UNK]")
    DebertaV2Tokenizer(vocab=pieces).save_pretrained(directory)


def save_modernbert(directory: Path) -> None:
    """Byte-level BPE under NFC with added runs of spaces; `[CLS] A [SEP] B [SEP]`, no type ids for the model."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    raw = _byte_level_bpe([*special, "[MASK]"])
    raw.normalizer = normalizers.NFC()
    raw.add_tokens([AddedToken(" " * n, normalized=True) for n in (2, 3, 4)])
    raw.add_special_tokens([AddedToken("[MASK]", lstrip=True)])
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, raw.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(directory)


STYLES: dict[str, tuple[Callable[[Path], None], dict[str, int]]] = {
    "bert": (save_bert, {"type_vocab_size": 2}),
    "roberta": (save_roberta, {"type_vocab_size": 1}),
    "xlm-roberta": (save_xlm_roberta, {"type_vocab_size": 1}),
    "deberta-v2": (save_deberta_v2, {"type_vocab_size": 0}),
    "modernbert": (save_modernbert, {}),
}
"""Per model type: what writes its tokenizer, and what its config says about type ids."""


def save_style(model_type: str, directory: Path) -> Path:
    """Writes the tokenizer of `model_type` and the config that goes with it; returns `directory`."""
    save, extra = STYLES[model_type]
    save(directory)
    pad_id = Tokenizer.from_file(str(directory / "tokenizer.json")).token_to_id("[PAD]")
    pad_id = 1 if pad_id is None else pad_id
    write_json(directory / "config.json", {"model_type": model_type, "pad_token_id": pad_id, **extra})
    return directory


def _byte_level_bpe(special: list[str]) -> Tokenizer:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(CORPUS, trainer)
    return raw


def _merges(raw: Tokenizer) -> list[tuple[str, str]]:
    import json

    return [tuple(merge) for merge in json.loads(raw.to_str())["model"]["merges"]]


def _unigram(special: list[str], unknown: str) -> list[tuple[str, float]]:
    import json

    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token=unknown, show_progress=False)
    raw.train_from_iterator(CORPUS, trainer)
    pieces = dict(json.loads(raw.to_str())["model"]["vocab"])
    found = sorted((piece, round(score, 2)) for piece, score in pieces.items() if piece not in special)
    return [*((piece, pieces[piece]) for piece in special), *found]  # neither order nor ties are the same every time
