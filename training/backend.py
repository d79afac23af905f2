"""Exported graphs for scripts that call `sentence_transformers.backend`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.model.artifact import Artifact, read_artifact
from app.model.backends.graphs import OPENVINO_GRAPHS, choose_graph
from app.model.tokenizer import PairTokenizer
from app.model.types import Batch, EncodeOptions
from training.whole_file import whole_file

if TYPE_CHECKING:
    from training.cross_encoder.model import CrossEncoder

DYNAMIC = {"arm64": "qint8", "avx2": "quint8", "avx512": "qint8", "avx512_vnni": "qint8"}
"""Weights by instruction set: AVX2 without VNNI overflows on full int8."""
OPTIMIZED = ("O1", "O2", "O3", "O4")
CALIBRATION_TEXTS, CALIBRATION_TOKENS = 300, 256


def export_dynamic_quantized_onnx_model(
    model: CrossEncoder,
    quantization_config: str,
    model_name_or_path: str,
    push_to_hub: bool = False,
    create_pr: bool = False,
    file_suffix: str | None = None,
) -> None:
    """Writes onnx/model_SUFFIX.onnx with dynamic int8 into a directory (`model_name_or_path`) or a Hub repository.

    The suffix is the weights' type and the instruction set, as in qint8_avx512_vnni. `model` may be loaded with
    PyTorch weights or with backend="onnx". Raises ValueError for an unknown instruction set.
    """
    from training.graphs.dynamic import quantize_dynamically

    if quantization_config not in DYNAMIC:
        raise ValueError(f"quantization_config {quantization_config!r} must be one of {', '.join(DYNAMIC)}")
    weights = DYNAMIC[quantization_config]
    name = f"onnx/model_{file_suffix or f'{weights}_{quantization_config}'}.onnx"

    def write(_: Artifact, source: Path, target: Path) -> None:
        quantize_dynamically(source, target, unsigned=weights == "quint8")

    _export(model, name, write, model_name_or_path, push_to_hub, create_pr)


def export_optimized_onnx_model(
    model: CrossEncoder,
    optimization_config: str,
    model_name_or_path: str,
    push_to_hub: bool = False,
    create_pr: bool = False,
    file_suffix: str | None = None,
) -> None:
    """Writes onnx/model_SUFFIX.onnx (the suffix is the level) with fused operators; O4 is in float16, for GPUs.

    O1 to O3 are the same here: what O1 lacks is not worth having, and the approximate GELU of O3 changes scores
    for nothing. Raises ValueError for an unknown level.
    """
    from training.graphs.fusion import fuse, fuse_fp16

    if optimization_config not in OPTIMIZED:
        raise ValueError(f"optimization_config {optimization_config!r} must be one of {', '.join(OPTIMIZED)}")

    name = f"onnx/model_{file_suffix or optimization_config}.onnx"
    _export(model, name, fuse_fp16 if optimization_config == "O4" else fuse, model_name_or_path, push_to_hub, create_pr)


def export_static_quantized_openvino_model(
    model: CrossEncoder,
    quantization_config: None,
    model_name_or_path: str,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    dataset_split: str | None = None,
    column_name: str | None = None,
    push_to_hub: bool = False,
    create_pr: bool = False,
    file_suffix: str = "qint8_quantized",
) -> None:
    """Writes openvino/openvino_model_SUFFIX.xml in static int8, calibrated on the bundled pairs or on a dataset.

    The dataset is a local table or one of the Hub; the texts of its column are taken as queries of an empty document.
    Raises ValueError unless all four of the dataset's arguments are given or none, and for a quantization_config, of
    which there is none here.
    """
    from training.graphs.nncf_int8 import write_int8

    if quantization_config is not None:
        raise ValueError("quantization_config must be None: the settings are those of 'rerank-training export'")
    dataset = (dataset_name, dataset_config_name, dataset_split, column_name)
    if any(value is None for value in dataset) and any(value is not None for value in dataset):
        raise ValueError("give all of dataset_name, dataset_config_name, dataset_split and column_name, or none")

    def write(artifact: Artifact, source: Path, target: Path) -> None:
        write_int8(source, target, _calibration(artifact, dataset))

    name = f"openvino/openvino_model_{file_suffix}.xml"
    _export(model, name, write, model_name_or_path, push_to_hub, create_pr)


def _export(
    model: CrossEncoder,
    name: str,
    write: Callable[[Artifact, Path, Path], None],
    destination: str,
    push_to_hub: bool,
    create_pr: bool,
) -> None:
    """Writes the graph `name` from the model's weights or its own graph, whole or not at all, and hands it over."""
    with tempfile.TemporaryDirectory() as folder:
        saved, finished = Path(folder) / "model", Path(folder) / "finished"
        model.save_pretrained(str(saved), create_model_card=False)
        (finished / name).parent.mkdir(parents=True)
        write(read_artifact(saved), _source(model, saved, name), finished / name)
        if push_to_hub:
            from huggingface_hub import upload_folder

            upload_folder(
                repo_id=destination,
                folder_path=finished,
                commit_message=f"Add {name}",
                create_pr=create_pr,
            )
        else:
            _place(finished, Path(destination))


def _place(finished: Path, destination: Path) -> None:
    """Copies the files to their places in `destination`, each in one step, weights before the graph that reads them."""
    for path in sorted(path for path in finished.rglob("*") if path.is_file()):
        target = destination / path.relative_to(finished)
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as temporary:
            shutil.copyfile(path, temporary)


def _source(model: CrossEncoder, saved: Path, name: str) -> Path:
    if model.graph is None:
        from training.graphs.from_torch import write_graph

        write_graph(read_artifact(saved), saved / "plain.onnx")
        return saved / "plain.onnx"
    graph = choose_graph(read_artifact(saved).files(), OPENVINO_GRAPHS)
    if name.endswith(".onnx") and not graph.endswith(".onnx"):
        raise ValueError(f"the model was loaded from {graph}; load it with PyTorch weights or backend='onnx'")
    return saved / graph


def _calibration(artifact: Artifact, dataset: tuple[str | None, ...]) -> list[Batch]:
    """One row each: padding would widen the scales."""
    name, config, split, column = dataset
    if name is None or column is None:
        from training.parity_texts import read_texts

        pairs = read_texts(None).pairs(CALIBRATION_TEXTS)
    else:
        from training.data.tables import load_table

        source = name if Path(name).exists() else f"hub:{name}:{config}"
        texts = load_table(source, split=split, columns=[column])[column][:CALIBRATION_TEXTS]
        pairs = [(text, "") for text in texts]
    tokenizer = PairTokenizer(artifact.tokenizer_file, pad_id=artifact.pad_id, segments=artifact.segments)
    options = EncodeOptions(max_length=min(CALIBRATION_TOKENS, artifact.max_length))
    return [tokenizer.pad([row]) for row in tokenizer.encode_pairs(pairs, options)]
