"""Under jit and vmap, traced once, in every dtype, and over nothing at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_table import ROWS, B, T
from problems import (
    Point,
    assert_close,
    difference,
    first_carry,
    gradient_of,
    problem,
    program,
    quick_jit,
)

from rnnjax import unroll


def start(name):
    """The carry of a row, in its training form where it has one."""
    return first_carry(name) if ROWS[name].random else problem(name).carry


@pytest.mark.parametrize("name", ROWS)
def test_vmap_over_data_and_over_params(name):
    cell, params, xs, *_ = problem(name)
    carry = start(name)
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.5 * leaf]), params)
    run = gradient_of(
        cell,
        cost=lambda carry, ys: sum(
            jnp.sum(jnp.sin(leaf))
            for leaf in jax.tree.leaves((ys, carry))
            if jnp.issubdtype(leaf.dtype, jnp.floating)
        ),
    )
    over_data = jax.vmap(run, (Point(None, 1, 0),))
    over_params = quick_jit(jax.vmap(over_data, (Point(0, None, None),)))
    whole = quick_jit(run)
    got = over_params(Point(two, xs, carry))
    for index in range(2):
        chosen = jax.tree.map(lambda leaf, index=index: leaf[index], two)
        want = whole(Point(chosen, xs, carry))
        of_one = jax.tree.map(lambda leaf, index=index: leaf[index], got)
        assert_close(of_one.carry, want.carry)
        assert_close(jnp.moveaxis(of_one.ys, 0, 1), want.ys)
        summed = jax.tree.map(lambda leaf: jnp.sum(leaf, 0), of_one.gradients.params)
        assert_close(summed, want.gradients.params)
        assert_close(jnp.moveaxis(of_one.gradients.xs, 0, 1), want.gradients.xs)
        assert_close(of_one.gradients.carry, want.gradients.carry)


@pytest.mark.parametrize("name", ROWS)
def test_more_batch_axes_and_none(name):
    cell, params, xs, *_ = problem(name)
    carry = start(name)
    want = quick_jit(lambda: unroll(cell, params, xs, carry=carry))()
    one = jax.tree.map(lambda leaf: leaf[1], carry)
    none = quick_jit(lambda: unroll(cell, params, xs[:, 1], carry=one))()
    assert_close(none[1], want[1][:, 1])
    deeper = jax.tree.map(lambda leaf: leaf.reshape(1, B, *leaf.shape[1:]), carry)
    more = quick_jit(lambda: unroll(cell, params, xs[:, None], carry=deeper))()
    assert_close(more[1], want[1][:, None])


@pytest.mark.parametrize("name", ROWS)
def test_step_is_traced_once_and_scans(name):
    cell, params, xs, *_ = problem(name)
    carry, traces = start(name), []

    def counting(params, carry, x_t):
        traces.append(1)
        return cell.step(params, carry, x_t)

    counted = cell._replace(step=counting)
    last, ys = unroll(counted, params, xs, carry=carry)
    seen = len(traces)
    other = jax.tree.map(lambda leaf: 0.5 * leaf, params)
    unroll(counted, other, 2 * xs, carry=carry)
    assert len(traces) == seen <= 2

    def body(carry, x_t):
        return cell.step(params, carry, x_t)

    want = jax.lax.scan(body, carry, xs)
    assert_close((last, ys), want, 1e-13)


def test_gradient_is_traced_once():
    cell, params, xs, *_ = problem("lstm")
    traces = []

    def forward(params, carry, z_t):
        traces.append(1)
        return cell.rule.forward(params, carry, z_t)

    counted = cell._replace(rule=cell.rule._replace(forward=forward))
    grad = jax.grad(lambda params, xs: unroll(counted, params, xs)[1].sum())
    grad(params, xs)
    seen = len(traces)
    grad(jax.tree.map(jnp.cos, params), xs + 1)
    assert len(traces) == seen <= 2


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(jnp.float32, 2e-4), (jnp.bfloat16, 0.25)], ids=["f32", "bf16"]
)
@pytest.mark.parametrize("name", ROWS)
def test_dtype_of_params_rules(name, dtype, tolerance):
    _, params, xs, carry, _ = problem(name)

    def cast(tree):
        return jax.tree.map(lambda leaf: leaf.astype(dtype), tree)

    # The same rounded numbers in float64, so that only the arithmetic differs.
    low = cast(Point(params, xs, carry))
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), low)
    run = program(name)
    got, want = run(low._replace(xs=wide.xs)), run(wide)  # xs is cast to the params' dtype
    floats = (got.carry, got.ys, got.gradients.params, got.gradients.carry)
    assert {leaf.dtype for leaf in jax.tree.leaves(floats)} == {jnp.dtype(dtype)}
    assert got.gradients.xs.dtype == jnp.float64  # the gradient of what was passed
    assert difference((got.carry, got.ys), (want.carry, want.ys)) < tolerance / 2
    assert difference(got.gradients, want.gradients) < tolerance


@pytest.mark.parametrize("name", ROWS)
def test_no_steps_and_no_examples(name):
    cell, params, xs, carry, _ = problem(name)
    run = program(name)
    no_steps = run(Point(params, xs[:0], carry))
    assert no_steps.ys.shape == (0, *no_steps.ys.shape[1:])
    assert_close(no_steps.carry, carry, 0.0)
    nobody = jax.tree.map(lambda leaf: leaf[:0], carry)
    no_examples = run(Point(params, xs[:, :0], nobody))
    assert no_examples.ys.shape[:2] == (T, 0)
    assert jax.tree.map(jnp.shape, no_examples.carry) == jax.tree.map(jnp.shape, nobody)
    for result in (no_steps, no_examples):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(result.gradients.params))
    flags = {"lengths": jnp.zeros(B, int), "resets": jnp.zeros((0, B), bool)}
    for reverse in (False, True):
        assert_close(unroll(cell, params, xs[:0], carry=carry, reverse=reverse, **flags)[0], carry)
