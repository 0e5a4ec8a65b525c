"""What the parts of an exported model share: the graph, its lengths, the size of its batch."""

from functools import partial
from typing import Any

import jax
import numpy as np

from rnnjax._params import in_dtype_of
from rnnjax._types import Carry, Cell, Params, PyTree, initial_carry
from rnnjax.interop._arrays import peer
from rnnjax.interop._onnx._complex import apart, together
from rnnjax.interop._onnx._graph import Graph, Value, info


class Run:
    """Whole sequences xs [T, B, ...] in one graph."""

    def __init__(self, graph: Graph, xs: Value, lengths: Value | None, batch: int) -> None:
        self.graph, self.lengths, self.batch = graph, lengths, batch
        self._xs = xs
        self.batch_size = graph.op("Shape", xs, start=1, end=2)
        self._time: Value | None = None
        self._empty: Value | None = None

    def time(self) -> Value:
        """0 … T - 1 as int32 [T]."""
        if self._time is None:
            graph = self.graph
            steps = graph.op("Shape", self._xs, start=0, end=1)
            steps = graph.op("Cast", steps, to=peer("onnx").TensorProto.INT32)
            steps = graph.op("Squeeze", steps, graph.integers([0]))
            zero, one = (graph.constant(np.asarray(k, np.int32)) for k in (0, 1))
            self._time = graph.op("Range", zero, steps, one)
        return self._time

    def empty(self) -> Value:
        """Whether each sequence has no step, [B, 1]."""
        if self._empty is None:
            empty = self.graph.op("Equal", self.lengths, np.asarray(0, np.int32))
            self._empty = self.graph.op("Unsqueeze", empty, self.graph.integers([1]))
        return self._empty

    def cast(self, value: Value, dtype: Any) -> Value:
        """A value in another dtype."""
        to = peer("onnx").helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.graph.op("Cast", value, to=to)

    def sizes(self, leaf: Any) -> tuple[Any, ...]:
        """The shape of an array, the batch's size as "B"."""
        return tuple("B" if size == self.batch else size for size in leaf.shape)

    def infos(self, names: Any, types: PyTree, *, over_time: bool = False) -> list[Any]:
        """What a graph says of tensors of these names, one a leaf of the types."""
        time = ("T",) if over_time else ()
        pairs = zip(jax.tree.leaves(names), jax.tree.leaves(types), strict=True)
        return [info(name, leaf.dtype, (*time, *self.sizes(leaf))) for name, leaf in pairs]

    def carry_type(self, cell: Cell, params: Params) -> PyTree:
        """Shapes and dtypes of the carry, complex leaves as pairs of real ones."""
        make = partial(initial_carry, cell, batch_shape=(self.batch,))
        return apart(jax.eval_shape(make, params))

    def step_types(self, cell: Cell, params: Params, xs_type: PyTree) -> tuple[PyTree, PyTree]:
        """Shapes and dtypes of the carry and y_t of one step."""
        carry = self.carry_type(cell, params)
        return jax.eval_shape(partial(real_step, cell), params, carry, xs_type)

    def initial_carry(self, cell: Cell, params: Params) -> PyTree:
        """The values that the cell begins with by itself."""
        one = apart(initial_carry(cell, params, (1,)))
        return jax.tree.map(self._for_every_example, one)

    def _for_every_example(self, leaf: Any) -> Value:
        rest = self.graph.integers((1,) * (leaf.ndim - 1))
        shape = self.graph.op("Concat", self.batch_size, rest, axis=0)
        return self.graph.op("Expand", leaf, shape)


def real_step(cell: Cell, params: Params, carry: Carry, x_t: PyTree) -> tuple[Carry, PyTree]:
    """The step, with complex numbers of the carry, x_t and y_t as pairs of real ones."""
    carry, y_t = cell.step(params, together(carry), in_dtype_of(params, together(x_t)))
    return apart(carry), apart(y_t)
