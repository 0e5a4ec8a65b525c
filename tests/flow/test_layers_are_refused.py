"""What follows one state from step to step takes cells, and says what to pass for a layer."""

import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal

import rnnjax
from rnnjax.flow import jacobians, lyapunov_spectrum, record, sensitivity, watch

CELLS = rnnjax.vanilla(2), rnnjax.gru(3)


def watching(layer, params, xs):
    return watch(layer, xs, lambda carry, ys: jnp.sum(ys))


@pytest.mark.parametrize("function", [jacobians, lyapunov_spectrum, sensitivity, record, watching])
@pytest.mark.parametrize("layer", [rnnjax.bidirectional(*CELLS), rnnjax.serial(*CELLS)])
def test_a_layer_is_refused_with_what_to_pass(function, layer):
    rest = (lambda carry, ys: jnp.sum(ys),) if function is record else ()
    with pytest.raises(TypeError, match=r"expects a Cell, got Layer.*stack\(a, b\).*xs\[::-1\]"):
        function(layer, (), jnp.ones((4, 1)), *rest)


@pytest.mark.usefixtures("eager")
def test_what_to_pass_is_what_the_layers_compute():
    xs = normal(0, 4, 1)
    params = drawn(rnnjax.stack(*CELLS), 1)
    _, ys = rnnjax.serial(*CELLS).apply(params, xs)
    np.testing.assert_allclose(ys, rnnjax.unroll(rnnjax.stack(*CELLS), params, xs)[1], rtol=1e-12)
    params = tuple(drawn(cell, 1) for cell in CELLS)
    _, ys = rnnjax.bidirectional(*CELLS).apply(params, xs)
    each = [
        rnnjax.unroll(c, p, x)[1] for c, p, x in zip(CELLS, params, (xs, xs[::-1]), strict=True)
    ]
    np.testing.assert_allclose(ys, jnp.concatenate([each[0], each[1][::-1]], -1), rtol=1e-12)
