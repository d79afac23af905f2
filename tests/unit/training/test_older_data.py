"""Readers and datasets of the older interface, against sentence-transformers' own."""

from __future__ import annotations

import gzip
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example as also
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import InputExample as OracleExample
from sentence_transformers.sentence_transformer import datasets as oracle_datasets
from sentence_transformers.sentence_transformer import readers as oracle_readers
from torch.utils.data import DataLoader

from training import InputExample, datasets, readers


def as_tuples(examples: Any) -> list[tuple[Any, ...]]:
    """Examples of either library as values."""
    return [(example.guid, list(example.texts), example.label) for example in examples]


def test_an_example_has_the_library_s_defaults_and_text_form() -> None:
    assert vars(InputExample()) == vars(OracleExample())
    arguments: dict[str, Any] = {"guid": "7", "texts": ["a", "b"], "label": 0.5}
    assert str(InputExample(**arguments)) == str(OracleExample(**arguments))
    assert str(InputExample()) == "<InputExample> label: 0, texts: "
    assert vars(pickle.loads(pickle.dumps(InputExample(**arguments)))) == arguments


FILES = {
    "LabelSentenceReader": ("labels.tsv", "sports\ta b\nnews\tc\nsports\td e\n", {}),
    "STSDataReader": ("sts.csv", 'a "b\tc d\t2.5\ne\tf\t5\n', {}),
    "STSBenchmarkDataReader": ("stsb.csv", "g\tf\ty\t1\t4\ta\tb\ng\tf\ty\t1\t0.5\tc\td\n", {}),
    "TripletReader": ("triplets.csv", "x\ty\tz\na\tb\tc\nd\te\tf\n", {"has_header": True}),
}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # sentence-transformers leaves its files open
@pytest.mark.parametrize("limit", [0, 1])
@pytest.mark.parametrize("name", FILES)
def test_a_reader_gives_what_the_library_s_gives(name: str, limit: int, tmp_path: Path) -> None:
    file, text, options = FILES[name]
    (tmp_path / file).write_text(text, encoding="utf-8")
    examples = getattr(readers, name)(str(tmp_path), **options).get_examples(file, limit)
    assert as_tuples(examples) == as_tuples(
        getattr(oracle_readers, name)(str(tmp_path), **options).get_examples(file, limit)
    )
    assert examples


def test_a_reader_reads_gzipped_files(tmp_path: Path) -> None:
    text = FILES["STSDataReader"][1]
    (tmp_path / "sts.csv.gz").write_bytes(gzip.compress(text.encode()))
    labels = [example.label for example in readers.STSDataReader(tmp_path).get_examples("sts.csv.gz")]
    assert labels == [0.5, 1.0]
    raw = readers.STSDataReader(tmp_path, normalize_scores=False).get_examples("sts.csv.gz")
    assert [example.label for example in raw] == [2.5, 5.0]


def write_nli(folder: Path, labels: str) -> None:
    for name, text in {"s1": "a b\nc\n", "s2": "d\ne f\n", "labels": labels}.items():
        (folder / f"{name}.train.gz").write_bytes(gzip.compress(text.encode()))


def test_the_nli_reader_reads_three_files_without_their_line_ends(tmp_path: Path) -> None:
    write_nli(tmp_path, "Neutral\nentailment\n")
    reader = readers.NLIDataReader(tmp_path)
    assert as_tuples(reader.get_examples("train.gz")) == [
        ("train.gz-0", ["a b", "d"], 2),
        ("train.gz-1", ["c", "e f"], 1),
    ]
    assert len(reader.get_examples("train.gz", max_examples=1)) == 1
    oracle = oracle_readers.NLIDataReader(str(tmp_path))
    assert (reader.get_labels(), reader.get_num_labels()) == (oracle.get_labels(), oracle.get_num_labels())


def test_the_nli_reader_refuses_files_that_do_not_match(tmp_path: Path) -> None:
    write_nli(tmp_path, "neutral\n")
    with pytest.raises(ValueError, match="shorter"):
        readers.NLIDataReader(tmp_path).get_examples("train.gz")


