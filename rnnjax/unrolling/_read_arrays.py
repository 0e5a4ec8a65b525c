"""Arrays of the program around a cell that its step reads besides its arguments.

A derivative of our own, as that of a cell's rule or of `checkpointed`, is one in its operands, and
JAX takes whatever else its functions read for constant: the derivative along it would be lost. So
these arrays become part of the params, and the step is differentiated by JAX.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from rnnjax._calls import Call
from rnnjax._checks import is_inexact
from rnnjax._execution import BaseGradient, Gradient, OnlineGradient, Sequence
from rnnjax._traces import is_traced
from rnnjax._types import Array, Carry, Cell, Params, PyTree, Structure, known
from rnnjax.gradients import autodiff
from rnnjax.running import input_dtypes


class WithRead(NamedTuple):
    """The params of a cell, and the arrays that its step reads besides."""

    params: Params
    read: tuple[Array, ...]


def arrays_read(cell: Cell, params: Params, sequence: Sequence) -> tuple[Array, ...]:
    """The traced real and complex arrays that the step reads besides its arguments."""
    if not is_traced() or _is_plain(cell.structure.call):
        return ()
    if getattr(jax.config, "jax_disable_jit"):  # noqa: B009  then a step gets values, once each
        return ()
    xs, carry = sequence.xs, sequence.carry
    if 0 in jax.tree.leaves(xs)[0].shape[:1]:
        return ()

    def first(params: Params, carry: Carry, xs: PyTree) -> Any:
        cast = jax.tree.map(lambda x, dtype: x[0].astype(dtype), xs, input_dtypes(params, xs))
        return cell.step(params, carry, cast)

    try:
        consts = jax.make_jaxpr(first)(params, carry, xs).consts
    except Exception:  # of a step that refuses its arguments: said where it is run
        return ()
    return tuple(c for c in consts if isinstance(c, Tracer) and is_inexact(c))


def as_params(
    cell: Cell, params: Params, read: tuple[Array, ...], gradient: Gradient | None
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
            "part of params or of xs"
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
    structure = Structure(
        feature_axes=found.feature_axes,
        output=found.output,
        linear=linear,
        inverse=found.inverse and by(found.inverse),
    )
    return Cell(cell.init, initial_carry, by(cell.step), None, structure), WithRead(params, read)


def base_of(gradient: Gradient | None, params: Params) -> BaseGradient | None:
    """The base of a gradient for these params."""
    base = None if gradient is None else gradient.base
    by_rule = base is not None and base.name == "bptt"
    return autodiff() if by_rule and isinstance(params, WithRead) else base


def _with_read(read: tuple[Array, ...], function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of params, with WithRead in their place."""

    def call(held: WithRead, *rest: Any) -> Any:
        made, shapes = jax.make_jaxpr(function, return_shape=True)(held.params, *rest)
        given = {id(old): new for old, new in zip(read, held.read, strict=True)}
        consts = [given.get(id(c), c) for c in made.consts]
        flat = jaxpr_as_fun(ClosedJaxpr(made.jaxpr, consts))
        return jax.tree.unflatten(
            jax.tree.structure(shapes), flat(*jax.tree.leaves((held.params, *rest)))
        )

    return call


def _is_plain(x: Any) -> bool:
    """Whether a cell was made of numbers and names alone, so that there is nothing to read."""
    if isinstance(x, Call):
        return all(map(_is_plain, (*x.positional, *(value for _, value in x.keywords))))
    if isinstance(x, Cell):
        return x.structure.call is not None and _is_plain(x.structure.call)
    return x is not None and isinstance(x, bool | int | float | str)
