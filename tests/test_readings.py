"""When a function is the same to a compiled program: where all that it reads has not changed."""

from functools import partial
from types import ModuleType, SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax._arrays import with_hash

W = jnp.ones(())
FEW = np.ones(2)
CELL = rnnjax.stack(rnnjax.lstm(2), rnnjax.gru(2))
SETTINGS = ModuleType("settings")
vars(SETTINGS)["w"] = W


def helper(ys):
    return W * ys


def by_name(carry, ys):
    return W * ys


def by_a_helper(carry, ys):
    return helper(ys)


def by_default(carry, ys, w=W):
    return w * ys


def of_a_module(carry, ys):
    return SETTINGS.w * ys


def of_numpy(carry, ys):
    return FEW * ys


def of_a_net(carry, ys):
    return jnp.sum(rnnjax.unroll(CELL, carry, ys, gradient=rnnjax.truncated(2))[1])


class Model:
    def __init__(self):
        self.w = W

    def cost(self, carry, ys):
        return self.w * ys


MODEL, HELD, SPACE = Model(), {"w": W}, SimpleNamespace(w=W)


def of_an_object(carry, ys):
    return MODEL.w * ys


def of_a_dict(carry, ys):
    return HELD["w"] * ys


def of_a_default(carry, ys, held=SPACE):
    return held.w * ys


@pytest.mark.parametrize(
    "function",
    [
        by_name,
        by_a_helper,
        by_default,
        of_a_module,
        of_numpy,
        of_a_net,
        partial(by_name, W),
        jnp.dot,
    ],
)
def test_what_reads_the_same_is_the_same(function):
    assert with_hash(function) == with_hash(function)
    assert hash(with_hash(function)) == hash(with_hash(function))


@pytest.mark.parametrize(
    ("function", "where", "name"),
    [
        (by_name, globals(), "W"),
        (by_a_helper, globals(), "W"),
        (by_a_helper, globals(), "helper"),
        (of_a_module, vars(SETTINGS), "w"),
        (partial(by_name, jnp.ones(2)), globals(), "W"),
    ],
)
def test_a_name_with_another_value_makes_it_another(function, where, name, monkeypatch):
    before = with_hash(function)
    monkeypatch.setitem(where, name, jnp.zeros(()))
    assert with_hash(function) != before


def test_numpy_arrays_are_what_they_hold(monkeypatch):
    before = with_hash(of_numpy)
    monkeypatch.setitem(globals(), "FEW", np.ones(2))
    assert with_hash(of_numpy) == before
    FEW[0] = 2
    assert with_hash(of_numpy) != before


@pytest.mark.parametrize(
    "function",
    [
        of_an_object,
        of_a_dict,
        of_a_default,
        MODEL.cost,
        partial(of_a_dict, W),
        partial(by_name, HELD),
    ],
)
def test_what_may_be_changed_in_place_is_never_the_same(function):
    assert with_hash(function) != with_hash(function)
    assert hash(with_hash(function)) is not None


def test_arrays_beside_a_function_are_no_part_of_it():
    def tree(w):
        return jax.tree.structure(with_hash(jax.tree_util.Partial(by_name, w)))

    assert tree(jnp.ones(2)) == tree(jnp.zeros(2))
    assert hash(tree(jnp.ones(2))) == hash(tree(jnp.zeros(2)))
