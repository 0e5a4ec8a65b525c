"""Whether two functions that were traced compute the same."""

import hashlib
from collections.abc import Hashable, Mapping
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Primitive, Var

# The parameter that is run of the primitives that also have rules for transforms.
_CALLED = {
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vmap_call": "call",
}


class Itself:
    """An object that equals no other, whatever it says."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and self._held is other._held

    def __hash__(self) -> int:
        return id(self._held)


def hashable(value: Any) -> Hashable:
    """`value`, or where it has no hash, as one that equals itself alone."""
    try:
        hash(value)
    except TypeError:
        return Itself(value)
    return value


def form_of(traced: ClosedJaxpr | Jaxpr) -> Hashable:
    """A traced function as a value that equals another if both compute the same in the same order.

    Its constants count by what they hold, but those of JAX, which nothing changes in place, are
    compared by which they are, so that none is copied from the device. What cannot be compared
    equals nothing else.
    """
    jaxpr = traced.jaxpr if isinstance(traced, ClosedJaxpr) else traced
    constants = traced.consts if isinstance(traced, ClosedJaxpr) else ()
    numbers: dict[Var, int] = {}

    def new(variable: Any) -> Hashable:
        return numbers.setdefault(variable, len(numbers)), variable.aval

    def read(atom: Any) -> Hashable:
        return (_form(atom.val), atom.aval) if isinstance(atom, Literal) else numbers[atom]

    return (
        tuple(map(new, (*jaxpr.constvars, *jaxpr.invars))),
        tuple(map(_form, constants)),
        tuple(
            (
                equation.primitive,
                tuple(map(read, equation.invars)),
                _form(_run(equation.primitive, equation.params)),
                tuple(map(new, equation.outvars)),
            )
            for equation in jaxpr.eqns
        ),
        tuple(map(read, jaxpr.outvars)),
    )


def _run(primitive: Primitive, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Its parameters that are run, without rules for transforms, which every trace makes anew."""
    name = _CALLED.get(primitive.name, "")
    return {name: params[name]} if name in params else params


def _form(value: Any) -> Hashable:
    if isinstance(value, ClosedJaxpr | Jaxpr):
        return form_of(value)
    if isinstance(value, Mapping):
        return tuple((name, _form(each)) for name, each in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_form, value))
    if isinstance(value, jax.Array):
        return Itself(value)
    if isinstance(value, float | complex) or hasattr(value, "__array__"):  # 0 and -0, NaN and NaN
        array = np.asarray(value)
        return array.dtype, array.shape, hashlib.sha256(array.tobytes()).digest()
    return type(value), hashable(value)
