"""Under jit and vmap, traced once, in every dtype, and over nothing at all."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import evaluated
from cells_table import KINDS, ROWS, B, T
from op_by_op import op_by_op
from problems import (
    Point,
    assert_close,
    at,
    difference,
    first_carry,
    gradient_of,
    inexact_leaves,
    is_inexact,
    problem,
    program,
    quick_jit,
)

from rnnjax import Cell, autodiff, bptt, sequential, unroll


def start(name):
    """The carry of a row, in its training form where it has one."""
    return first_carry(name) if ROWS[name].random else problem(name).carry


def summed_sines(carry, ys):
    leaves = jax.tree.leaves((ys, carry))
    return sum(jnp.sum(jnp.real(jnp.sin(leaf))) for leaf in leaves if is_inexact(leaf))


@pytest.mark.parametrize("name", ROWS)
def test_vmap_over_data_and_over_params(name):
    cell, params, xs, *_ = problem(name)
    carry = start(name)
    two = jax.tree.map(lambda leaf: np.stack([leaf, 1.5 * np.asarray(leaf)]), params)
    run = gradient_of(cell, cost=summed_sines)
    over_data = jax.vmap(run, (Point(None, 1, 0),))
    over_both = jax.vmap(over_data, (Point(0, None, None),))
    # XLA's programs of the others are made of the same primitives.
    got = (quick_jit if name in KINDS else evaluated)(over_both)(Point(two, xs, carry))

    def batch_second(tree):
        return jax.tree.map(lambda leaf: np.moveaxis(leaf, 0, 1), tree)

    for index in range(2):
        want = evaluated(run)(Point(at(two, index), xs, carry))
        of_one = at(got, index)
        assert_close(of_one.carry, want.carry)
        assert_close(batch_second(of_one.ys), want.ys)
        summed = jax.tree.map(lambda leaf: np.sum(leaf, 0), of_one.gradients.params)
        assert_close(summed, want.gradients.params)
        assert_close(batch_second(of_one.gradients.xs), want.gradients.xs)
        assert_close(of_one.gradients.carry, want.gradients.carry)


@pytest.mark.parametrize("name", ROWS)
def test_more_batch_axes_and_none(name):
    cell, params, xs, *_ = problem(name)
    carry = start(name)

    @evaluated
    def run(xs, carry):
        return unroll(cell, params, xs, carry=carry)[1]

    want = run(xs, carry)
    none = run(at(xs, slice(None), 1), at(carry, 1))
    assert_close(none, at(want, slice(None), 1))
    more = run(at(xs, slice(None), None), at(carry, None))
    assert_close(more, at(want, slice(None), None))


@pytest.mark.parametrize("name", ROWS)
def test_step_is_traced_once_and_scans(name):
    cell, params, xs, *_ = problem(name)
    carry, traces = start(name), []

    def counting(params, carry, x_t):
        traces.append(1)
        return cell.step(params, carry, x_t)

    counted = Cell(cell.init, cell.initial_carry, counting, structure=cell.structure)
    last, ys = unroll(counted, params, xs, carry=carry, method=sequential())
    seen = len(traces)
    unroll(
        counted,
        jax.tree.map(lambda leaf: 0.5 * np.asarray(leaf), params),
        jax.tree.map(lambda leaf: 2 * np.asarray(leaf), xs),
        carry=carry,
        method=sequential(),
    )
    assert 0 < len(traces) == seen <= 2
    with op_by_op():
        want = jax.lax.scan(lambda carry, x_t: cell.step(params, carry, x_t), carry, xs)
    assert_close((last, ys), want, 1e-13)


@pytest.mark.parametrize("part", ["forward", "backward", "gradients"])
def test_rule_is_traced_once(part):
    cell, params, xs, *_ = problem("lstm")
    traces = []

    def counting(*arguments):
        traces.append(1)
        return getattr(cell.rule, part)(*arguments)

    counted = cell._replace(rule=cell.rule._replace(**{part: counting}))
    grad = jax.grad(lambda params, xs: unroll(counted, params, xs)[1].sum())
    grad(params, xs)
    seen = len(traces)
    grad(jax.tree.map(jnp.cos, params), xs + 1)
    assert 0 < len(traces) == seen <= 2


def cast(tree, dtype):
    """Real leaves to `dtype`, complex ones to the complex dtype that goes with it."""

    def to(leaf):
        wide = jnp.promote_types(dtype, jnp.float32)
        kind = jnp.promote_types(wide, jnp.complex64) if jnp.iscomplexobj(leaf) else dtype
        return np.asarray(leaf).astype(kind)

    return jax.tree.map(to, tree)


IN_DTYPES = [(name, jnp.bfloat16, 0.25) for name in ROWS]
IN_DTYPES += [(name, jnp.float32, 2e-4) for name in KINDS]


@pytest.mark.parametrize(("name", "dtype", "tolerance"), IN_DTYPES)
def test_dtype_of_params_rules(name, dtype, tolerance):
    cell, params, xs, carry, _ = problem(name)
    # The same rounded numbers in float64, so that only the arithmetic differs.
    low = cast(Point(params, xs, carry), dtype)
    wide = cast(low, jnp.float64)
    # XLA's programs of the others are made of the same primitives.
    run = program(name) if name in KINDS else evaluated(gradient_of(cell))
    got = run(low._replace(xs=wide.xs))  # xs is cast to the params' dtype
    want = evaluated(gradient_of(cell))(wide)
    same = cast((got.carry, got.ys, got.gradients.params, got.gradients.carry), dtype)
    for (path, leaf), (_, expected) in zip(
        inexact_leaves((got.carry, got.ys, got.gradients.params, got.gradients.carry)),
        inexact_leaves(same),
        strict=True,
    ):
        assert leaf.dtype == expected.dtype, path
    for leaf, given in zip(*map(jax.tree.leaves, (got.gradients.xs, wide.xs)), strict=True):
        assert leaf.dtype == given.dtype  # the gradient of what was passed
    assert difference((got.carry, got.ys), (want.carry, want.ys)) < tolerance / 2
    assert difference(got.gradients, want.gradients) < tolerance


@pytest.mark.parametrize("name", ROWS)
def test_no_steps_and_no_examples(name):
    cell, params, xs, carry, _ = problem(name)
    run = program(name) if name in KINDS else evaluated(gradient_of(cell))
    no_steps = run(Point(params, at(xs, slice(0)), carry))
    assert all(leaf.shape[0] == 0 for leaf in jax.tree.leaves(no_steps.ys))
    assert_close(no_steps.carry, carry, 0.0)
    nobody = at(carry, slice(0))
    no_examples = evaluated(gradient_of(cell))(Point(params, at(xs, slice(None), slice(0)), nobody))
    assert all(leaf.shape[:2] == (T, 0) for leaf in jax.tree.leaves(no_examples.ys))
    assert jax.tree.map(jnp.shape, no_examples.carry) == jax.tree.map(jnp.shape, nobody)
    for result in (no_steps, no_examples):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(result.gradients.params))
    flags = {"lengths": jnp.zeros(B, int), "resets": jnp.zeros((0, B), bool)}
    for reverse in (False, True):
        last, _ = unroll(cell, params, at(xs, slice(0)), carry=carry, reverse=reverse, **flags)
        assert_close(last, carry)


@pytest.mark.parametrize("name", ROWS)
def test_an_initial_carry_can_be_donated(name):
    """No two leaves share a buffer, which could be given away once only."""
    cell, params, *_ = problem(name)
    leaves = [leaf for leaf in jax.tree.leaves(cell.initial_carry(params, (B,))) if leaf.size]
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)


@pytest.mark.parametrize("name", ["lstm", "lru"])
def test_exported_for_sequences_and_batches_of_any_size(name):
    cell, params, xs, *_ = problem(name)
    steps, batch = jax.export.symbolic_shape("t, b")

    def run(xs):
        return unroll(cell, params, xs, method=sequential())[1]

    like = jax.ShapeDtypeStruct((steps, batch, *xs.shape[2:]), xs.dtype)
    exported = jax.export.export(quick_jit(run))(like)
    assert_close(exported.call(xs), run(xs), 1e-12)


@pytest.mark.parametrize("name", ["lstm", "lru", "users_own"])
def test_compiled_is_eager(name):
    _, params, xs, carry, _ = problem(name)
    for gradient in (autodiff(), *([bptt()] if ROWS[name].cell.rule else [])):
        compiled = program(name, gradient=gradient)(Point(params, xs, carry))
        with op_by_op():
            eager = gradient_of(ROWS[name].cell, gradient=gradient)(Point(params, xs, carry))
        assert_close(compiled, eager, 1e-13)
