"""Params that are not those of the cell are refused; other forms of the right ones are taken."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import autodiff, bptt, unroll

pytestmark = pytest.mark.usefixtures("eager")

T, B, D, H = 4, 2, 3, 5
KEY = jax.random.key(0)
LSTM, GRU = rnnjax.lstm(H), rnnjax.gru(H)
PARAMS = LSTM.init(KEY, D)
XS = jnp.ones((T, B, D))
CARRY = LSTM.initial_carry(PARAMS, (B,))


def in_dtype(params, dtype):
    return jax.tree.map(lambda w: w.astype(dtype), params)


WRONG = [
    (rnnjax.gru(H, reset="before"), GRU.init(KEY, D), ValueError, "params.b_hn must be None.*var"),
    (GRU, rnnjax.gru(H, reset="before").init(KEY, D), ValueError, r"b_hn must be an array \[5\]"),
    (GRU, PARAMS, TypeError, r"must be GRUParams\(w_x \[D, 15\].*gru\(5\).*got LSTMParams"),
    (LSTM, tuple(PARAMS), TypeError, r"LSTMParams.*as cell\.init\(key, inputs\).*got a tuple"),
    (LSTM, XS, TypeError, "LSTMParams.*got float64"),
    (LSTM, {"w": 1}, TypeError, "LSTMParams.*got a dict with w"),
    (LSTM, PARAMS._replace(w_h=PARAMS.w_h.T), ValueError, r"w_h has shape \(20, 5\).*transposed"),
    (
        LSTM,
        PARAMS._replace(b=PARAMS.b.astype("float32")),
        TypeError,
        "w_h is float64, b is float32",
    ),
    (LSTM, PARAMS._replace(b=jnp.zeros(20, int)), TypeError, r"params\.b must be a floating-point"),
    (rnnjax.lstm(H + 1), PARAMS, ValueError, r"w_x has shape \(3, 20\), expected \[3, 24\]|D, 24"),
    (rnnjax.stack(LSTM, GRU), PARAMS, TypeError, "tuple with the params of each of the 2 cells"),
    (rnnjax.stack(LSTM, GRU), (PARAMS,), ValueError, "1 entries, expected 2"),
    (rnnjax.stack(LSTM, GRU), (PARAMS, PARAMS), TypeError, r"params\[1\] must be GRUParams"),
    (rnnjax.residual(LSTM), GRU.init(KEY, D), TypeError, "must be LSTMParams"),
]


@pytest.mark.parametrize(("cell", "params", "error", "message"), WRONG)
def test_params_of_another_cell(cell, params, error, message):
    for attempt in (
        lambda: unroll(cell, params, XS),
        lambda: cell.initial_carry(params, (B,)),
        lambda: cell.step(params, CARRY, XS[0]),
    ):
        with pytest.raises(error, match=message):
            attempt()


@pytest.mark.parametrize("gradient", [None, autodiff()])
def test_a_dict_of_the_fields_and_lists_are_params(gradient):
    def cost(params):
        return unroll(LSTM, params, XS, gradient=gradient)[1].sum()

    want = jax.grad(cost)(PARAMS)
    got = jax.grad(cost)(PARAMS._asdict())
    np.testing.assert_array_equal(got["w_h"], want.w_h)
    lists = PARAMS._replace(b=PARAMS.b.tolist())
    np.testing.assert_array_equal(unroll(LSTM, lists, XS.tolist())[1], unroll(LSTM, PARAMS, XS)[1])


def test_lists_of_several_lengths_are_no_arrays():
    for call in (
        lambda: unroll(LSTM, PARAMS, [[[1.0] * D] * B, [[1.0] * D]]),
        lambda: unroll(LSTM, PARAMS._replace(b=[[1.0], [2.0, 3.0]]), XS),
    ):
        with pytest.raises(ValueError, match=r"not all of one length is no array: pad.*lengths="):
            call()


def test_float64_of_numpy_is_read_as_jax_keeps_it():
    plain = rnnjax.Cell(
        LSTM.init,
        lambda params, batch, key=None: jnp.zeros((*batch, H), params.w_h.dtype),
        lambda params, h, x_t: (jnp.tanh(h @ params.w_h[:, :H]) + x_t.sum(),) * 2,
    )
    wide = jax.tree.map(np.asarray, PARAMS)
    forms = [wide, wide._asdict(), jax.tree.map(np.ndarray.tolist, wide)]
    with jax.enable_x64(False):
        want = jax.tree.map(jnp.float32, PARAMS)
        forms += [want._replace(w_h=wide.w_h.tolist())]  # a list has no dtype of its own
        for params in forms:
            carry = LSTM.initial_carry(params, (B,))
            assert carry.h.dtype == np.float32
            for got in (unroll(LSTM, params, XS)[0], LSTM.step(params, carry, np.ones((B, D)))[0]):
                assert got.h.dtype == np.float32
            np.testing.assert_array_equal(unroll(LSTM, params, XS)[1], unroll(LSTM, want, XS)[1])
        upper = jax.tree.map(jnp.float32, LSTM.init(KEY, H))
        deep = rnnjax.stack(plain, LSTM)
        for cell, forms in ((plain, (wide, want)), (deep, ((wide, upper), (want, upper)))):
            got, expected = (unroll(cell, params, XS)[1] for params in forms)
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("gradient", [autodiff(), bptt()])
@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32")])
def test_layers_of_different_dtypes_run(dtypes, gradient):
    cell = rnnjax.stack(rnnjax.gru(3), rnnjax.vanilla(2))
    whole = cell.init(KEY, D)
    mixed = tuple(in_dtype(p, dtype) for p, dtype in zip(whole, dtypes, strict=True))

    def cost(params, xs):
        options = {"gradient": gradient, "method": rnnjax.sequential()}
        return unroll(cell, params, xs, **options)[1].astype(float).sum()

    got, got_xs = jax.grad(cost, (0, 1))(mixed, XS)
    want, want_xs = jax.grad(cost, (0, 1))(whole, XS)
    assert [p.w_h.dtype for p in got] == [np.dtype(dtype) for dtype in dtypes]
    for a, b in zip(jax.tree.leaves((got, got_xs)), jax.tree.leaves((want, want_xs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_cell_without_params_runs():
    cell = rnnjax.Cell(
        lambda key, inputs: (),
        lambda params, batch, key=None: jnp.zeros((*batch, D)),
        lambda params, carry, x_t: (carry + x_t, carry + x_t),
    )
    for params in ((), None):
        assert unroll(cell, params, XS)[1][-1].tolist() == [[4.0] * D] * B
    with pytest.raises(ValueError, match="rule=None"):
        unroll(cell, (), XS, gradient=bptt())


def test_a_step_reads_inputs_in_the_dtype_of_its_params():
    params = in_dtype(PARAMS, "bfloat16")
    carry = LSTM.initial_carry(params, (B,))
    last, ys = jax.lax.scan(functools.partial(LSTM.step, params), carry, XS)
    want = unroll(LSTM, params, XS)
    for a, b in zip(jax.tree.leaves((last, ys)), jax.tree.leaves(want), strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_array_equal(a, b)
    with pytest.raises(TypeError, match="complex128: the weights of this cell are real"):
        LSTM.step(PARAMS, CARRY, XS[0].astype(complex))


@pytest.mark.parametrize(
    ("carry", "x_t", "message"),
    [
        (CARRY, jnp.ones((T, B, D)), r"carry\.h is float64\[2, 5\], expected float64\[4, 2, 5\]"),
        (CARRY, jnp.ones(D), r"expected float64\[5\]"),
        (CARRY, jnp.ones((B, D + 1)), r"\[\.\.\., 3\]"),
        (in_dtype(CARRY, "float32"), jnp.ones((B, D)), "is float32.*expected float64"),
        (GRU.initial_carry(GRU.init(KEY, D), (B,)), jnp.ones((B, D)), "structure GRUCarry"),
        (jnp.ones((B, H)), jnp.ones((B, D)), r"expected LSTMCarry"),
        (jnp.ones((B, D)), CARRY, r"expected LSTMCarry"),
    ],
)
def test_a_step_takes_a_carry_of_its_own(carry, x_t, message):
    with pytest.raises(ValueError, match=message):
        LSTM.step(PARAMS, carry, x_t)


def test_batch_shapes():
    for wrong in (2, None, "2", (1.5,), (True,)):
        with pytest.raises(TypeError, match=r"batch_shape must be a tuple of ints, such as \(2,\)"):
            LSTM.initial_carry(PARAMS, wrong)
    with pytest.raises(ValueError, match="no negative size"):
        LSTM.initial_carry(PARAMS, (-1,))
    assert LSTM.initial_carry(PARAMS, [2]).h.shape == (2, H)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient": "bptt"}, "gradient must be a gradient such as rnnjax.bptt.*got 'bptt'.*call"),
        ({"gradient": rnnjax.bptt}, r"call it, as in bptt\(\)"),
        ({"gradient": rnnjax.native()}, "gradient must be a gradient"),
        ({"method": "native"}, "method must be a method such as .*got 'native'"),
        ({"method": rnnjax.native}, r"call it, as in native\(\)"),
        ({"method": bptt()}, "method must be a method"),
        ({"reverse": "no"}, "reverse must be True or False, got 'no'"),
    ],
)
def test_gradients_and_methods_are_values(options, message):
    with pytest.raises(TypeError, match=message):
        unroll(LSTM, PARAMS, XS, **options)


def test_a_function_among_the_params_is_named():
    class Params(NamedTuple):
        w: jax.Array
        activation: Callable

    def step(params, h, x):
        h = params.activation(x @ params.w + h)
        return h, h

    cell = rnnjax.Cell(None, lambda params, batch_shape=(), key=None: jnp.zeros(2), step)
    params, message = (
        Params(jnp.eye(2), jax.nn.relu),
        r"params\.activation is .*relu.*eqx\.partition",
    )
    with pytest.raises(TypeError, match=message):
        rnnjax.unroll(cell, params, jnp.ones((3, 2)))
    with pytest.raises(TypeError, match=r"params\[1\] is 'tanh'"):
        rnnjax.unroll(cell, (jnp.eye(2), "tanh"), jnp.ones((3, 2)))
