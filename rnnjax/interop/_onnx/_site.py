"""Where a primitive is translated: its equation, the graph, and which size is the batch's."""

from typing import Any, NamedTuple

from rnnjax.interop._onnx._graph import Graph


class Site(NamedTuple):
    """Where a primitive is translated."""

    name: str  # of the primitive
    graph: Graph
    params: dict[str, Any]  # of the equation
    operands: list[Any]  # their shapes and dtypes
    result: Any  # shape and dtype of the first result
    batch: int  # the size that stands for the batch's, which is unknown
    batch_size: str  # the name of the batch's size, int64 [1]

    def shape(self, sizes: Any) -> str:
        """A shape with at most one axis of the batch, for Reshape."""
        return self.graph.integers(-1 if self.counts_batch(size) else size for size in sizes)

    def size(self, size: int) -> str:
        """One size, int64 [1], for Expand."""
        if self.counts_batch(size) and size != self.batch:
            raise NotImplementedError("to several times the batch")
        return self.batch_size if size == self.batch else self.graph.integers([size])

    def counts_batch(self, size: int) -> bool:
        return size > 0 and size % self.batch == 0

    def within_an_example(self, axes: Any) -> None:
        """Raise if an operand has examples along one of these axes."""
        if any(self.counts_batch(self.operands[0].shape[axis]) for axis in axes):
            raise NotImplementedError("across the examples of a batch")
