"""`training.util` against sentence-transformers' own helpers."""

from __future__ import annotations

import http.server
import logging
import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentence_transformers.util as oracle
import torch
from datasets import is_caching_enabled
from tqdm import tqdm

from training import LoggingHandler, util

SIMILARITIES = ["cos_sim", "dot_score", "euclidean_sim", "manhattan_sim", "pytorch_cos_sim"]
PAIRWISE = [
    "pairwise_angle_sim",
    "pairwise_cos_sim",
    "pairwise_dot_score",
    "pairwise_euclidean_sim",
    "pairwise_manhattan_sim",
]
SPARSE_WARNINGS = pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # by the library's functions


def embeddings(form: str, seed: int) -> Any:
    """Four embeddings of five numbers, some of them zero, as users hold them."""
    values = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))
    values[values.abs() < 0.5] = 0.0
    forms = {
        "tensor": values,
        "half": values.half(),
        "array": values.numpy(),
        "list": values.tolist(),
        "tensors": list(values),
        "arrays": list(values.numpy()),
        "sparse": values.to_sparse(),
    }
    return forms[form]


@SPARSE_WARNINGS
@pytest.mark.parametrize("form", ["tensor", "half", "array", "list", "tensors", "arrays", "sparse"])
@pytest.mark.parametrize("name", SIMILARITIES + PAIRWISE)
def test_a_similarity_is_the_library_s(name: str, form: str) -> None:
    a, b = embeddings(form, 0), embeddings(form, 1)
    result = getattr(util, name)(a, b)
    expected = getattr(oracle, name)(a, b)
    assert result.dtype == expected.dtype
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_one_embedding_is_a_batch_of_one(name: str) -> None:
    a, b = embeddings("tensor", 0), embeddings("tensor", 1)
    torch.testing.assert_close(getattr(util, name)(a[0], b), getattr(oracle, name)(a[0], b))


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_a_similarity_function_is_found_by_name(name: str) -> None:
    a, b = embeddings("tensor", 0), embeddings("tensor", 1)
    ours, theirs = util.SimilarityFunction, oracle.SimilarityFunction
    torch.testing.assert_close(ours.to_similarity_fn(name)(a, b), theirs.to_similarity_fn(name)(a, b))
    torch.testing.assert_close(
        ours.to_similarity_pairwise_fn(ours(name))(a, b), theirs.to_similarity_pairwise_fn(name)(a, b)
    )
    assert name in ours.possible_values()
    assert ours.DOT is ours.DOT_PRODUCT


def test_an_unknown_similarity_function_is_refused() -> None:
    with pytest.raises(ValueError, match="angular"):
        util.SimilarityFunction.to_similarity_fn("angular")


@SPARSE_WARNINGS
@pytest.mark.parametrize("form", ["tensor", "sparse"])
def test_normalized_embeddings_have_length_one_and_zeros_stay_zeros(form: str) -> None:
    values = embeddings("tensor", 2)
    values[1] = 0.0
    values = values.to_sparse() if form == "sparse" else values
    torch.testing.assert_close(
        util.normalize_embeddings(values).to_dense(), oracle.normalize_embeddings(values).to_dense()
    )


def test_truncating_keeps_the_first_numbers_of_each_embedding() -> None:
    assert util.truncate_embeddings(np.zeros((2, 5)), 3).shape == (2, 3)
    assert util.truncate_embeddings(torch.zeros(5), None).shape == (5,)


def test_a_batch_moves_to_a_device_and_keeps_what_is_no_tensor() -> None:
    batch = util.batch_to_device({"input_ids": torch.zeros(1), "text": "a"}, "meta")
    assert batch["input_ids"].device.type == "meta"
    assert batch["text"] == "a"


@pytest.mark.parametrize("value", [torch.nn.Linear(1, 1), torch.nn.Linear, 3, "text"])
def test_a_full_name_is_the_library_s(value: object) -> None:
    assert util.fullname(value) == oracle.fullname(value)


def test_a_class_is_imported_by_its_full_name() -> None:
    assert util.import_from_string("torch.nn.modules.linear.Linear") is torch.nn.Linear
    for missing in ("torch", "torch.nn.Nothing", "nothing.at.all"):
        with pytest.raises(ImportError):
            util.import_from_string(missing)


def test_the_cache_of_datasets_is_off_meanwhile_and_on_again_after_an_error() -> None:
    def fail() -> None:
        with util.disable_datasets_caching():
            assert not is_caching_enabled()
            raise KeyError

    assert is_caching_enabled()
    with pytest.raises(KeyError):
        fail()
    assert is_caching_enabled()


def test_logging_is_off_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    with util.disable_logging(logging.ERROR):
        logging.getLogger("fit").error("not seen")
    logging.getLogger("fit").error("seen")
    assert caplog.messages == ["seen"]


def test_cells_are_added_to_the_last_row_of_a_csv_file(tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_text("epoch,steps\n1,2\n3,4\n", encoding="utf-8")
    assert util.append_to_last_row(file, ["0.5"])
    assert file.read_text(encoding="utf-8").splitlines() == ["epoch,steps", "1,2", "3,4,0.5"]
    file.write_text("epoch,steps\n", encoding="utf-8")
    assert not util.append_to_last_row(file, ["0.5"])


def test_what_is_installed_is_told() -> None:
    assert util.is_datasets_available()
    assert util.is_accelerate_available()
    assert util.is_training_available()
    assert util.check_package_availability("datasets", "huggingface")
    assert not util.check_package_availability("datasets", "somebody-else")
    assert not util.check_package_availability("no-such-package", "huggingface")


def test_without_a_process_group_there_is_one_process() -> None:
    tensor = torch.ones(2, requires_grad=True)
    assert (util.get_rank(), util.get_world_size(), util.is_dist_initialized()) == (0, 1, False)
    assert util.all_gather(tensor) is tensor
    assert util.all_gather_with_grad(tensor) is tensor
    assert util.get_device_name() == oracle.get_device_name()


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server that knows /found."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/found" else 404)
            self.send_header("Content-Length", "7")
            self.end_headers()
            self.wfile.write(b"content")

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_a_download_appears_whole_in_a_new_folder(server: str, tmp_path: Path) -> None:
    util.http_get(f"{server}/found", str(tmp_path / "new" / "file.txt"))
    assert (tmp_path / "new" / "file.txt").read_bytes() == b"content"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.txt"]


def test_a_download_that_fails_leaves_no_file(server: str, tmp_path: Path) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        util.http_get(f"{server}/missing", tmp_path / "file.txt")
    caught.value.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="file:"):
        util.http_get("file:///etc/hostname", tmp_path / "file.txt")


def test_a_disabled_bar_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(util.disabled_tqdm(range(3))) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_log_line_is_written_through_the_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(tqdm, "write", lines.append)
    logger = logging.Logger("script")
    logger.addHandler(LoggingHandler())
    logger.info("epoch %d", 1)
    assert lines == ["epoch 1"]


def test_a_log_line_that_cannot_be_made_does_not_stop_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.Logger("script")
    logger.addHandler(LoggingHandler())
    logger.info("epoch %d", "one")
    assert "Logging error" in capsys.readouterr().err
