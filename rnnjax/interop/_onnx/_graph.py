"""An ONNX graph under construction: nodes, the constants they read, and unique names."""

import itertools
from typing import Any

import numpy as np

from rnnjax.interop._arrays import peer

OPSET, IR_VERSION = 18, 8  # of 2022: read by onnxruntime from 1.14 on
EVERYTHING = np.iinfo(np.int64).max  # an end beyond that of every axis

Value = Any  # the name of a tensor, or an array that is known when the graph is made


class Graph:
    """Nodes in order. The body of a loop reads the constants of the graph around it."""

    def __init__(self, outer: "Graph | None" = None) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {} if outer is None else outer.constants
        self._names = itertools.count() if outer is None else outer._names
        self._known: dict[Any, tuple[str, Any]] = {} if outer is None else outer._known

    def name(self, hint: str) -> str:
        """A name that no other tensor of the model has."""
        return f"{hint}_{next(self._names)}"

    def constant(self, value: Any) -> str:
        """The name of a constant tensor: one name for the same weights, or equal small arrays."""
        array = np.asarray(value)
        key = (array.dtype, array.shape, array.tobytes()) if array.size <= 64 else id(value)
        if key not in self._known:
            name = self.name("constant")
            self._known[key] = name, value  # which is kept, so that no other has its id
            self.constants[name] = array
        return self._known[key][0]

    def integers(self, values: Any) -> str:
        """A constant of int64s, such as axes and shapes are."""
        return self.constant(np.array([*values], np.int64))

    def tensor(self, value: Value) -> str:
        """The name of a value; "" of None, an input that is left out."""
        if value is None:
            return ""
        return value if isinstance(value, str) else self.constant(value)

    def op(self, kind: str, *inputs: Value, **attributes: Any) -> str:
        """Add a node of one output, and return its name."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: Value, **attributes: Any) -> list[str]:
        """Add a node of several outputs, and return their names."""
        outputs = [self.name(kind.lower()) for _ in range(count)]
        names = [self.tensor(value) for value in inputs]
        self.nodes.append(peer("onnx").helper.make_node(kind, names, outputs, **attributes))
        return outputs

    def outputs_named(self, names: dict[str, Value]) -> None:
        """Give values these names, by which the graph returns them."""
        make_node = peer("onnx").helper.make_node
        for name, value in names.items():
            self.nodes.append(make_node("Identity", [self.tensor(value)], [name]))

    def proto(self, name: str, inputs: list[Any], outputs: list[Any], outermost: bool) -> Any:
        """The `onnx.GraphProto`; constants are in the outermost one."""
        onnx = peer("onnx")
        held = self.constants if outermost else {}
        initializers = [onnx.numpy_helper.from_array(value, key) for key, value in held.items()]
        return onnx.helper.make_graph(self.nodes, name, inputs, outputs, initializers)


def info(name: str, dtype: Any, shape: tuple[Any, ...]) -> Any:
    """What a graph says of an input or output; a size may be a name, such as "T"."""
    helper = peer("onnx").helper
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape)
    )


def reversed_in_time(graph: Graph, value: Value) -> str:
    """A tensor [T, ...] with its first axis backwards."""
    start, end, axis = ([-1], [np.iinfo(np.int64).min + 1], [0])
    return graph.op("Slice", value, *map(graph.integers, (start, end, axis, [-1])))
