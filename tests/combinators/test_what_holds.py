"""Combinators keep what still holds of a cell, and drop or refuse what does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import Cell, Structure, unroll
from rnnjax._types import known

T, B, H = 4, 2, 3
XS = jnp.asarray(np.random.default_rng(0).standard_normal((T, B, H)))
KEY = jax.random.key(1)


def run(cell, key=None):
    return unroll(cell, cell.init(jax.random.key(0), H), XS, key=key)[1]


@pytest.mark.parametrize("key", [None, KEY], ids=["evaluation", "training"])
def test_zoneout_leaves_the_skip_of_residual_outside(key):
    inside = rnnjax.residual(rnnjax.zoneout(rnnjax.lstm(H), h=0.4, c=0.2))
    outside = rnnjax.zoneout(rnnjax.residual(rnnjax.lstm(H)), h=0.4, c=0.2)
    np.testing.assert_array_equal(run(outside, key), run(inside, key))
    plain = run(rnnjax.zoneout(rnnjax.lstm(H), h=0.4, c=0.2), key)
    np.testing.assert_allclose(run(outside, key), plain + XS, rtol=1e-13)


def test_zoneout_refuses_an_output_that_is_no_field_of_the_carry():
    doubled = rnnjax.wrap(rnnjax.lstm(H), lambda step: lambda p, c, x: (step(p, c, x)[0], x))
    for cell in (doubled, rnnjax.stack(rnnjax.lstm(H)), rnnjax.input_dropout(rnnjax.lstm(H), 0.1)):
        with pytest.raises(ValueError, match="output is a field of its carry"):
            rnnjax.zoneout(cell, h=0.1)


def twice_h(structure):
    """A user's tanh cell that declares what it is told to."""
    inner = rnnjax.vanilla(H)

    def step(params, carry, x_t):
        return inner.step(params, carry, x_t)

    return Cell(inner.init, inner.initial_carry, step, structure=structure)


def test_recurrent_dropout_follows_from_what_a_cell_declares():
    declared = twice_h(Structure(through_weights=("h",)))
    want = run(rnnjax.recurrent_dropout(rnnjax.vanilla(H), 0.4), KEY)
    np.testing.assert_allclose(run(rnnjax.recurrent_dropout(declared, 0.4), KEY), want, rtol=1e-13)
    leaky = rnnjax.wrap(
        rnnjax.vanilla(H),
        lambda step: lambda p, c, x: (c._replace(h=0.5 * c.h + step(p, c, x)[0].h), c.h),
    )
    for cell in (twice_h(Structure()), leaky, rnnjax.gru(H), rnnjax.identity_rnn(H)):
        with pytest.raises(ValueError, match=r"through_weights=\('h',\)"):
            rnnjax.recurrent_dropout(cell, 0.4)
    rnnjax.recurrent_dropout(rnnjax.residual(rnnjax.lstm(H)), 0.4)  # the skip is beside h


def test_noise_in_a_carry_is_no_state():
    cell = rnnjax.recurrent_dropout(rnnjax.vanilla(4), 0.5)
    params = cell.init(jax.random.key(0), H)
    carry = cell.initial_carry(params, (B,), KEY)
    jacobians = rnnjax.flow.jacobians(cell, params, XS, carry=carry)
    assert jacobians.shape == (T, B, 4, 4)
    spectrum = rnnjax.flow.lyapunov_spectrum(cell, params, XS, carry=carry)
    assert spectrum.shape == (B, 4)
    kept = np.asarray(carry.kept)
    assert kept.dtype == bool
    # J_t = diag(φ') W_hᵀ m / (1 - rate): a dropped unit has a column of zeros, a kept one has not
    columns = np.abs(np.asarray(jacobians)).sum(axis=(0, 2)) > 0
    np.testing.assert_array_equal(columns, kept)


def test_what_is_known_after_each_combinator():
    lstm = rnnjax.lstm(H)
    assert known(lstm).form == "lstm"
    assert known(rnnjax.residual(lstm)).form is None
    assert known(rnnjax.residual(rnnjax.identity_rnn(H))).linear is not None
    wrapped = known(rnnjax.wrap(lstm, lambda step: step))
    assert wrapped._replace(call=None, made_for=None) == Structure(params=known(lstm).params)
    for cell in (
        rnnjax.wrap(lstm, lambda step: step),
        rnnjax.zoneout(lstm, h=0.1),
        rnnjax.input_dropout(lstm, 0.1),
        rnnjax.recurrent_dropout(lstm, 0.1),
    ):
        structure = known(cell)
        assert (structure.form, structure.layers, structure.linear) == (None, (), None)
    assert known(rnnjax.stack(lstm, lstm)).layers == (lstm, lstm)


def test_a_stack_whose_rule_is_replaced_no_longer_runs_by_its_layers():
    cell = rnnjax.stack(rnnjax.lstm(H), rnnjax.gru(H))
    assert known(cell._replace(rule=None)).layers == ()


@pytest.mark.parametrize(
    "make",
    [
        lambda cell: rnnjax.stack(rnnjax.lstm(2), cell),
        rnnjax.residual,
        lambda cell: rnnjax.wrap(cell, lambda step: step),
        lambda cell: rnnjax.zoneout(cell, h=0.1),
        lambda cell: rnnjax.input_dropout(cell, 0.1),
        lambda cell: rnnjax.recurrent_dropout(cell, 0.1),
        lambda cell: unroll(cell, None, XS),
    ],
)
def test_what_is_not_a_cell_is_refused(make):
    with pytest.raises(TypeError, match=r"Call it, as in rnnjax\.lstm\(128\)"):
        make(rnnjax.lstm)
    with pytest.raises(TypeError, match=r"layer\.apply"):
        make(rnnjax.recurrent(rnnjax.lstm(2)))
    with pytest.raises(TypeError, match="got list"):
        make([rnnjax.lstm(2)])


def test_carries_and_params_in_dicts_are_read_as_those_with_names():
    inner = rnnjax.vanilla(2)

    def step(weights, carry, x_t):
        new, y_t = inner.step(type(params)(**weights), type(start)(**carry), x_t)
        return new._asdict(), y_t

    params = inner.init(KEY, 3)
    start = inner.initial_carry(params, (2,))
    cell = rnnjax.Cell(
        lambda key, inputs: inner.init(key, inputs)._asdict(),
        lambda weights, batch_shape: inner.initial_carry(params, batch_shape)._asdict(),
        step,
        None,
        rnnjax.Structure(through_weights=("h",)),
    )
    xs = jax.random.normal(KEY, (4, 2, 3))
    found, want = (
        rnnjax.unroll(rnnjax.recurrent_dropout(each, 0.5), weights, xs, key=KEY)[1]
        for each, weights in ((cell, params._asdict()), (inner, params))
    )
    np.testing.assert_array_equal(found, want)
