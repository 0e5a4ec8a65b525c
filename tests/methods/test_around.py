"""Cells around another run it over the whole sequence, by its own method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import evaluated

import rnnjax
from rnnjax import associative, min_gru, native, sequential, unroll
from rnnjax.methods import AVAILABILITY, explain

T, B, H = 6, 3, 2
LENGTHS = jnp.array([6, 3, 0])
RESETS = jnp.zeros((T, B), bool).at[2, 0].set(True).at[4, 0].set(True).at[1, 1].set(True)
KEY = jax.random.key(3)


def scaled(inner, claimed=None):
    """A user's cell around another: the input and the output are multiplied by weights."""

    def init(key, inputs):
        return inner.init(key, inputs), jnp.asarray(0.7), jnp.asarray(1.3)

    def initial_carry(params, batch_shape=(), key=None):
        return rnnjax.extend.initial_carry(inner, params[0], batch_shape, key)

    def step(params, carry, x_t):
        own, before, after = params
        carry, y_t = inner.step(own, carry, before * x_t)
        return carry, x_t + after * y_t

    how = rnnjax.Around(
        inner,
        own=lambda params: params[0],
        before=lambda params, _, xs: params[1] * xs,
        after=claimed or (lambda params, xs, ys: xs + params[2] * ys),
    )
    return rnnjax.Cell(init, initial_carry, step, structure=rnnjax.Structure(around=how))


CELLS = {
    "residual": lambda inner: rnnjax.residual(rnnjax.stack(inner, inner)),
    "input_dropout": lambda inner: rnnjax.input_dropout(inner, 0.4),
    "same mask": lambda inner: rnnjax.input_dropout(inner, 0.4, same_mask=True),
    "nested": lambda inner: rnnjax.residual(rnnjax.input_dropout(rnnjax.residual(inner), 0.4)),
    "layers": lambda inner: rnnjax.stack(inner, rnnjax.residual(rnnjax.stack(inner, inner))),
    "users": scaled,
}


def compare(cell, method, run_as, *, key=None, **options):
    """Outputs, carries and gradients by `method` are those of one loop."""
    params = cell.init(jax.random.key(0), H)
    xs = jax.random.normal(jax.random.key(1), (T, B, H))
    if "lengths" in options:  # nothing of the padding may be seen
        xs = jnp.where((np.arange(T)[:, None] < np.asarray(LENGTHS))[..., None], xs, jnp.nan)
    weights = jax.random.normal(jax.random.key(2), (T, B, H))

    def cost(params, xs, by):
        last, ys = unroll(cell, params, xs, key=key, method=by, **options)
        states = [s for s in jax.tree.leaves(last) if jnp.issubdtype(s.dtype, jnp.floating)]
        return jnp.sum(weights * ys) + sum(jnp.sum(s**2) for s in states), (last, ys)

    found = []
    for by in (sequential(), method):
        run = jax.value_and_grad(lambda p, x, by=by: cost(p, x, by), (0, 1), has_aux=True)
        found.append(jax.tree.leaves(run_as(run)(params, xs)))
    for want, got in zip(*found, strict=True):
        if jnp.issubdtype(want.dtype, jax.dtypes.prng_key):
            want, got = map(jax.random.key_data, (want, got))
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)
        assert np.isfinite(np.asarray(got, float)).all()


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", CELLS)
def test_the_run_of_the_inner_cell_is_the_loop(name, reverse):
    cell = CELLS[name](min_gru(H))
    for key in (None, KEY):
        flags = {"lengths": LENGTHS, "resets": RESETS}
        for options in ({}, flags):
            compare(cell, associative(), evaluated, key=key, reverse=reverse, **options)


@pytest.mark.parametrize("name", ["nested", "users"])
def test_around_a_compiled_kernel(name):
    if AVAILABILITY["native"]():
        pytest.skip(AVAILABILITY["native"]())
    cell = CELLS[name](rnnjax.lstm(H))
    xs = jnp.ones((T, B, H))
    assert explain(cell, cell.init(KEY, H), xs).method == native()
    compare(cell, native(), jax.jit, key=KEY, lengths=LENGTHS, resets=RESETS)


def test_around_a_learned_carry_the_cell_inside_keeps_its_method():
    for make in (rnnjax.residual, lambda cell: rnnjax.residual(rnnjax.stack(min_gru(H), cell))):
        cell = make(rnnjax.learned_carry(min_gru(H)))
        compare(cell, associative(), evaluated, lengths=LENGTHS, resets=RESETS)


def test_the_carries_of_every_step():
    cell = rnnjax.input_dropout(rnnjax.residual(min_gru(H)), 0.5)
    params, xs = cell.init(jax.random.key(0), H), jax.random.normal(KEY, (T, B, H))
    options = {"lengths": LENGTHS, "resets": RESETS, "key": KEY, "return_carries": True}
    runs = [unroll(cell, params, xs, method=by, **options) for by in (sequential(), associative())]
    want, got = jax.tree.map(
        lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x,
        runs,
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got, want)
    assert got[0].keys.shape[:2] == (T, B)


def test_explain_names_the_inner_cell_and_a_loop_stays_one():
    cell = rnnjax.residual(rnnjax.gru(H, reset="before"))
    params, xs = cell.init(KEY, H), jnp.ones((T, B, H))
    assert explain(cell, params, xs).plan == sequential()
    if AVAILABILITY["native"]() is None:
        cell = rnnjax.residual(rnnjax.gru(H))
        found = explain(cell, cell.init(KEY, H), xs)
        assert (found.plan, found.method) == ((native(),), native())
        assert "the cell that it is around:\n  native()  runs: native()" in str(found)


def test_check_compares_the_inner_cell_with_the_step():
    ways = {v.way: v.passed for v in rnnjax.gradients.check(scaled(min_gru(H)), inputs=H).values}
    assert ways["inner cell"]
    wrong = scaled(min_gru(H), lambda params, xs, ys: xs - params[2] * ys)
    report = rnnjax.gradients.check(wrong, inputs=H)
    assert not report.passed
    assert [v.way for v in report.values if not v.passed] == ["inner cell"]


def test_a_replaced_rule_is_not_left_out():
    cell = rnnjax.residual(rnnjax.lstm(H))
    mine = cell.rule._replace(backward=lambda *args: cell.rule.backward(*args))
    cell = cell._replace(rule=mine)
    params, xs = cell.init(KEY, H), jnp.ones((T, B, H))
    assert explain(cell, params, xs).plan == sequential()
