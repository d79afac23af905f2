"""A BERT sequence classifier as an ONNX graph, written from its weights without torch.

The exporter of `training` needs seconds and torch; tests need many small graphs and odd variants of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def bert_graph(
    weights: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    *,
    inputs: Sequence[str] = INPUTS,
    input_type: int = TensorProto.INT64,
) -> onnx.ModelProto:
    """The graph of `BertForSequenceClassification`: int inputs (rows, width) to float32 logits (rows, labels)."""
    graph = _Graph(weights, config)
    logits = graph.classify(graph.encode(with_segments="token_type_ids" in inputs))
    graph.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
    body = helper.make_graph(
        graph.nodes,
        "bert",
        [helper.make_tensor_value_info(name, input_type, ["rows", "width"]) for name in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", weights["classifier.bias"].shape[0]])],
        graph.constants,
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def with_appetite(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same logits at the price of width ** 5 floats of scratch memory: 12 KiB for 5 tokens, 128 TiB for 512."""
    greedy = onnx.ModelProto()
    greedy.CopyFrom(model)
    greedy.graph.node[-1].output[0] = "calm"
    greedy.graph.initializer.append(numpy_helper.from_array(np.array([1]), "second"))
    greedy.graph.node.extend(
        [
            helper.make_node("Shape", ["input_ids"], ["shape"]),
            helper.make_node("Gather", ["shape", "second"], ["width"]),
            helper.make_node("Mul", ["width", "width"], ["width2"]),
            helper.make_node("Mul", ["width2", "width2"], ["width4"]),
            helper.make_node("Mul", ["width4", "width"], ["width5"]),
            helper.make_node("ConstantOfShape", ["width5"], ["scratch"]),
            helper.make_node("ReduceMax", ["scratch"], ["nothing"], keepdims=0),
            helper.make_node("Add", ["calm", "nothing"], ["logits"]),
        ]
    )
    return greedy


class _Graph:
    """Nodes and constants under construction; every method returns the name of the value it adds."""

    def __init__(self, weights: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> None:
        self.weights, self.config = weights, config
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def encode(self, *, with_segments: bool) -> str:
        """Hidden states (rows, width, hidden) after the last layer."""
        x = self.embed(with_segments)
        mask = self.op("Cast", "attention_mask", to=TensorProto.FLOAT)
        mask = self.op("Unsqueeze", mask, self.constant([1, 2]))
        penalty = self.op("Mul", self.op("Sub", mask, self.constant(np.float32(1))), self.constant(np.float32(1e4)))
        for layer in range(self.config["num_hidden_layers"]):
            prefix = f"bert.encoder.layer.{layer}"
            mixed = self.attend(x, penalty, f"{prefix}.attention.self")
            attended = self.linear(mixed, f"{prefix}.attention.output.dense")
            x = self.norm(self.op("Add", x, attended), f"{prefix}.attention.output.LayerNorm")
            wide = self.gelu(self.linear(x, f"{prefix}.intermediate.dense"))
            x = self.norm(self.op("Add", x, self.linear(wide, f"{prefix}.output.dense")), f"{prefix}.output.LayerNorm")
        return x

    def classify(self, hidden: str) -> str:
        """Logits from the first token, through the pooler."""
        first = self.op("Gather", hidden, self.constant(0), axis=1)
        return self.linear(self.op("Tanh", self.linear(first, "bert.pooler.dense")), "classifier")

    def embed(self, with_segments: bool) -> str:
        words = self.op("Gather", self.weight("bert.embeddings.word_embeddings.weight"), "input_ids")
        width = self.op("Slice", self.op("Shape", "input_ids"), self.constant([1]), self.constant([2]))
        table = self.weight("bert.embeddings.position_embeddings.weight")
        x = self.op("Add", words, self.op("Slice", table, self.constant([0]), width))
        types = self.weight("bert.embeddings.token_type_embeddings.weight")
        segment = "token_type_ids" if with_segments else self.constant([0])
        return self.norm(self.op("Add", x, self.op("Gather", types, segment)), "bert.embeddings.LayerNorm")

    def attend(self, x: str, penalty: str, prefix: str) -> str:
        size = self.config["hidden_size"] // self.config["num_attention_heads"]
        query, key, value = (self.heads(self.linear(x, f"{prefix}.{name}")) for name in ("query", "key", "value"))
        scores = self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2]))
        scores = self.op("Add", self.op("Div", scores, self.constant(np.float32(size**0.5))), penalty)
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), value)
        mixed = self.op("Transpose", mixed, perm=[0, 2, 1, 3])
        return self.op("Reshape", mixed, self.constant([0, 0, self.config["hidden_size"]]))

    def heads(self, x: str) -> str:
        split = self.op("Reshape", x, self.constant([0, 0, self.config["num_attention_heads"], -1]))
        return self.op("Transpose", split, perm=[0, 2, 1, 3])

    def linear(self, x: str, prefix: str) -> str:
        kernel = self.constant(np.ascontiguousarray(self.weights[f"{prefix}.weight"].T))
        return self.op("Add", self.op("MatMul", x, kernel), self.weight(f"{prefix}.bias"))

    def norm(self, x: str, prefix: str) -> str:
        scale, bias = self.weight(f"{prefix}.weight"), self.weight(f"{prefix}.bias")
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=self.config["layer_norm_eps"])

    def gelu(self, x: str) -> str:
        error = self.op("Erf", self.op("Div", x, self.constant(np.float32(2**0.5))))
        half = self.op("Mul", x, self.constant(np.float32(0.5)))
        return self.op("Mul", half, self.op("Add", error, self.constant(np.float32(1))))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weight(self, name: str) -> str:
        return self.constant(self.weights[name])

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name
