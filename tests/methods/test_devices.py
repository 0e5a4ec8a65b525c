"""Several devices: a divided batch or ensemble stays divided, and `shard_map` needs no option."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P

import rnnjax
from rnnjax import autodiff, bptt, checkpointed, sequential, truncated, unroll

T, B, D, H = 4, 3, 2, 3
CELL = rnnjax.lstm(H)
PARAMS = CELL.init(jax.random.key(0), D)
XS = jax.random.normal(jax.random.key(1), (T, B, D))
LENGTHS, RESETS = jnp.array([4, 2, 0]), jnp.zeros((T, B), bool).at[2, 0].set(True)


def test_on_four_devices():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    script = Path(__file__).parent / "on_four_devices.py"
    path = os.pathsep.join([str(script.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def gradients(cell, gradient, method, params, xs, lengths, resets, key=None):
    def cost(params, xs):
        options = {"key": key, "lengths": lengths, "resets": resets}
        carry, ys = unroll(cell, params, xs, gradient=gradient, method=method, **options)
        return jnp.sum(ys**2) + sum(jnp.sum(jnp.abs(c) ** 2) for c in inexact(carry))

    return jax.grad(cost, (0, 1))(params, xs)


def inexact(tree):
    return [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]


def in_shard_map(run):
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    in_specs = (P(), P(None, "data"), P("data"), P(None, "data"))
    return jax.shard_map(run, mesh=mesh, in_specs=in_specs, out_specs=(P(), P(None, "data")))


GRADIENTS = [None, bptt(), autodiff(), truncated(2), truncated(3, autodiff()), checkpointed(2)]


@pytest.mark.parametrize("method", [None, sequential(), sequential(hoist=True)], ids=str)
@pytest.mark.parametrize("gradient", GRADIENTS, ids=str)
def test_types_in_shard_map(gradient, method):
    def run(*arrays):
        return gradients(CELL, gradient, method, *arrays)

    found = jax.eval_shape(in_shard_map(run), PARAMS, XS, LENGTHS, RESETS)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, (PARAMS, XS))


CELLS = {
    "gru": rnnjax.gru(H, reset="before"),
    "delta_net": rnnjax.delta_net(2, 2),
    "stack": rnnjax.stack(rnnjax.lru(H), rnnjax.residual(rnnjax.vanilla(D))),
    "random": rnnjax.input_dropout(rnnjax.zoneout(rnnjax.lstm(H), h=0.2), 0.2),
}


@pytest.mark.parametrize("name", CELLS)
def test_types_of_other_cells_in_shard_map(name):
    cell = CELLS[name]
    params = cell.init(jax.random.key(0), D)

    def run(*arrays):
        return gradients(cell, None, None, *arrays, key=jax.random.key(2))

    found = jax.eval_shape(in_shard_map(run), params, XS, LENGTHS, RESETS)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, (params, XS))


def test_types_of_unfolded_gradients_in_shard_map():
    def run(params, xs, *_):
        each = rnnjax.gradients.unfolded(CELL, params, xs, lambda carry, ys: jnp.sum(ys**2))
        return jax.lax.psum(each.sum(), "data"), xs

    found, _ = jax.eval_shape(in_shard_map(run), PARAMS, XS, LENGTHS, RESETS)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, PARAMS)


def test_values_in_shard_map():
    def run(*arrays):
        return gradients(CELL, None, None, *arrays)

    got = jax.jit(in_shard_map(run))(PARAMS, XS, LENGTHS, RESETS)
    want = run(PARAMS, XS, LENGTHS, RESETS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got, want)


def test_an_explicit_mesh_is_refused():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Explicit,))
    xs = jax.device_put(XS, NamedSharding(mesh, P(None, "data")))
    with pytest.raises(ValueError, match=r"float64\[4,3@data,2\].*explicit axis.*auto_axes"):
        jax.eval_shape(lambda xs: unroll(CELL, PARAMS, xs), xs)
    with jax.set_mesh(mesh):
        run = jax.sharding.auto_axes(
            lambda xs: unroll(CELL, PARAMS, xs)[1], axes="data", out_sharding=P(None, "data")
        )
        assert jax.eval_shape(run, xs).shape == (T, B, H)
