"""Every gradient over every method: it agrees with its reference, or says why it is refused."""

import functools

import pytest
from by_numpy import evaluated
from cells_table import KINDS, B
from gradients_table import GRADIENTS, METHODS
from loop import by_loop
from problems import (
    NO_RESETS,
    RAGGED,
    RESETS,
    Point,
    assert_close,
    gradient_of,
    problem,
)

from rnnjax import autodiff, bptt, sequential
from rnnjax.methods import AVAILABILITY, explain

FLAGS = {"lengths": RAGGED, "resets": RESETS}
CELLS = {
    **dict.fromkeys(("sequential", "native"), ("lstm", "stack_of_two", "users_own")),
    "associative": ("min_gru",),
    "deer": ("indrnn",),
}
CELLS_AND_METHODS = [(name, method) for method, names in CELLS.items() for name in names]


def is_compared(name, method, gradient, reverse):
    """Whether a combination is run; every two of cell, method, gradient and direction meet.

    A base gradient alone is compared backwards in time in test_unroll_is_the_loop. A wrap is run in
    one direction by each cell and method, so that each gradient, with each method that several
    cells have, runs in both. The slow ones that run forwards in time see a stack as one cell, whose
    kind does not matter. Newton's method has tests of its own backwards.
    """
    row = GRADIENTS[gradient]
    if reverse and method == "deer":
        return False
    if row.is_online:
        return name != "stack_of_two" and (not reverse or gradient == "rtrl")
    if row.value in (None, autodiff(), bptt()):
        return not reverse
    turn = [*GRADIENTS].index(gradient) + list(CELLS).index(method) + CELLS[method].index(name)
    return method == "deer" or reverse == bool(turn % 2)


COMPARED = [
    (name, method, gradient, reverse)
    for name, method in CELLS_AND_METHODS
    for gradient in GRADIENTS
    for reverse in (False, True)
    if is_compared(name, method, gradient, reverse)
]


def reference(name, gradient, reverse):
    like, reach = GRADIENTS[gradient].like, GRADIENTS[gradient].reach
    return reached(name, reach, reverse) if reach else by_scan(name, like, reverse)


@functools.cache
def reached(name, reach, reverse):
    cell, params, xs, carry, _ = problem(name)
    fresh = cell.initial_carry(params, (B,))
    return by_loop(name, params, xs, carry, fresh, RAGGED, RESETS, reverse, reach)


@functools.cache
def by_scan(name, like, reverse):
    cell, params, xs, carry, _ = problem(name)
    like = autodiff() if cell.rule is None else like
    run = gradient_of(cell, gradient=like, method=sequential(), reverse=reverse)
    return evaluated(run)(Point(params, xs, carry), **FLAGS)


def only(result, of):
    """Without what a gradient does not differentiate with respect to."""
    return result._replace(gradients={name: getattr(result.gradients, name) for name in of})


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


@pytest.mark.parametrize(("name", "method", "gradient", "reverse"), COMPARED)
def test_a_pair_agrees_or_is_refused(name, gradient, method, reverse):
    needs(method)
    cell, params, xs, carry, _ = problem(name)
    of = GRADIENTS[gradient].of
    options = {
        "of": of,
        "gradient": GRADIENTS[gradient].value,
        "method": METHODS[method].value,
        "reverse": reverse,
    }
    run = evaluated(gradient_of(cell, **options))
    if not serves(name, gradient, method):
        value = GRADIENTS[gradient].value
        pattern = r"cannot run this|a hand-derived rule"
        if cell.rule is not None and not METHODS[method].serves(value and value.base):
            pattern = METHODS[method].refusal
        with pytest.raises(ValueError, match=pattern):
            run(Point(params, xs, carry), **FLAGS)
        return
    got = run(Point(params, xs, carry), **FLAGS)
    assert_close(only(got, of), only(reference(name, gradient, reverse), of))


@pytest.mark.parametrize("gradient", ["checkpointed_2", "truncated", "williams_peng"])
@pytest.mark.parametrize("name", KINDS)
def test_wraps_carry_every_kind_of_cell(name, gradient):
    cell, params, xs, carry, _ = problem(name)
    row = GRADIENTS[gradient]
    got = evaluated(gradient_of(cell, gradient=row.value))(
        Point(params, xs, carry), lengths=RAGGED, resets=NO_RESETS
    )
    fresh = cell.initial_carry(params, (B,))
    want = by_loop(name, params, xs, carry, fresh, RAGGED, NO_RESETS, False, row.reach)
    assert_close(got, want)
