"""Evaluate tiny programs by NumPy instead of compiling them.

Outside `jit` JAX compiles every operation for every new shape, some 20 ms each, and the tests meet
thousands of them. A program of a few primitives that `op_by_op` knows is evaluated instead; all
others are compiled as always.
"""

from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, primitives
from op_by_op import TABLE, is_plain

_EQUATIONS = 12  # in the largest program that is evaluated
_SIZE = 1 << 11  # numbers in the largest argument

_seen: dict[int, tuple[bool, ClosedJaxpr]] = {}  # by id, which an object that is kept does not lose


def evaluate_tiny_programs() -> None:
    """From now on, in this process."""
    from jax._src import pjit

    usual = pjit._pjit_call_impl_python

    def call(*args: Any, jaxpr: ClosedJaxpr, donated_invars: Any, **options: Any) -> Any:
        results = None if any(donated_invars) else _evaluated(jaxpr, args)
        if results is None:
            return usual(*args, jaxpr=jaxpr, donated_invars=donated_invars, **options)
        return results, None, None, []

    pjit._pjit_call_impl_python = call


def _evaluated(program: ClosedJaxpr, args: Any) -> list[jax.Array] | None:
    if not _is_tiny(program) or not all(map(_is_here, args)):
        return None
    arrays = [np.asarray(x, a.dtype) for x, a in zip(args, program.in_avals, strict=True)]
    with np.errstate(all="ignore"):
        results = _run(program.jaxpr, program.consts, arrays)
    if results is None:
        return None
    return [jax.device_put(np.array(x, copy=True)) for x in results]


def _is_tiny(program: ClosedJaxpr) -> bool:
    if id(program) not in _seen:
        _seen[id(program)] = _known(program.jaxpr), program
    return _seen[id(program)][0]


def _known(jaxpr: Any) -> bool:
    """Whether all its primitives and dtypes are those that NumPy serves, and they are few."""
    variables = [*jaxpr.invars, *jaxpr.outvars, *(v for e in jaxpr.eqns for v in e.outvars)]
    if not all(_is_served(v.aval) for v in variables) or len(jaxpr.eqns) > _EQUATIONS:
        return False
    if jaxpr.effects or any(v.aval.weak_type for v in jaxpr.outvars):
        return False
    return all(e.primitive in TABLE or (_inner(e) and _known(_inner(e).jaxpr)) for e in jaxpr.eqns)


def _is_served(aval: Any) -> bool:
    return isinstance(aval, jax.core.ShapedArray) and is_plain(aval.dtype) and aval.size <= _SIZE


def _inner(equation: Any) -> ClosedJaxpr | None:
    return equation.params.get("jaxpr") if equation.primitive is primitives.jit_p else None


def _is_here(x: Any) -> bool:
    """A number or an array that lies whole on the one device."""
    return not isinstance(x, jax.Array) or len(x.devices()) == 1


def _run(jaxpr: Any, consts: Any, args: Any) -> list[np.ndarray] | None:
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom: Any) -> np.ndarray:
        if isinstance(atom, Literal):
            return np.asarray(atom.val, atom.aval.dtype)
        return np.asarray(values[atom])

    for equation in jaxpr.eqns:
        operands, inner = [*map(read, equation.invars)], _inner(equation)
        if inner is not None:
            results = _run(inner.jaxpr, inner.consts, operands)
        else:
            results = TABLE[equation.primitive](*operands, **equation.params)
            if results is not None and not equation.primitive.multiple_results:
                results = [results]
        if results is None:
            return None
        values.update(zip(equation.outvars, results, strict=True))
    return [*map(read, jaxpr.outvars)]
