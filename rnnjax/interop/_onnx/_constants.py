"""What a graph says of its tensors by itself, without the inputs of a run."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnjax.interop._arrays import peer

FREE = (2, 3)  # what stands for the sizes that the model leaves open, in each of two evaluations
_OF_SIZES = {"Shape", "Size"}


class Constants:
    """The tensors of a model's graph that are the same in every run.

    Initializers and constants are looked up; what nodes compute from these, or from the sizes of
    the inputs (zeros of the batch's size, a state that is expanded to it), is evaluated.

    Args:
      model: an `onnx.ModelProto`.
      given: values of tensors by name, in the place of what the graph computes.
      named: what the model's names of open sizes stand for, such as {"batch": 3}.
    """

    def __init__(
        self,
        model: Any,
        given: dict[str, np.ndarray] | None = None,
        named: dict[Any, int] | None = None,
    ) -> None:
        from_array = peer("onnx").numpy_helper.from_array
        self._model = model
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._tensors |= {name: from_array(value, name) for name, value in (given or {}).items()}
        self._makers = {name: n for n in model.graph.node for name in n.output if name}
        self._named = named or {}
        self._needs: dict[str, bool] = {}
        self._shapes: dict[str, Any] | None = None

    def find(self, name: str) -> tuple[np.ndarray, ...] | None:
        """The tensor's value, or one for each of `FREE` where open sizes enter it.

        None where the values of the model's inputs enter it.

        Raises:
          ValueError: onnx's own evaluator cannot compute it.
        """
        if name in self._tensors:
            return (peer("onnx").numpy_helper.to_array(self._tensors[name]),)
        if self._needs_inputs(name):
            return None
        nodes = self._above(name)
        try:
            first, second = (self._evaluate(name, nodes, size) for size in FREE)
        except Exception as error:  # of any operator, and of NumPy
            raise ValueError(
                f"{name!r}, computed from constants by what onnx's evaluator cannot run: {error}"
            ) from error
        same = first.shape == second.shape and np.array_equal(first, second)
        return (first,) if same else (first, second)

    def dims(self, name: str) -> list[int | str]:
        """The shape of any tensor, names where its sizes are open.

        Three nameless ones where nothing is known, as the inputs of recurrent nodes have.
        """
        if self._shapes is None:
            self._shapes = _shapes(self._model)
        found = self._shapes.get(name)
        if found is None or not found.HasField("shape"):
            return [""] * 3
        return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in found.shape.dim]

    def sizes(self, name: str, free: int) -> list[int]:
        """The shape of any tensor, with `free` for what is open and has no known name."""
        return [self._named.get(d, free) if isinstance(d, str) else d for d in self.dims(name)]

    def _needs_inputs(self, name: str) -> bool:
        """Whether values of the model's inputs enter a tensor."""
        needs, stack = self._needs, [] if name in self._tensors else [name]
        while stack:
            maker = self._makers.get(stack[-1])
            reads = [] if maker is None else [n for n in _reads(maker) if n not in self._tensors]
            ahead = [n for n in reads if n not in needs]
            if maker is None or maker.op_type in _OF_SIZES or not ahead:
                sizes = maker is not None and maker.op_type in _OF_SIZES
                needs[stack.pop()] = maker is None or (not sizes and any(needs[n] for n in reads))
            else:
                stack += ahead
        return needs.get(name, False)

    def _is_of_inputs(self, node: Any) -> bool:
        """Whether a node reads nothing of a run but the sizes of a tensor."""
        return node.op_type in _OF_SIZES and self._needs_inputs(node.input[0])

    def _above(self, name: str) -> list[Any]:
        """The nodes that compute a tensor, in order."""
        wanted, seen = [name], set()
        while wanted:
            maker = self._makers.get(at := wanted.pop())
            if maker is not None and at not in seen and at not in self._tensors:
                seen.add(at)
                wanted += [] if self._is_of_inputs(maker) else _reads(maker)
        return [n for n in self._model.graph.node if seen.intersection(n.output)]

    def _evaluate(self, name: str, nodes: list[Any], free: int) -> np.ndarray:
        onnx = peer("onnx")
        held = {n: self._tensors[n] for node in nodes for n in _reads(node) if n in self._tensors}
        computed = []
        for node in nodes:
            if self._is_of_inputs(node):
                found = np.array(self._size(node, free), np.int64)
                held[node.output[0]] = onnx.numpy_helper.from_array(found, node.output[0])
            else:
                computed.append(_of_today(node))
        if name in held:
            return onnx.numpy_helper.to_array(held[name])
        helper = onnx.helper
        out = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        model = helper.make_model(
            helper.make_graph(computed, "constants", [], [out], [*held.values()]),
            opset_imports=[_not_before(9, opset) for opset in self._model.opset_import],
            functions=self._model.functions,
        )
        (value,) = peer("onnx.reference").ReferenceEvaluator(model).run(None, {})
        return np.asarray(value)

    def _size(self, node: Any, free: int) -> Any:
        """What a Shape or a Size returns."""
        sizes = self.sizes(node.input[0], free)
        if node.op_type == "Size":
            return math.prod(sizes)
        ends = {attribute.name: attribute.i for attribute in node.attribute}
        return sizes[ends.get("start", 0) : ends.get("end", len(sizes))]


def _shapes(model: Any) -> dict[str, Any]:
    """What onnx infers of tensors' types, by name."""
    onnx = peer("onnx")
    held = {t.name: t for t in model.graph.initializer}  # the large ones by their sizes alone
    large = [t for t in held.values() if math.prod(t.dims) > 1024]
    infos = [onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in large]
    known = [i for i in model.graph.input if i.name not in held]
    small = [t for t in held.values() if math.prod(t.dims) <= 1024]
    graph = model.graph
    light = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.node, "sizes", known + infos, graph.output, small, value_info=graph.value_info
        ),
        opset_imports=model.opset_import,
        functions=model.functions,
    )
    found = onnx.shape_inference.infer_shapes(light).graph
    infos = itertools.chain(found.input, found.value_info, found.output)
    return {info.name: info.type.tensor_type for info in infos}


def _of_today(node: Any) -> Any:
    """ConstantFill, PyTorch's zeros of the batch's size before opset 9, as its successor."""
    if node.op_type != "ConstantFill" or not node.input:
        return node
    given = {attribute.name: attribute.f for attribute in node.attribute}
    value = peer("onnx").numpy_helper.from_array(np.array([given.get("value", 0)], np.float32))
    make_node = peer("onnx").helper.make_node
    return make_node("ConstantOfShape", node.input, node.output, value=value)


def _not_before(version: int, opset: Any) -> Any:
    default = opset.domain in ("", "ai.onnx")
    latest = max(version, opset.version) if default else opset.version
    return peer("onnx").helper.make_opsetid(opset.domain, latest)


def _reads(node: Any) -> Iterator[str]:
    """The names that a node reads, those of the graphs in its attributes included."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            own = {tensor.name for tensor in (*graph.initializer, *graph.input)}
            own |= {name for inner in graph.node for name in inner.output}
            yield from (n for inner in graph.node for n in _reads(inner) if n not in own)
