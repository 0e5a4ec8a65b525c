"""Flags, numbers, dtypes and initialisers of factories are what their annotations say."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.cells import initializers

KEY = jax.random.key(0)
LSTM = rnnjax.lstm(3)


@pytest.mark.parametrize("wrong", ["no", 1, None, [True], np.float64(0)])
def test_flags_are_bools(wrong):
    for make, name in [
        (lambda flag: rnnjax.lstm_1997(3, truncate=flag), "truncate"),
        (lambda flag: rnnjax.ctrnn(3, learn_tau=flag), "learn_tau"),
        (lambda flag: rnnjax.input_dropout(LSTM, 0.5, same_mask=flag), "same_mask"),
        (lambda flag: rnnjax.sequential(hoist=flag), "hoist"),
        (lambda flag: rnnjax.recurrent(LSTM, reverse=flag), "reverse"),
        (lambda flag: rnnjax.gradients.check(LSTM, differences=flag), "differences"),
    ]:
        with pytest.raises(TypeError, match=f"{name} must be True or False"):
            make(wrong)
    assert rnnjax.lstm_1997(3, truncate=np.True_) is rnnjax.lstm_1997(3, truncate=True)


@pytest.mark.parametrize("wrong", ["1.0", None, [1.0], 1j, len])
def test_numbers_are_numbers(wrong):
    for make, name in [
        (lambda x: rnnjax.lstm(3, forget_bias=x), "forget_bias"),
        (lambda x: rnnjax.irnn(3, x), "scale"),
        (lambda x: rnnjax.lru(3, r_min=x), "r_min"),
        (lambda x: rnnjax.input_dropout(LSTM, x), "rate"),
        (lambda x: rnnjax.zoneout(LSTM, h=x), "h"),
        (initializers.singular_value, "sigma"),
        (rnnjax.gradients.clip_by_value, "limit"),
    ]:
        with pytest.raises(TypeError, match=f"{name} must be a real number"):
            make(wrong)
        with pytest.raises(ValueError, match=f"{name} must be a real number, got nan"):
            make(float("nan"))


def test_scales_have_a_sign():
    for make in (initializers.normal, initializers.spectral_radius, initializers.singular_value):
        with pytest.raises(ValueError, match="must be at least 0, got -1"):
            make(-1.0)
    with pytest.raises(ValueError, match="stddev must be at least 0"):
        rnnjax.irnn(3, w_x_stddev=-0.1)


def test_numbers_may_be_traced_and_of_numpy():
    shapes = jax.eval_shape(lambda bias: rnnjax.lstm(3, forget_bias=bias).init(KEY, 2), 1.0)
    assert shapes.b.shape == (12,)
    assert rnnjax.lstm(3, forget_bias=np.float32(2)) == rnnjax.lstm(3, forget_bias=2.0)
    assert rnnjax.lstm(3, forget_bias=jnp.float32(2)) is rnnjax.lstm(3, forget_bias=2.0)
    zoneout = rnnjax.zoneout(rnnjax.gru(3), h=0.25)
    assert rnnjax.zoneout(rnnjax.gru(3), h=np.float32(0.25)) is zoneout
    assert rnnjax.zoneout(rnnjax.gru(3), h=jnp.float32(0.25)) is zoneout


@pytest.mark.parametrize(
    "make",
    [
        lambda x: rnnjax.zoneout(rnnjax.lstm(3), h=x),
        lambda x: rnnjax.input_dropout(rnnjax.lstm(3), x),
        lambda x: rnnjax.recurrent_dropout(rnnjax.lstm(3), x),
        lambda x: rnnjax.fixed_dt(rnnjax.ctrnn(3), x),
        lambda x: rnnjax.unicornn(3, dt=x),
        lambda x: rnnjax.unicornn(3, alpha=x),
        lambda x: rnnjax.ctrnn(3, tau=x),
    ],
)
def test_what_a_cell_is_cannot_be_traced(make):
    assert "0.5" in str(make(0.5))
    with pytest.raises(TypeError, match=r"is traced here.*make a cell for each of its values"):
        jax.eval_shape(lambda x: make(x).init(KEY, 2), 0.5)


@pytest.mark.parametrize("dtype", ["no such", int, 3, "complex64", len])
def test_dtypes_are_floating_point(dtype):
    with pytest.raises(TypeError, match=r"dtype must be floating point, such as jnp\.float32"):
        rnnjax.gru(3, dtype=dtype)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (
            lambda key, shape, dtype: np.ones(shape[::-1], dtype),
            r"float64\[2, 3\].*\[3, 2\]",
        ),
        (lambda key, shape, dtype: np.ones(shape, np.float32), "return float64.*got float32"),
        (lambda key, shape, dtype: np.full(shape, np.nan, dtype), "finite"),
        (lambda key, shape, dtype: None, "got None"),
    ],
)
@pytest.mark.parametrize("make", [rnnjax.lstm, rnnjax.min_gru, rnnjax.indrnn, rnnjax.identity_rnn])
def test_initialisers_give_what_they_are_asked_for(make, init, message):
    with pytest.raises(ValueError, match=rf"w_x_init\(key, shape, dtype\) must .*{message}"):
        make(3, w_x_init=init).init(KEY, 2)


@pytest.mark.parametrize("init", [initializers.glorot, initializers.orthogonal, "glorot", 0.1])
def test_initialisers_are_functions(init):
    with pytest.raises(TypeError, match=r"w_h_init must be a function \(key, shape, dtype\)"):
        rnnjax.lstm(3, w_h_init=init)


def test_keys_are_single():
    with pytest.raises(TypeError, match=r"jax\.random\.key\(0\), got 0"):
        LSTM.init(0, 2)
    with pytest.raises(ValueError, match=r"must be one PRNG key, got keys of shape \(3,\)"):
        LSTM.init(jax.random.split(KEY, 3), 2)
    assert LSTM.init(jax.random.PRNGKey(0), 2).b.shape == (12,)


def test_wrap_takes_a_function_from_step_to_step():
    with pytest.raises(TypeError, match=r"change must be a function of 1 argument"):
        rnnjax.wrap(LSTM, "tanh")
    with pytest.raises(TypeError, match=r"what change\(step\) returns must be a function"):
        rnnjax.wrap(LSTM, lambda step: None)


def test_cells_are_called_and_apart():
    for wrong in ([LSTM, LSTM], rnnjax.lstm, rnnjax.recurrent(LSTM), None):
        for make in (rnnjax.stack, rnnjax.residual, rnnjax.recurrent, rnnjax.gradients.check):
            with pytest.raises(TypeError, match="expected a Cell such as"):
                make(wrong)


def test_cells_of_others_and_in_lists_say_what_to_do():
    with pytest.raises(TypeError, match=r"got list\. Cells one above the other are rnnjax\.stack"):
        rnnjax.stack([LSTM, LSTM])  # pyright: ignore
    for run in (rnnjax.unroll, rnnjax.flow.jacobians):
        with pytest.raises(TypeError, match=r"got GRUCell\. rnnjax\.interop converts weights"):
            run(flax.linen.GRUCell(4), LSTM.init(KEY, 2), jnp.ones((3, 2)))


def test_complex_inputs_of_a_real_step():
    params = LSTM.init(KEY, 2)
    with pytest.raises(TypeError, match="complex128: the weights of this cell are real"):
        LSTM.step(params, LSTM.initial_carry(params, ()), jnp.ones(2, complex))
    with pytest.raises(TypeError, match="complex128: the weights are real"):
        rnnjax.linear_algebra.affine(jnp.ones(2, complex), params.w_x)
