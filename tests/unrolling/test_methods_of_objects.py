"""Cells whose functions are methods of an object: whether a compiled run may keep its arrays."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import rnnjax
from rnnjax._types import Array

eqx = pytest.importorskip("equinox")


def nothing(key, inputs):
    return ()


def zeros(params, batch_shape=(), key=None):
    return jnp.zeros((*batch_shape, 2))


class OfNnx(nnx.Module):
    def __init__(self):
        self.read = nnx.Linear(2, 2, param_dtype=float, rngs=nnx.Rngs(0))

    def step(self, params, h, x):
        h = self.read(x) + h
        return h, h


class OfEquinox(eqx.Module):
    w: Array

    def step(self, params, h, x):
        h = x @ self.w + h
        return h, h


class Plain:
    def __init__(self, **held):
        self.held = held

    def init(self, key, inputs):
        return self.held

    def initial_carry(self, params, batch_shape=(), key=None):
        return zeros(params, batch_shape)

    def step(self, params, h, x):
        return h + self.held["scale"] * x, h


class Called(Plain):
    def __call__(self, params, h, x):
        return self.step(params, h, x)


class Config:
    """With the names of an array's attributes."""

    def __init__(self):
        self.shape, self.dtype, self.held = (2,), "float32", {"scale": 1.0}
        self.kind, self.number = np.float32, np.float32(0.1)
        self.mesh = jax.make_mesh((1,), ("data",))
        self.like = jax.ShapeDtypeStruct((2,), "float32")

    def step(self, params, h, x):
        return h + self.held["scale"] * x, h


class Fixed(NamedTuple):
    w: Array

    def step(self, params, h, x):
        h = x @ self.w + h
        return h, h


XS = jnp.ones((3, 2))
REFUSED = {
    "OfNnx": rnnjax.Cell(nothing, zeros, OfNnx().step),
    "OfEquinox": rnnjax.Cell(nothing, zeros, OfEquinox(jnp.eye(2)).step),
    "Plain": rnnjax.Cell(nothing, zeros, Plain(scale=[jnp.ones(())]).step),
    "Called": rnnjax.Cell(nothing, zeros, Called(scale=jnp.ones(()))),
}
HELD = Plain(scale=jnp.ones(()))
BY_OTHERS = [jax.jit(HELD.step), partial(HELD.step), jax.jit(partial(HELD.step))]
ACCEPTED = [Plain(scale=1.0), Plain(scale=2.0), Fixed(jnp.eye(2)), Config()]
GRAPH, STATE = nnx.split(OfNnx())


@pytest.mark.parametrize(("name", "cell"), REFUSED.items())
def test_methods_of_what_holds_arrays_are_refused(name, cell):
    with pytest.raises(TypeError, match=rf"the step .* method of an object of {name} that holds"):
        rnnjax.unroll(cell, (), XS)
    with pytest.raises(TypeError, match="make the arrays part of the params"):
        rnnjax.residual(cell)


@pytest.mark.parametrize("step", BY_OTHERS, ids=["jit", "partial", "both"])
def test_what_calls_such_a_method_is_refused(step):
    with pytest.raises(TypeError, match=r"the step .* method of an object of Plain that holds"):
        rnnjax.unroll(rnnjax.Cell(nothing, zeros, step), (), XS)


def test_functions_by_jit_and_partial_are_functions_like_any(eager):
    def step(params, h, x):
        return h + x, h

    for other in (jax.jit(step), partial(step), jax.checkpoint(step)):
        found = rnnjax.unroll(rnnjax.Cell(nothing, zeros, other), (), XS)[0]
        assert found.tolist() == [3.0] * 2


def test_a_carry_of_what_holds_arrays_is_refused():
    begins = Plain(h=np.zeros(2))
    cell = rnnjax.Cell(begins.init, begins.initial_carry, lambda params, h, x: (h, h))
    with pytest.raises(TypeError, match=r"the initial_carry .* an object of Plain"):
        rnnjax.unroll(cell, begins.held, XS)


@pytest.mark.parametrize("owner", ACCEPTED)
def test_methods_of_other_objects_are_functions_like_any(owner, eager):
    cell = rnnjax.Cell(nothing, zeros, owner.step)
    scale = owner.held["scale"] if isinstance(owner, Plain | Config) else 1.0
    assert rnnjax.unroll(cell, (), XS)[0].tolist() == [3.0 * scale] * 2


def test_a_module_as_params_is_what_the_message_says(eager):
    of_equinox = rnnjax.Cell(nothing, zeros, lambda module, h, x: module.step((), h, x))
    for scale in (1.0, 2.0):
        module = OfEquinox(scale * jnp.eye(2))
        np.testing.assert_array_equal(rnnjax.unroll(of_equinox, module, XS)[0], 3 * scale)
    of_nnx = rnnjax.Cell(nothing, zeros, lambda state, h, x: nnx.merge(GRAPH, state).step((), h, x))
    twice = jax.tree.map(lambda w: 2 * w, STATE)
    one, two = (rnnjax.unroll(of_nnx, state, XS)[0] for state in (STATE, twice))
    np.testing.assert_allclose(two, 2 * one)