def test_paired_files_are_read_line_by_line_up_to_the_shorter_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"eins\nzwei\n"))
    reader = readers.PairedFilesReader([str(tmp_path / "a.txt"), str(tmp_path / "b.txt.gz")])
    assert as_tuples(reader.get_examples()) == [("0", ["one", "eins"], 1), ("1", ["two", "zwei"], 1)]
    assert len(reader.get_examples(max_examples=1)) == 1


def test_the_no_duplicates_loader_draws_the_library_s_batches() -> None:
    texts = [[f"q{i % 7}", f"A{i}"] for i in range(40)]
    batches = []
    for loader, example in (
        (datasets.NoDuplicatesDataLoader, InputExample),
        (oracle_datasets.NoDuplicatesDataLoader, OracleExample),
    ):
        random.seed(3)
        instance = loader([example(texts=pair) for pair in texts], 5)
        batches.append([as_tuples(batch) for _ in range(2) for batch in instance])
    assert batches[0] == batches[1]


@also(words=["a", "b", "b", "b", "b", "b"], size=2)  # "a" behind as many as there are, because of a new order
@given(words=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30), size=st.integers(1, 6))
def test_a_batch_without_duplicates_never_holds_a_text_twice(words: list[str], size: int) -> None:
    loader = datasets.NoDuplicatesDataLoader([InputExample(texts=[word, word.upper() + "!"]) for word in words], size)
    batches = list(loader)
    assert len(batches) == len(loader) == len(words) // size
    for batch in batches:
        seen = [example.texts[0] for example in batch]
        assert len(set(seen)) == len(seen) == min(size, len(set(words)))


def test_the_no_duplicates_loader_leaves_the_caller_s_list_in_order() -> None:
    examples = [InputExample(texts=[str(i)]) for i in range(20)]
    datasets.NoDuplicatesDataLoader(examples, 2)
    assert [example.texts for example in examples] == [[str(i)] for i in range(20)]


def labelled(cls: type) -> list[Any]:
    return [cls(texts=[f"text {i}"], label="abca"[i % 4]) for i in range(21)] + [cls(texts=["alone"], label="x")]


def test_the_label_dataset_draws_the_library_s_runs() -> None:
    drawn = []
    for dataset, example in (
        (datasets.SentenceLabelDataset, InputExample),
        (oracle_datasets.SentenceLabelDataset, OracleExample),
    ):
        np.random.seed(5)
        instance = dataset(labelled(example), samples_per_label=3, with_replacement=True)
        assert len(instance) == 21
        drawn.append(as_tuples(instance))
    assert drawn[0] == drawn[1]


def test_the_label_dataset_gives_runs_of_one_label_and_no_example_twice() -> None:
    drawn = list(datasets.SentenceLabelDataset(labelled(InputExample), samples_per_label=2))
    assert len({example.texts[0] for example in drawn}) == len(drawn) == 18  # 11 of a, 5 of b and of c: 10 + 4 + 4
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        assert first.label == second.label


def test_the_label_dataset_without_enough_of_any_label_is_empty() -> None:
    dataset = datasets.SentenceLabelDataset([InputExample(texts=["a"], label=1)])
    assert (len(dataset), list(dataset)) == (0, [])


def test_a_list_in_the_oldest_dataset_is_still_a_list_of_examples() -> None:
    examples = [InputExample(texts=["a"]), InputExample(texts=["b"])]
    loader = DataLoader(datasets.SentencesDataset(examples, model=None), batch_size=2, collate_fn=list)
    assert list(loader) == [examples]


def test_deleted_words_leave_the_rest_in_order_and_at_least_one_word() -> None:
    np.random.seed(0)
    sentence = "The quick, brown fox (so they say) jumps."
    noisy, clean = datasets.DenoisingAutoEncoderDataset([sentence])[0].texts
    assert clean == sentence
    assert noisy != sentence
    delete = datasets.DenoisingAutoEncoderDataset.delete
    assert delete(sentence, del_ratio=0.0) == sentence
    assert delete("one two", del_ratio=1.0) in ("one", "two")
    assert delete("") == ""


def test_a_user_s_own_noise_is_used() -> None:
    dataset = datasets.DenoisingAutoEncoderDataset(["a b"], noise_fn=str.upper)
    assert (len(dataset), dataset[0].texts) == (1, ["A B", "a b"])
