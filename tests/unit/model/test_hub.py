"""Models from the Hub, against a fake one on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import ArtifactError
from app.model.artifact import DEFAULT_DIRECTORY
from app.model.backends import BackendOptions, backend_class
from app.model.cross_encoder import CrossEncoder
from app.model.hub import HubOptions, resolve
from tests.unit.model.fake_hub import FakeHub

OPEN, PRIVATE, GATED, BARE = "acme/reranker", "acme/private", "acme/gated", "acme/bare"
TOKEN = "hf_test"
ALWAYS = {"config.json", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def repository(reranker_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny reranker with the clutter that real repositories have."""
    directory = Path(shutil.copytree(reranker_dir, tmp_path_factory.mktemp("repository") / "model"))
    for name in ("pytorch_model.bin", "tf_model.h5", "README.md", "onnx/model_int8.onnx", "vocab.txt"):
        (directory / name).write_bytes(b"not needed")
    return directory


@pytest.fixture
def hub(repository: Path, tmp_path: Path) -> Iterator[FakeHub]:
    """An open, a private and a gated repository, and one without weights."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text("{}")
    repositories = {OPEN: repository, PRIVATE: repository, GATED: repository, BARE: tmp_path / "bare"}
    with FakeHub(repositories, secrets={PRIVATE: TOKEN}, gated={GATED}).serve() as fake:
        yield fake


def options(hub: FakeHub, tmp_path: Path, **changes: object) -> HubOptions:
    return HubOptions(cache_directory=tmp_path / "cache", endpoint=hub.endpoint, **changes)  # type: ignore[arg-type]


def fetch(model: str, hub_options: HubOptions, backend: str = "onnx", graph: str = "") -> Path:
    runtime = backend_class(backend)
    return resolve(model, hub_options, lambda names: runtime.select_weights(names, BackendOptions(graph=graph)))


@pytest.mark.parametrize(
    ("backend", "graph", "weights"),
    [
        ("onnx", "", {"onnx/model.onnx"}),
        ("onnx", "onnx/model_int8.onnx", {"onnx/model_int8.onnx"}),
        ("openvino", "", {"onnx/model.onnx"}),
        ("torch", "", {"model.safetensors"}),
    ],
)
def test_only_the_needed_files_are_downloaded(
    hub: FakeHub, tmp_path: Path, backend: str, graph: str, weights: set[str]
) -> None:
    """One backend's weights and the small files, not every format of the repository."""
    directory = fetch(OPEN, options(hub, tmp_path), backend, graph)
    assert hub.files() == ALWAYS | weights
    assert {file.relative_to(directory).as_posix() for file in directory.rglob("*") if file.is_file()} == hub.files()


def test_a_downloaded_model_scores_as_the_original(hub: FakeHub, repository: Path, tmp_path: Path) -> None:
    """Through the whole loading path."""
    pairs = [("cat", "dog"), ("what is the capital", "paris")]
    loaded = CrossEncoder.load(OPEN, hub=options(hub, tmp_path))
    assert loaded.predict(pairs).tolist() == CrossEncoder.load(repository).predict(pairs).tolist()


@pytest.mark.parametrize("revision", [None, "v2"])
def test_the_second_load_asks_nothing(hub: FakeHub, tmp_path: Path, revision: str | None) -> None:
    """What is complete on disk needs no network, nor does it with downloads off."""
    first = fetch(OPEN, options(hub, tmp_path, revision=revision))
    hub.seen.clear()
    assert fetch(OPEN, options(hub, tmp_path, revision=revision)) == first
    assert fetch(OPEN, options(hub, tmp_path, revision=revision, local_files_only=True)) == first
    assert hub.seen == []


def test_another_backend_downloads_what_is_missing(hub: FakeHub, tmp_path: Path) -> None:
    """A cache that is complete for one runtime is not for another."""
    fetch(OPEN, options(hub, tmp_path), "onnx")
    hub.seen.clear()
    fetch(OPEN, options(hub, tmp_path), "torch")
    assert "model.safetensors" in hub.files()


def test_the_revision_is_asked_for(hub: FakeHub, tmp_path: Path) -> None:
    """In every request that names one; else it is main."""
    fetch(OPEN, options(hub, tmp_path, revision="v2"))
    assert hub.revisions() == {"v2"}


def test_an_unknown_revision_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    """Not silently replaced by main."""
    with pytest.raises(ArtifactError, match="acme/reranker: has no revision 'v9'; check the name"):
        fetch(OPEN, options(hub, tmp_path, revision="v9"))


def test_the_token_is_sent_with_every_request(hub: FakeHub, tmp_path: Path) -> None:
    """A private repository answers to it alone."""
    fetch(PRIVATE, options(hub, tmp_path, token=TOKEN))
    assert {seen.token for seen in hub.seen} == {TOKEN}


@pytest.mark.parametrize(("model", "token"), [("acme/unknown", None), (PRIVATE, None), (PRIVATE, "hf_wrong")])
def test_a_repository_that_the_hub_does_not_show_is_refused(
    hub: FakeHub, tmp_path: Path, model: str, token: str | None
) -> None:
    """The Hub does not tell unknown from private; the remedies are both named."""
    with pytest.raises(ArtifactError, match=f"{model}: neither a directory nor a repository .* hub token") as refusal:
        fetch(model, options(hub, tmp_path, token=token))
    assert len(str(refusal.value).splitlines()) == 1


