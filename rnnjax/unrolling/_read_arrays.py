"""Arrays of the program around a cell that its step reads besides its arguments.

A derivative of our own, as that of a cell's rule or of `checkpointed`, is one in its operands, and
JAX takes whatever else its functions read for constant: the derivative along it would be lost. So
these arrays become part of the params, and the step is differentiated by JAX.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from rnnjax._checks import is_inexact
from rnnjax._execution import BaseGradient, Gradient, OnlineGradient, Sequence
from rnnjax._params import WithRead
from rnnjax._traces import is_traced
from rnnjax._types import Array, Carry, Cell, Params, PyTree, Structure, known
from rnnjax.gradients import autodiff
from rnnjax.running import input_dtypes

_READ_NONE: set[Cell] = set()  # cells that are known to read none, which are looked at once
_MOST = 256


def arrays_read(
    cell: Cell, params: Params, sequence: Sequence, gradient: Gradient | None
) -> tuple[Array, ...]:
    """The traced arrays that the step reads besides its arguments, over at least one step.

    None where all are integers, booleans or PRNG keys, unless a gradient wraps another, whose
    derivative reads them too.
    """
    if not is_traced() or cell in _READ_NONE:
        return ()
    if getattr(jax.config, "jax_disable_jit"):  # noqa: B009  then a step gets values, once each
        return ()

    def first(params: Params, sequence: Sequence) -> Any:
        return cell.step(params, sequence.carry, _first_input(params, sequence))

    try:
        consts = jax.make_jaxpr(first)(params, sequence).consts
    except Exception:  # of a step that refuses its arguments: said where it is run
        return ()
    read = tuple(c for c in consts if isinstance(c, Tracer))
    if not read:
        if len(_READ_NONE) == _MOST:
            _READ_NONE.clear()
        _READ_NONE.add(cell)
    wraps = gradient is not None and gradient.base is not gradient
    return read if wraps or any(map(is_inexact, read)) else ()


def as_params(
    cell: Cell,
    params: Params,
    read: tuple[Array, ...],
    sequence: Sequence,
    gradient: Gradient | None,
) -> tuple[Cell, WithRead]:
    """The same cell with these arrays among its params, without the rule that knows none of them.

    Raises:
      ValueError: a gradient that clips, which only a rule does, or one that is computed online, for
        each example apart.
    """
    base = None if gradient is None else gradient.base
    if base is not None and (base.clip is not None or isinstance(base, OnlineGradient)):
        raise ValueError(
            "the step of this cell reads an array of the program around it that is not among its "
            f"arguments, and gradient={gradient} has no derivative along it: pass the array as "
            "part of params or of xs, or, if it is constant, make it with NumPy or outside of jit"
        )
    by = partial(_with_read, read)

    def initial_carry(
        held: WithRead, batch_shape: tuple[int, ...] = (), key: Array | None = None
    ) -> Carry:
        return cell.initial_carry(held.params, batch_shape, key)

    found = known(cell)
    linear = found.linear and found.linear._replace(
        coefficients=by(found.linear.coefficients), readout=by(found.linear.readout)
    )
    inverse, held = found.inverse and by(found.inverse), WithRead(params, read)
    if inverse is not None:  # which is first run when the arrays of the program around are gone
        jax.eval_shape(
            lambda held, sequence: inverse(held, sequence.carry, _first_input(params, sequence)),
            *(held, sequence),
        )
    structure = Structure(
        feature_axes=found.feature_axes, output=found.output, linear=linear, inverse=inverse
    )
    return Cell(cell.init, initial_carry, by(cell.step), None, structure), held


def base_of(gradient: Gradient | None, params: Params) -> BaseGradient | None:
    """The base of a gradient for these params."""
    base = None if gradient is None else gradient.base
    by_rule = base is not None and base.name == "bptt"
    return autodiff() if by_rule and isinstance(params, WithRead) else base


def _first_input(params: Params, sequence: Sequence) -> PyTree:
    xs = sequence.xs
    return jax.tree.map(lambda x, dtype: x[0].astype(dtype), xs, input_dtypes(params, xs))


def _with_read(read: tuple[Array, ...], function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of params, with WithRead in their place; traced once for arguments of a type."""
    traced: dict[Any, Any] = {}

    def call(held: WithRead, *rest: Any) -> Any:
        leaves, tree = jax.tree.flatten((held.params, *rest))
        types = tree, tuple(map(jax.typeof, leaves))
        if types not in traced:
            traced[types] = jax.make_jaxpr(function, return_shape=True)(held.params, *rest)
        made, shapes = traced[types]
        given = {id(old): new for old, new in zip(read, held.read, strict=True)}
        flat = jaxpr_as_fun(ClosedJaxpr(made.jaxpr, [given.get(id(c), c) for c in made.consts]))
        return jax.tree.unflatten(jax.tree.structure(shapes), flat(*leaves))

    return call
