"""A cell's step, and the same by its rule, its linear form, its layers and the cell inside it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._checks import check_linear
from rnnjax._execution import Sequence
from rnnjax._types import Carry, Cell, Linear, Params, PyTree, Rule, known
from rnnjax.gradients._rules import checked_rule
from rnnjax.running import around, final_carry, one_after_another, prepare

Values = tuple[Carry, PyTree]  # the last carry, and ys


def quick_jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit` for a tiny program that runs a few times: optimising it would take longer."""
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=quick, **options)


def by_step(cell: Cell, params: Params, sequence: Sequence) -> Values:
    """The reference: the step in a scan."""
    ready, carry, xs = prepare(cell, params, sequence)
    carry, ys = jax.lax.scan(partial(ready.step, params), carry, xs)
    return final_carry(carry), ys


def other_ways(
    cell: Cell, params: Params, sequence: Sequence
) -> Iterator[tuple[str, Callable[[], Values]]]:
    """The names of the other ways that the cell offers, and the run by each."""
    ready, carry, xs = prepare(cell, params, sequence)
    if ready.rule is not None:
        yield "rule", partial(_by_rule, checked_rule(ready.rule), params, carry, xs)
    linear = known(ready).linear
    if linear is not None:
        yield "linear form", partial(_by_linear_form, linear, params, carry, xs)
    if known(cell).layers:
        runs = [partial(by_step, layer) for layer in known(cell).layers]
        yield "layers", partial(one_after_another(runs), params, sequence)
    how = known(cell).around
    if how is not None:
        run = around(how, partial(by_step, how.cell), False)
        yield "inner cell", partial(run, params, sequence)


def by_inverse(cell: Cell, params: Params, sequence: Sequence) -> Callable[[], tuple[Carry]] | None:
    """The run to the last carry and back to the first; None for a cell that cannot."""
    ready, carry, xs = prepare(cell, params, sequence)
    inverse = known(ready).inverse
    if inverse is None:
        return None

    def back(carry: Carry, x_t: PyTree) -> tuple[Carry, None]:
        return inverse(params, carry, x_t), None

    def run() -> tuple[Carry]:
        last, _ = jax.lax.scan(partial(ready.step, params), carry, xs)
        return (jax.lax.scan(back, last, xs, reverse=True)[0],)

    return run


def _by_rule(rule: Rule, params: Params, carry: Carry, xs: PyTree) -> Values:
    def body(carry: Carry, z_t: PyTree) -> tuple[Carry, PyTree]:
        return rule.forward(params, carry, z_t)[0]

    carry, ys = jax.lax.scan(body, carry, rule.project(params, xs))
    return final_carry(carry), ys


def _by_linear_form(linear: Linear, params: Params, carry: Carry, xs: PyTree) -> Values:
    """c_t = a_t ∘ c_{t-1} + b_t, everything else for all steps at once."""
    check_linear(linear, params, xs, carry)
    times = jnp.multiply if linear.product == "diagonal" else jnp.matmul

    def body(carry: Carry, affine_t: Any) -> tuple[Carry, Carry]:
        a_t, b_t = affine_t
        carry = jax.tree.map(lambda a, c, b: times(a, c) + b, a_t, carry, b_t)
        return carry, carry

    last, carries = jax.lax.scan(body, carry, linear.coefficients(params, xs))
    return final_carry(last), linear.readout(params, carries, xs)
