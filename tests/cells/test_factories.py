"""Factories are cached: equal calls give one cell, which prints as its call and compiles once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import compiled
from registries import registries_kept

import rnnjax
from rnnjax import initializers
from rnnjax.cells import FACTORIES, factory


def test_equal_calls_are_one_cell():
    assert rnnjax.lstm(8) is rnnjax.lstm(hidden=8)
    assert rnnjax.lstm(8) == rnnjax.lstm(8, forget_bias=1.0)
    assert rnnjax.lstm(8) is rnnjax.lstm(8, forget_bias=1)
    assert rnnjax.lstm(8) != rnnjax.lstm(9)
    assert rnnjax.lstm(np.int64(8)) is rnnjax.lstm(8)
    assert rnnjax.gru(8, reset="before") != rnnjax.gru(8)
    assert rnnjax.lstm(8, dtype=jnp.float32) is rnnjax.lstm(8, dtype="float32")
    assert rnnjax.lstm(8, w_h_init=initializers.orthogonal()) is rnnjax.lstm(
        8, w_h_init=initializers.orthogonal(1.0)
    )
    deep = rnnjax.stack(rnnjax.lstm(4), rnnjax.residual(rnnjax.zoneout(rnnjax.lstm(4), h=0.1)))
    again = rnnjax.stack(rnnjax.lstm(4), rnnjax.residual(rnnjax.zoneout(rnnjax.lstm(4), h=0.1)))
    assert deep is again


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (rnnjax.lstm(8), "lstm(8)"),
        (rnnjax.lstm(8, forget_bias=5.0), "lstm(8, forget_bias=5.0)"),
        (rnnjax.vanilla(8), "vanilla(8)"),
        (rnnjax.vanilla(8, "relu"), "vanilla(8, 'relu')"),
        (rnnjax.lstm(8, dtype="float64"), "lstm(8, dtype='float64')"),
        (rnnjax.irnn(8, 0.5), "irnn(8, 0.5)"),
        (
            rnnjax.gru(8, reset="before", dtype=jnp.bfloat16),
            "gru(8, reset='before', dtype='bfloat16')",
        ),
        (
            rnnjax.lstm(8, w_h_init=initializers.spectral_radius(1.1)),
            "lstm(8, w_h_init=spectral_radius(1.1))",
        ),
        (rnnjax.stack(rnnjax.lstm(4), rnnjax.gru(3)), "stack(lstm(4), gru(3))"),
        (rnnjax.zoneout(rnnjax.lstm(4), h=0.1, c=0.5), "zoneout(lstm(4), h=0.1, c=0.5)"),
    ],
)
def test_a_cell_prints_as_its_call(cell, text):
    assert repr(cell) == text


def test_layers_are_cached_and_print_as_their_call():
    def layer():
        return rnnjax.serial(
            rnnjax.bidirectional(rnnjax.lstm(4), rnnjax.gru(3)),
            rnnjax.recurrent(rnnjax.gru(2), reverse=True),
        )

    assert layer() is layer()
    assert (
        repr(layer()) == "serial(bidirectional(lstm(4), gru(3)), recurrent(gru(2), reverse=True))"
    )
    assert repr(layer()._replace(call=None)).startswith("<Layer: apply")


def test_a_changed_cell_does_not_print_as_what_it_was():
    cell = rnnjax.lstm(8)
    assert repr(cell._replace(rule=None)).startswith("<Cell made from lstm(8)")


def test_the_same_call_again_compiles_nothing():
    xs = jnp.ones((3, 2, 2))
    params = rnnjax.lstm(6).init(jax.random.key(0), 2)
    rnnjax.unroll(rnnjax.lstm(6), params, xs)
    with compiled() as programs:
        for _ in range(5):
            rnnjax.unroll(rnnjax.lstm(6), params, xs)
        assert programs == []
        rnnjax.unroll(rnnjax.lstm(6), params, jnp.ones((4, 2, 2)))
    assert programs


def test_wrong_calls_keep_their_error():
    with pytest.raises(TypeError, match="hidden"):
        rnnjax.lstm()
    with pytest.raises(TypeError, match="hidde"):
        rnnjax.lstm(hidde=3)
    rnnjax.lstm(1)
    with pytest.raises(TypeError, match="must be an int"):
        rnnjax.lstm(True)  # equal to 1, and not the same
    with pytest.raises(TypeError, match="must be an int"):
        rnnjax.lstm(1.0)


def test_traced_arguments_work_and_are_not_cached():
    def first_weight(scale):
        return rnnjax.irnn(2, scale).init(jax.random.key(0), 1).w_h[0, 0]

    assert float(jax.jit(first_weight)(0.25)) == 0.25


def test_the_registry_knows_every_cell_and_refuses_a_second_of_the_same_name():
    more = {"conv_lstm": ((4, 5),), "lstm_projected": (2,)}  # what a factory needs beside a size
    for name, make in FACTORIES.items():
        assert getattr(rnnjax, name) is make
        arguments = (3, *more.get(name, ()))
        assert repr(make(*arguments)) == f"{name}({', '.join(map(repr, arguments))})"
    with pytest.raises(ValueError, match="lstm exists already"):

        @factory
        def lstm(hidden):
            return rnnjax.gru(hidden)


@pytest.mark.parametrize("tau", [[1.0, 2.0, 3.0], np.array([1.0, 2.0, 3.0]), np.arange(1.0, 4)])
def test_numbers_in_lists_and_arrays_are_those_in_a_tuple(tau):
    cell = rnnjax.ctrnn(3, tau=tau)
    assert cell == rnnjax.ctrnn(3, tau=(1.0, 2.0, 3.0))
    assert str(cell) == "ctrnn(3, tau=(1.0, 2.0, 3.0))"
    assert rnnjax.ctrnn(3, tau=np.array(2.0)) == rnnjax.ctrnn(3, tau=2.0)


def test_a_factory_whose_step_is_jitted_refuses_what_is_not_its_own():
    inner = rnnjax.vanilla(3)

    def step(params, carry, x_t):
        h = jnp.tanh(x_t @ params.w_x + carry.h @ params.w_h)
        return type(carry)(h), h

    with registries_kept():

        @factory
        def jitted_step(hidden: int):
            structure = rnnjax.Structure(params=rnnjax.vanilla(hidden).structure.params)
            return rnnjax.Cell(inner.init, inner.initial_carry, jax.jit(step), None, structure)

        cell = jitted_step(3)
    params, x = cell.init(jax.random.key(0), 2), jnp.ones((4, 2))
    carry = cell.initial_carry(params, (4,))
    want = inner.step(params, carry, x)[1]
    np.testing.assert_allclose(cell.step(params, carry, x)[1], want, rtol=1e-12)
    with pytest.raises(ValueError, match=r"params\.w_h has shape \(3, 2\)"):
        cell.step(params._replace(w_h=params.w_h[:, 1:]), carry, x)
    with pytest.raises(ValueError, match=r"carry\.h is float64\[5, 3\]"):
        cell.step(params, cell.initial_carry(params, (5,)), x)
