"""Every gradient over every method: it agrees with its reference, or says why it is refused."""

import functools

import jax
import jax.numpy as jnp
import pytest
from cells_table import KINDS, T
from gradients_table import GRADIENTS, METHODS
from problems import (
    NO_RESETS,
    RAGGED,
    RESETS,
    Point,
    Result,
    assert_close,
    at,
    cost,
    eagerly,
    gradient_of,
    problem,
    program,
)

from rnnjax import autodiff, bptt, sequential, unroll
from rnnjax.methods import AVAILABILITY, explain

FLAGS = {"lengths": RAGGED, "resets": RESETS}
CELLS = {
    **dict.fromkeys(("sequential", "native"), ("lstm", "stack_of_two", "users_own")),
    "associative": ("min_gru",),
}
CELLS_AND_METHODS = [(name, method) for method, names in CELLS.items() for name in names]
# A base gradient alone is compared backwards in time in test_unroll_is_the_loop.
BOTH_WAYS = [
    (gradient, reverse)
    for gradient, row in GRADIENTS.items()
    for reverse in (False, True)
    if not reverse or row.value not in (None, autodiff(), bptt())
]
K = 2  # steps in a chunk of the truncated gradients of the table


def chunks(reverse):
    """Where the chunks of K steps lie, in the order that they are run."""
    if reverse:
        return [range(max(0, end - K), end) for end in range(T, 0, -K)]
    return [range(begin, min(T, begin + K)) for begin in range(0, T, K)]


def truncated_by_hand(cell, reverse):
    """Each chunk an `unroll` of its own by autodiff, the carry between two of them cut."""

    def run(point: Point, lengths=None, resets=None):
        def value(params, xs, carry):
            fresh = cell.initial_carry(params, (RAGGED.shape[0],))
            parts = {}
            for number, chunk in enumerate(chunks(reverse)):
                if number:
                    carry = jax.lax.stop_gradient(carry)
                here, options = slice(chunk[0], chunk[-1] + 1), {}
                if lengths is not None:
                    options["lengths"] = jnp.clip(lengths - chunk[0], 0, len(chunk))
                if resets is not None:
                    options["resets"] = resets[here]
                    end = chunk[-1] + 1
                    if reverse and end < T:  # the last chunk may have begun an episode
                        begins = resets[end] & (True if lengths is None else end < lengths)
                        carry = jax.tree.map(functools.partial(choose, begins), fresh, carry)
                carry, parts[chunk[0]] = unroll(
                    cell,
                    params,
                    at(xs, here),
                    carry=carry,
                    reverse=reverse,
                    method=sequential(),
                    gradient=autodiff(),
                    **options,
                )
            ys = jax.tree.map(lambda *y: jnp.concatenate(y), *(parts[t] for t in sorted(parts)))
            return cost(carry, ys), (carry, ys)

        gradients, (last, ys) = jax.grad(value, (0, 1, 2), has_aux=True)(*point)
        return Result(last, ys, Point(*gradients))

    return run


def choose(flag, a, b):
    return jnp.where(flag.reshape(flag.shape + (1,) * (a.ndim - flag.ndim)), a, b)


@functools.cache
def reference(name, gradient, reverse):
    cell, params, xs, carry, _ = problem(name)
    like = GRADIENTS[gradient].like
    if like is None:
        run = truncated_by_hand(cell, reverse)
    else:
        if cell.rule is None:
            like = autodiff()
        run = gradient_of(cell, gradient=like, method=sequential(), reverse=reverse)
    return eagerly(run)(Point(params, xs, carry), **FLAGS)


def serves(name, gradient, method):
    """Whether the table says that this combination runs."""
    cell, params, xs, *_ = problem(name)
    value = GRADIENTS[gradient].value
    base = value and value.base
    if METHODS[method].value.name == "native":
        if explain(cell, params, xs).method != METHODS[method].value:
            return False
    elif base is not None and base.name == "bptt" and cell.rule is None:
        return False
    return METHODS[method].serves(base)


def needs(method):
    missing = AVAILABILITY[METHODS[method].value.name]()
    if missing:
        pytest.skip(missing)


@pytest.mark.parametrize(("gradient", "reverse"), BOTH_WAYS)
@pytest.mark.parametrize(("name", "method"), CELLS_AND_METHODS)
def test_a_pair_agrees_or_is_refused(name, gradient, method, reverse):
    needs(method)
    cell, params, xs, carry, _ = problem(name)
    options = {
        "gradient": GRADIENTS[gradient].value,
        "method": METHODS[method].value,
        "reverse": reverse,
    }
    run = eagerly(gradient_of(cell, **options))
    if not serves(name, gradient, method):
        pattern = r"cannot run this|needs a cell with a hand-derived rule"
        with pytest.raises(ValueError, match=pattern):
            run(Point(params, xs, carry), **FLAGS)
        return
    got = run(Point(params, xs, carry), **FLAGS)
    assert_close(got, reference(name, gradient, reverse))


@pytest.mark.parametrize("gradient", ["checkpointed_2", "truncated"])
@pytest.mark.parametrize("name", KINDS)
def test_wraps_carry_every_kind_of_cell(name, gradient):
    cell, params, xs, carry, _ = problem(name)
    run = gradient_of(cell, gradient=GRADIENTS[gradient].value)
    got = eagerly(run)(Point(params, xs, carry), lengths=RAGGED, resets=NO_RESETS)
    if GRADIENTS[gradient].like is None:
        want = eagerly(truncated_by_hand(cell, reverse=False))
    else:
        want = program(name, gradient=autodiff(), reverse=False)
    assert_close(got, want(Point(params, xs, carry), lengths=RAGGED, resets=NO_RESETS))
