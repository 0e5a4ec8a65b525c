"""Cells and layers travel to other processes as the call that makes them."""

import copy
import pickle

import jax.numpy as jnp
import pytest

import rnnjax
from rnnjax.cells import initializers


def doubled(step):
    """A change of a step that can be pickled: it is at the top of a module."""

    def new_step(params, carry, x_t):
        carry, y_t = step(params, carry, x_t)
        return carry, 2 * y_t

    return new_step


CELLS = [
    rnnjax.lstm(8, forget_bias=5.0, dtype=jnp.float32),
    rnnjax.irnn(3),
    rnnjax.vanilla(3, w_h_init=initializers.spectral_radius(0.9)),
    rnnjax.ctrnn(2, tau=(1.0, 2.0)),
    rnnjax.stack(rnnjax.residual(rnnjax.lstm(4)), rnnjax.zoneout(rnnjax.gru(4), h=0.1)),
    rnnjax.wrap(rnnjax.lstm(4), doubled),
]
LAYERS = [
    rnnjax.recurrent(rnnjax.lstm(4), reverse=True),
    rnnjax.bidirectional(rnnjax.lstm(4), rnnjax.gru(3)),
    rnnjax.serial(rnnjax.bidirectional(rnnjax.gru(4), rnnjax.gru(4)), rnnjax.lstm(3)),
]


@pytest.mark.parametrize("made", [*CELLS, *LAYERS], ids=str)
def test_the_same_cell_or_layer_comes_back(made):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(made, protocol)) is made
    assert copy.deepcopy({"made": made})["made"] is made
    assert copy.copy(made) is made


def init(key, inputs):
    return inputs


def apply(params, xs):
    return None, xs


def test_layers_of_functions_of_your_own():
    own = rnnjax.Layer(init, apply)
    assert pickle.loads(pickle.dumps(own)) == own
    for replaced in (LAYERS[0]._replace(apply=apply), LAYERS[0]._replace(init=init)):
        with pytest.raises((pickle.PicklingError, AttributeError), match="local object"):
            pickle.dumps(replaced)
        assert copy.deepcopy(replaced) is replaced
    both = LAYERS[0]._replace(init=init, apply=apply)
    assert pickle.loads(pickle.dumps(both))[:2] == (init, apply)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(rnnjax.recurrent(CELLS[0]._replace(rule=None)))


def test_what_is_passed_with_a_cell():
    given = (rnnjax.truncated(3, rnnjax.bptt(rnnjax.gradients.clip_by_norm(2.0))), rnnjax.auto())
    assert pickle.loads(pickle.dumps(given)) == given


def test_cells_that_cannot_be_pickled_say_so():
    replaced = CELLS[0]._replace(rule=None)
    local = rnnjax.Cell(CELLS[0].init, CELLS[0].initial_carry, lambda params, carry, x_t: carry)
    for cell in (replaced, local, rnnjax.wrap(rnnjax.lstm(4), lambda step: step)):
        with pytest.raises((pickle.PicklingError, AttributeError)) as error:
            pickle.dumps(cell)
        assert "cells.factory" in str(error.value) or "<lambda>" in str(error.value)
        assert copy.deepcopy(cell) is cell
