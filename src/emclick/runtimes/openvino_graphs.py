"""What the OpenVINO runtime changes of the exported graphs before it compiles them."""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import openvino
import openvino.opset13 as op
from openvino.preprocess import PrePostProcessor

KEPT = ("opened", "around", "image_sums", "mask_sums", "feature_sums", "fused", "query")
"""What the names of large arrays that go from one graph to another begin with."""


def prepared(core: Any, data: bytes, *, half: bool) -> Any:
    """The model of a serialised graph; with `half` for inference in bfloat16."""
    model = core.read_model(data)
    if half:
        model = _kept_in_half(model)
        for attention in _of_kind(model, "ScaledDotProductAttention"):
            _gather_heads(attention)
        model = _ranked_in_float32(core, model)
    return model


def _kept_in_half(model: Any) -> Any:
    """With what is kept between graphs in bfloat16."""
    steps = PrePostProcessor(model)
    for ports, step in ((model.inputs, steps.input), (model.outputs, steps.output)):
        for name in (each.get_any_name() for each in ports):
            if name.startswith(KEPT):
                step(name).tensor().set_element_type(openvino.Type.bf16)
    return steps.build()


def _gather_heads(attention: Any) -> None:
    """Have the convolution after an attention take its heads as they are made, one after the other.

    In bfloat16 OpenVINO would bring them side by side first, in a twentieth of a correction.
    """
    convolution = _user(attention, "Convolution")
    shape = _maker(_maker(convolution, "Transpose"), "Reshape").input_value(1)  # of the cells
    weights = convolution.input_value(1)
    heads, width, channels = (
        each.get_length()
        for each in (*attention.get_output_partial_shape(0)[1::2], convolution.get_output_partial_shape(0)[1])
    )
    by_head = op.transpose(
        op.reshape(weights, _integers(channels, heads, width, 1), False), _integers(0, 2, 1, 3)
    )
    apart = op.transpose(attention.output(0), _integers(0, 3, 1, 2))  # (1, width, heads, P)
    line = op.convolution(apart, by_head, [1, 1], [0, 0], [0, 0], [1, 1])  # (1, C, 1, P)
    summed = _user(convolution, "Add")
    if not _inputs(summed, "Transpose"):  # of a bias, not yet of the fused feature
        [bias] = (each for each in summed.input_values() if each.get_partial_shape().is_static)
        line, summed = op.add(line, bias), _user(summed, "Add")
    cells = op.reshape(op.transpose(line, _integers(0, 2, 3, 1)), shape, False)
    total = op.add(cells, _maker(summed, "Transpose").input_value(0))
    summed.output(0).replace(op.transpose(total, _integers(0, 3, 1, 2)).output(0))


def _ranked_in_float32(core: Any, model: Any) -> Any:
    """With what ranks the templates kept in float32: scores differ by less than bfloat16 can tell.

    The mark is an attribute that only the intermediate form's text can be given.
    """
    kept = {
        each.get_friendly_name()
        for kind in ("TopK", "ReduceL2")
        for last in _of_kind(model, kind)
        for each in _makers(last, "Convolution", "GroupConvolution", "MatMul")
    }
    if not kept:
        return model
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        tree = ET.parse(path)
        for layer in tree.iterfind("layers/layer"):
            if layer.get("name") in kept:
                about = layer.find("rt_info")
                about = ET.SubElement(layer, "rt_info") if about is None else about
                ET.SubElement(about, "attribute", {"name": "precise", "version": "0"})
        weights = path.with_suffix(".bin").read_bytes()
        return core.read_model(ET.tostring(tree.getroot()), weights)


def _of_kind(model: Any, kind: str) -> list[Any]:
    return [each for each in model.get_ops() if each.get_type_name() == kind]


def _user(node: Any, kind: str) -> Any:
    """The first operation of a kind after `node`, on a way without forks to others of it."""
    while True:
        users = [port.get_node() for port in node.output(0).get_target_inputs()]
        found = [each for each in users if each.get_type_name() == kind]
        if found:
            return found[0]
        [node] = users


def _maker(node: Any, kind: str) -> Any:
    """The operation of a kind that makes one of the inputs of `node`."""
    [found] = _inputs(node, kind)
    return found


def _inputs(node: Any, kind: str = "") -> list[Any]:
    """The operations, of a kind, that make the inputs of `node`."""
    made = [each.get_node() for each in node.input_values()]
    return [each for each in made if not kind or each.get_type_name() == kind]


def _makers(last: Any, *ends: str) -> list[Any]:
    """An operation and all that it is computed from, up to those of the kinds `ends`."""
    found: dict[str, Any] = {}
    pending = [last]
    while pending:
        each = pending.pop()
        if each.get_friendly_name() in found or each.get_type_name() in (*ends, "Parameter", "Constant"):
            continue
        found[each.get_friendly_name()] = each
        pending += _inputs(each)
    return list(found.values())


def _integers(*values: int) -> Any:
    return op.constant(list(values), openvino.Type.i64)
