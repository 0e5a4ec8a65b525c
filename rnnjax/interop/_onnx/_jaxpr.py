"""A traced function as nodes of an ONNX graph, equation by equation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.interop._onnx._complex import Pair, complex_equation, is_complex
from rnnjax.interop._onnx._control import chosen, unrolled
from rnnjax.interop._onnx._graph import Graph, Value
from rnnjax.interop._onnx._primitives import primitive
from rnnjax.interop._onnx._site import Site

_CALLS = {  # primitives that run a jaxpr of their own, and where it is
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
}


class Translator:
    """Translates functions of arrays whose batch has the size `batch`, a prime that nothing else
    in them is a multiple of, into a graph where the tensor `batch_size` holds it."""

    def __init__(self, graph: Graph, whose: str, batch: int, batch_size: str) -> None:
        self.graph, self.whose, self.batch, self.batch_size = graph, whose, batch, batch_size

    def translate(self, traced: Any, arguments: list[Value]) -> list[Value]:
        """The results of a `jax.make_jaxpr(...)(...)` for these arguments."""
        return self._run(traced.jaxpr, list(traced.consts), arguments)

    def _run(self, jaxpr: Any, consts: list[Any], arguments: list[Value]) -> list[Value]:
        values: dict[Any, Value] = {}
        values.update(zip(jaxpr.constvars, map(self._constant, consts), strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Value:
            if not hasattr(atom, "val"):
                return values[atom]
            return self._literal(np.asarray(atom.val, atom.aval.dtype))

        for equation in jaxpr.eqns:
            results = self._equation(equation, [read(atom) for atom in equation.invars])
            values.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _literal(self, value: np.ndarray) -> np.ndarray:
        if value == self.batch and jnp.issubdtype(value.dtype, jnp.inexact):
            raise ValueError(
                f"{self._cannot()} its step computes with the number of examples, which the model "
                "leaves open"
            )
        return value

    def _constant(self, value: Any) -> Value:
        if self.batch in jnp.shape(value):
            raise ValueError(f"{self._cannot()} the step holds an array with one entry an example")
        return value

    def _equation(self, equation: Any, operands: list[Value]) -> list[Value]:
        name = equation.primitive.name
        if name in _CALLS and _CALLS[name] in equation.params:
            return self._call(equation.params[_CALLS[name]], operands)
        results = [variable.aval for variable in equation.outvars]
        if not results:  # jax.debug.print and the like
            return []
        sizes = [size for result in results for size in getattr(result, "shape", ())]
        known = not any(isinstance(value, str | Pair) for value in operands)
        if known and not any(size and size % self.batch == 0 for size in sizes):
            found = equation.primitive.bind(*operands, **equation.params)
            return found if equation.primitive.multiple_results else [found]
        avals = [atom.aval for atom in equation.invars]
        site = Site(
            name, self.graph, equation.params, avals, results[0], self.batch, self.batch_size
        )
        try:
            if name == "cond":
                return chosen(self._call, equation.params, operands)
            if name == "scan":
                return unrolled(self._call, self.graph, equation.params, operands, results)
            if any(map(is_complex, (*avals, *results))):
                return complex_equation(name, site, operands)
            found = primitive(name, site, operands)
        except (KeyError, NotImplementedError) as error:
            how = f" {error}" if isinstance(error, NotImplementedError) else ""
            raise ValueError(
                f"{self._cannot()} its step uses the primitive {name}{how}, for which rnnjax knows "
                "no ONNX operator"
            ) from None
        return found if isinstance(found, list) else [found]

    def _call(self, inner: Any, operands: list[Value]) -> list[Value]:
        """The results of a jaxpr, closed or not."""
        return self._run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", []), operands)

    def _cannot(self) -> str:
        return f"to_onnx cannot export {self.whose}:"


def batch_standing_in(*trees: Any) -> int:
    """A size that stands for the batch's: a prime of which no size in these trees is a multiple."""
    sizes = {size for leaf in jax.tree.leaves(trees) for size in jnp.shape(leaf) if size}
    candidates = (p for p in range(1009, 10**6, 2) if all(p % d for d in range(3, 1000, 2)))
    return next(p for p in candidates if all(size % p for size in sizes))