def test_a_gated_repository_is_refused_with_the_remedy(hub: FakeHub, tmp_path: Path) -> None:
    """It exists, and needs an account that has accepted its terms."""
    with pytest.raises(ArtifactError, match="acme/gated: access is restricted; set the hub token of an account"):
        fetch(GATED, options(hub, tmp_path, token=TOKEN))


def test_a_repository_without_weights_is_refused_before_any_download(hub: FakeHub, tmp_path: Path) -> None:
    """From its list of files."""
    with pytest.raises(ArtifactError, match="acme/bare: the repository holds no weights for this backend"):
        fetch(BARE, options(hub, tmp_path))
    assert hub.files() == set()


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json"])
def test_a_repository_without_config_or_tokenizer_is_refused_before_any_download(
    repository: Path, tmp_path: Path, missing: str
) -> None:
    """Weights alone are no model."""
    partial = Path(shutil.copytree(repository, tmp_path / "partial"))
    (partial / missing).unlink()
    with FakeHub({"acme/partial": partial}).serve() as hub:
        with pytest.raises(ArtifactError, match=f"acme/partial: the repository holds no {missing}"):
            fetch("acme/partial", options(hub, tmp_path))
        assert hub.files() == set()


@pytest.mark.parametrize("file", ["tokenizer_config.json", "onnx/model.onnx"])
def test_a_broken_connection_is_refused_and_the_next_start_completes(hub: FakeHub, tmp_path: Path, file: str) -> None:
    """Half a download never counts as a model."""
    hub.breaks_on = file
    with pytest.raises(
        ArtifactError, match=r"acme/reranker: the Hub could not deliver it .* local directory"
    ) as refusal:
        fetch(OPEN, options(hub, tmp_path))
    assert len(str(refusal.value).splitlines()) == 1
    with pytest.raises(ArtifactError, match="nor in the local cache, and downloads are off"):
        fetch(OPEN, options(hub, tmp_path, local_files_only=True))
    hub.breaks_on = None
    directory = fetch(OPEN, options(hub, tmp_path))
    assert (directory / file).read_bytes() == (hub.repositories[OPEN] / file).read_bytes()


def test_a_hub_that_is_down_is_one_clear_error(tmp_path: Path) -> None:
    """A port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ArtifactError, match="acme/reranker: the Hub could not deliver it") as refusal:
            fetch(OPEN, HubOptions(cache_directory=tmp_path, endpoint=endpoint))
    assert len(str(refusal.value).splitlines()) == 1


def test_local_files_only_asks_nothing_and_says_what_is_missing(hub: FakeHub, tmp_path: Path) -> None:
    """The remedy is a directory or one start with downloads."""
    with pytest.raises(ArtifactError, match="nor in the local cache, and downloads are off; give a directory"):
        fetch(OPEN, options(hub, tmp_path, local_files_only=True))
    assert hub.seen == []


def test_the_hub_s_offline_variable_asks_nothing(hub: FakeHub, tmp_path: Path) -> None:
    """The library reads its environment at import, so in a process of its own; a cached model still loads."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from app.errors import ArtifactError\n"
        "from app.model.hub import HubOptions, resolve\n"
        "options = HubOptions(cache_directory=Path(sys.argv[1]))\n"
        "try: print(resolve('acme/reranker', options, lambda names: [n for n in names if n.endswith('.onnx')]))\n"
        "except ArtifactError as error: print('refused:', error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": hub.endpoint}
    command = [sys.executable, "-c", script, str(tmp_path / "cache")]
    absent = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert absent.stdout.startswith("refused: acme/reranker: neither a directory nor in the local cache")
    assert hub.seen == []
    directory = fetch(OPEN, options(hub, tmp_path))
    hub.seen.clear()
    present = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert present.stdout.strip() == str(directory)
    assert hub.seen == []


@pytest.mark.parametrize("model", ["/no/such/model", "./model", "~/no-such-model", "a/b/c"])
def test_what_looks_like_a_path_is_never_looked_up(hub: FakeHub, tmp_path: Path, model: str) -> None:
    """A typing error in a path must not reach the network."""
    with pytest.raises(ArtifactError, match="no such model directory; check the path"):
        fetch(model, options(hub, tmp_path))
    assert hub.seen == []


@pytest.mark.parametrize("model", ["no such model!", "--", "a" * 200])
def test_what_can_be_no_repository_name_is_refused(hub: FakeHub, tmp_path: Path, model: str) -> None:
    """Before any request."""
    with pytest.raises(ArtifactError, match="neither a directory nor a repository that the Hub knows"):
        fetch(model, options(hub, tmp_path))
    assert hub.seen == []


def test_directories_and_the_default_need_no_hub(hub: FakeHub, tmp_path: Path, reranker_dir: Path) -> None:
    """They are taken as they are."""
    assert fetch(str(reranker_dir), options(hub, tmp_path)) == reranker_dir
    assert fetch("default", options(hub, tmp_path)) == DEFAULT_DIRECTORY
    assert hub.seen == []
