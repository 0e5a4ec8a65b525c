"""Combinators and layers of cells whose inputs and outputs are pytrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax

pytestmark = pytest.mark.usefixtures("eager")

XS = {"a": jnp.arange(6.0).reshape(3, 2), "b": jnp.ones((3, 2))}


def tree_cell(out=lambda h, x: {"a": h, "b": 2 * x["b"]}):
    def step(params, h, x):
        h = h + params * x["a"]
        return h, out(h, x)

    def initial_carry(params, batch_shape=(), key=None):
        return jnp.zeros((*batch_shape, 2))

    structure = rnnjax.Structure(feature_axes={"a": 1, "b": 1})
    return rnnjax.Cell(lambda key, inputs: jnp.ones(()), initial_carry, step, structure=structure)


def test_residual_adds_leaf_by_leaf():
    cell = tree_cell()
    _, inner = rnnjax.unroll(cell, jnp.float64(3), XS)
    _, ys = rnnjax.unroll(rnnjax.residual(cell), jnp.float64(3), XS)
    for leaf in ("a", "b"):
        np.testing.assert_array_equal(ys[leaf], inner[leaf] + XS[leaf])


def test_both_directions_are_joined_leaf_by_leaf():
    cell = tree_cell()
    params = jnp.float64(1), jnp.float64(2)
    _, ys = rnnjax.bidirectional(cell, cell).apply(params, XS)
    _, forward = rnnjax.unroll(cell, params[0], XS)
    _, backward = rnnjax.unroll(cell, params[1], XS, reverse=True)
    for leaf in ("a", "b"):
        np.testing.assert_array_equal(ys[leaf], jnp.hstack([forward[leaf], backward[leaf]]))


def test_outputs_of_another_structure_are_named():
    array = tree_cell(lambda h, x: h)
    message = r"adds the input a dict with a, b to the output float64\[2\]"
    with pytest.raises(ValueError, match=message):
        rnnjax.unroll(rnnjax.residual(array), jnp.float64(1), XS)
    with pytest.raises(ValueError, match=r"joins .* a dict with a, b and float64\[3, 2\]"):
        rnnjax.bidirectional(tree_cell(), array).apply((jnp.ones(()),) * 2, XS)


def test_the_rule_of_residual_adds_leaf_by_leaf():
    """Of a rule whose gradients say that ∂C/∂x_t is δ_t."""
    rule = rnnjax.Rule(
        project=lambda params, xs: xs,
        forward=lambda params, h, z: ((h, z), ()),
        backward=lambda params, tape, h_ct, y_ct, clip: (h_ct, y_ct),
        gradients=lambda params, xs, tapes, deltas: (jnp.zeros(()), deltas),
    )
    cell = rnnjax.residual(tree_cell(lambda h, x: x)._replace(rule=rule))
    xs_ct = cell.rule.gradients(jnp.ones(()), XS, (), (XS, XS))[1]
    for leaf in ("a", "b"):
        np.testing.assert_array_equal(xs_ct[leaf], 2 * XS[leaf])
    assert jax.tree.structure(xs_ct) == jax.tree.structure(XS)
