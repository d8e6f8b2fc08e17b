"""GPT-2 as an ONNX graph of ONNX Runtime's own fused operators, with keys and values handed in and out.

What its optimizer would make of an exported model: Attention with a past, SkipLayerNormalization, FastGelu
(domain com.microsoft). Only the last position goes through the head. `quantise` makes the int8 graph, with
dynamic activations, by ONNX Runtime's own tool.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from inkfish.weights import read

MICROSOFT = "com.microsoft"


class Graph:
    """Nodes and initializers as they are added."""

    def __init__(self, tensors: dict[str, NDArray[Any]], epsilon: float) -> None:
        self.tensors, self.epsilon = tensors, epsilon
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add an initializer."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name: str) -> str:
        """Add a tensor of the checkpoint."""
        return self.constant(name, self.tensors[name].astype(np.float32))

    def add(
        self, kind: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any
    ) -> str:
        """Add a node and return its first output."""
        self.nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def skip_norm(self, x: str, y: str, bias: str, norm: str) -> tuple[str, str]:
        """Add x + y + bias; return its layer norm and itself."""
        out, total = f"{norm}.out", f"{norm}.sum"
        inputs = [x, y, self.weight(f"{norm}.weight"), self.weight(f"{norm}.bias"), self.weight(bias)]
        self.add(
            "SkipLayerNormalization", inputs, [out, "", "", total], domain=MICROSOFT, epsilon=self.epsilon
        )
        return out, total


def build(folder: Path, target: Path) -> None:
    """Write the float32 graph of a model folder.

    Inputs: input_ids and position_ids (B, T) int64, past_0 … (2, B, H, P, D).
    Outputs: logits (B, 1, V) after the last position, present_0 … (2, B, H, P + T, D).
    """
    checkpoint = read(folder)
    config, tensors = checkpoint.config, dict(checkpoint.tensors)
    g = Graph(tensors, config.layer_norm_epsilon)
    x = g.add(
        "Add",
        [
            g.add("Gather", [g.weight("wte.weight"), "input_ids"], ["tokens"]),
            g.add("Gather", [g.weight("wpe.weight"), "position_ids"], ["places"]),
        ],
        ["x"],
    )
    first = [x, g.weight("h.0.ln_1.weight"), g.weight("h.0.ln_1.bias")]
    normal = g.add("LayerNormalization", first, ["h.0.ln_1.out"], epsilon=config.layer_norm_epsilon)
    for i in range(config.n_layer):
        block, after = f"h.{i}", "ln_f" if i + 1 == config.n_layer else f"h.{i + 1}.ln_1"
        inputs = [normal, g.weight(f"{block}.attn.c_attn.weight"), g.weight(f"{block}.attn.c_attn.bias")]
        y = g.add(
            "Attention",
            [*inputs, "", f"past_{i}"],
            [f"{block}.attended", f"present_{i}"],
            domain=MICROSOFT,
            num_heads=config.n_head,
            unidirectional=1,
        )
        y = g.add("MatMul", [y, g.weight(f"{block}.attn.c_proj.weight")], [f"{block}.projected"])
        normal, x = g.skip_norm(x, y, f"{block}.attn.c_proj.bias", f"{block}.ln_2")
        y = g.add("MatMul", [normal, g.weight(f"{block}.mlp.c_fc.weight")], [f"{block}.wide"])
        gelu = [y, g.weight(f"{block}.mlp.c_fc.bias")]
        y = g.add("FastGelu", gelu, [f"{block}.gelu"], domain=MICROSOFT)
        y = g.add("MatMul", [y, g.weight(f"{block}.mlp.c_proj.weight")], [f"{block}.narrow"])
        normal, x = g.skip_norm(x, y, f"{block}.mlp.c_proj.bias", after)
    last = g.add("Gather", [normal, g.constant("minus_one", np.array(-1))], ["last"], axis=1)
    g.add("MatMul", [last, g.constant("head", tensors["wte.weight"].T.astype(np.float32))], ["logits"])
    save(g, config, target)


def save(g: Graph, config: Any, target: Path) -> None:
    """Write the model, its weights in a file beside it."""
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "position_ids")
    ]

    def states(name: str, length: str) -> list[Any]:
        shape = [2, "batch", config.n_head, length, config.head_size]
        return [
            helper.make_tensor_value_info(f"{name}_{i}", TensorProto.FLOAT, shape)
            for i in range(config.n_layer)
        ]

    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1, config.vocab_size])
    graph = helper.make_graph(
        g.nodes, "gpt2", ids + states("past", "past"), [logits, *states("present", "total")], g.constants
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.save_model(
        model, str(target), save_as_external_data=True, location=f"{target.name}.data", size_threshold=1024
    )


def quantise(source: Path, target: Path) -> None:
    """Write the int8 graph: weights by channel, activations as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul", "Attention"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
        use_external_data_format=True,
    )
