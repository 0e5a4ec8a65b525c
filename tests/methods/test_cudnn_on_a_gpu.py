"""`cudnn()` by cuDNN itself, where there is a GPU: against `sequential()` in full float32."""

import cudnn_stand_in
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cudnn_stand_in import RAGGED, cost, problem, value_and_gradients

import rnnjax
from rnnjax import lstm, stack
from rnnjax.methods import cudnn
from rnnjax.methods._cudnn import why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason="no NVIDIA GPU")
H = cudnn_stand_in.H
CELLS = {"one": lstm(H), "mixed": stack(lstm(H), lstm(H), lstm(2))}


@pytest.fixture(autouse=True)
def in_full_float32():
    with jax.default_matmul_precision("highest"):
        yield


def assert_near(got, want, tolerance=1e-5):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
@pytest.mark.parametrize("name", CELLS)
def test_values_and_gradients(name, lengths, reverse):
    cell, options = CELLS[name], {"lengths": lengths, "reverse": reverse}
    point = problem(cell, dtype=jnp.float32)
    want = value_and_gradients(cell, point, rnnjax.sequential(), **options)
    assert_near(value_and_gradients(cell, point, cudnn(), **options), want)


def test_auto_takes_what_was_faster():
    params, _, xs = problem(CELLS["one"], dtype=jnp.float32)
    explanation = rnnjax.methods.explain(CELLS["one"], params, xs)
    assert explanation.method == rnnjax.sequential(unroll=8)
    cell = rnnjax.min_gru(H)
    params = cell.init(jax.random.key(0), xs.shape[-1])
    assert rnnjax.methods.explain(cell, params, xs).method == rnnjax.associative()


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: jax.vmap(jax.grad(f), (None, 0)),
        lambda f: lambda p, xs: jax.jvp(lambda p: jax.grad(f)(p, xs[0]), (p,), (p,)),
    ],
    ids=["vmap of grad", "jvp of grad"],
)
def test_transformations(transform):
    cell = CELLS["one"]
    params, _, xs = problem(cell, dtype=jnp.float32)

    def by(method):
        def f(params, xs):
            return cost(*rnnjax.unroll(cell, params, xs, lengths=RAGGED, method=method))

        return jax.jit(transform(f))(params, jnp.stack([xs, -xs]))

    assert_near(by(cudnn()), by(rnnjax.sequential()), 5e-5)


def test_tf32_is_asked_for():
    cell = lstm(256)
    params = cell.init(jax.random.key(0), 256)
    params = jax.tree.map(lambda w: w.astype(jnp.float32), params)
    xs = jax.random.normal(jax.random.key(1), (50, 8, 256), jnp.float32)

    def ys(method):
        return np.asarray(rnnjax.unroll(cell, params, xs, method=method)[1])

    exact = ys(rnnjax.sequential())
    errors = [
        np.max(np.abs(ys(cudnn(precision=p)) - exact))
        for p in (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGH)
    ]
    assert errors[0] < 1e-5 < errors[1] < 1e-2
