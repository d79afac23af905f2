"""Finding an exported graph in a model directory, or in a repository's list of files."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import ArtifactError
from app.model.artifact import Artifact

ONNX_GRAPHS = (
    "onnx/model.onnx",
    "model.onnx",
    "onnx/model_int8.onnx",
    "onnx/model_quantized.onnx",
    "onnx/model_qint8_avx512_vnni.onnx",
    "onnx/model_qint8_avx512.onnx",
    "onnx/model_quint8_avx2.onnx",
    "onnx/model_qint8_arm64.onnx",
    "model_int8.onnx",
    "model_quantized.onnx",
)
"""Graphs in order of preference when none is named: full precision first, quantised where it is all there is."""

OPENVINO_GRAPHS = (
    "openvino/openvino_model.xml",
    "openvino_model.xml",
    *ONNX_GRAPHS,
    "openvino/openvino_model_qint8_quantized.xml",
)
"""The same for OpenVINO, which reads its own format as well."""


VNNI_GRAPHS = ("vnni/model_int16.vnni", "vnni/model.vnni", "vnni/model_int8.vnni")
"""The same for the vnni backend: in 16 bits nothing is lost that is seen in a score, and it is the faster."""


def choose_graph(names: Sequence[str], preferred: Sequence[str], wanted: str = "") -> str:
    """The graph to load: `wanted`, else the first preferred one, else the only `.onnx` there is, else empty."""
    if wanted:
        return wanted if wanted in names else ""
    for name in preferred:
        if name in names:
            return name
    graphs = [name for name in names if name.endswith(".onnx")]
    return graphs[0] if len(graphs) == 1 else ""


def graph_files(names: Sequence[str], graph: str) -> list[str]:
    """`graph` with the files that hold its weights (external data of ONNX, `.bin` of OpenVINO), `graph` last.

    The order matters to downloads: once the graph is there, everything is.
    """
    if not graph:
        return []
    beside = (f"{graph}_data", f"{graph}.data", f"{graph.removesuffix('.xml')}.bin")
    return [*sorted(name for name in names if name != graph and name.startswith(beside)), graph]


def find_graph(artifact: Artifact, preferred: Sequence[str], wanted: str = "") -> str:
    """The graph to load from `artifact`, it and its weights checked. Raises ArtifactError with the remedy."""
    files = artifact.files()
    graph = choose_graph(files, preferred, wanted)
    for name in graph_files(files, graph):
        artifact.require(name)
    if graph:
        return graph
    found = [name for name in files if name.endswith((".onnx", ".xml"))]
    if wanted or not found:
        raise ArtifactError(
            f"{artifact.directory / (wanted or preferred[0])}: missing; export the model with "
            "'rerank-training export', or use the torch backend"
        )
    raise ArtifactError(f"{artifact.directory}: several graphs ({', '.join(found)}); name one with --graph")
