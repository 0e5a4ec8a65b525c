"""The compiled kernels: equal to the portable loop, whatever the shape."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from native_problems import (
    CELLS,
    SHAPES,
    by_the_portable_loop,
    check_a_shape,
    expected,
    needs_kernels,
    problem,
    value_and_gradients,
    worst,
)

import rnnjax
from rnnjax import native, sequential, unroll
from rnnjax.methods import instruction_set

LARGE = {
    "split by rows": (12, 40, 8, 96),
    "split by hidden units": (3, 5, 7, 300),
    "several chunks and blocks": (25, 5, 530, 400),
}


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_equals_the_portable_loop(name, shape):
    check_a_shape(name, shape, expected(name, shape))


@needs_kernels
@pytest.mark.parametrize("shape", LARGE.values(), ids=LARGE.keys())
@pytest.mark.parametrize("name", CELLS)
def test_equals_the_portable_loop_when_threads_share_the_work(name, shape):
    cell, params, xs, carry, flags = problem(name, shape)
    params = jax.tree.map(lambda leaf: leaf / 2, params)  # away from chaos
    reverse = sum(shape) % 2 == len(name) % 2
    for options in ({"reverse": reverse}, {"reverse": reverse, **flags}):
        by_kernel = value_and_gradients(cell, params, xs, carry, native(), **options)
        by_loop = by_the_portable_loop(cell, params, xs, carry, **options)
        assert worst(by_kernel, by_loop) < 1e-12


@needs_kernels
@pytest.mark.parametrize("name", CELLS)
def test_float32_is_within_2e_6_of_float64(name):
    cell, params, xs, carry, _ = problem(name, (16, 9, 40, 256), np.float32)
    params = jax.tree.map(lambda leaf: leaf / 2, params)
    wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (params, xs, carry))
    got = value_and_gradients(cell, params, xs, carry, native())
    want = value_and_gradients(cell, *wide, sequential())
    assert jax.tree.leaves(got)[0].dtype == jnp.float32
    assert worst(got, want) < 2e-6


def everywhere(dtype):
    """Numbers over the whole range, dense where the functions bend."""
    exponents = np.finfo(dtype).minexp, np.finfo(dtype).maxexp - 0.01
    logs = np.exp2(np.linspace(*exponents, 2001, dtype=np.longdouble))
    return np.concatenate([[0.0], logs, -logs, np.linspace(-50, 50, 20001)]).astype(dtype)


def through_tanh(x):
    """tanh(x) [N], by a vanilla net without recurrence."""
    cell = rnnjax.vanilla(1, dtype=x.dtype)
    one, zero = jnp.ones((1, 1), x.dtype), jnp.zeros((1, 1), x.dtype)
    params = rnnjax.cells.VanillaParams(one, zero, zero[0])
    return unroll(cell, params, x[None, :, None], method=native())[1][0, :, 0]


def through_sigmoid(x):
    """σ(x) [N]: what N examples of a GRU keep of h = 1 when its candidate is zero."""
    cell = rnnjax.gru(1, dtype=x.dtype)
    w_x = jnp.asarray([[0, 1, 0]], x.dtype)
    params = rnnjax.cells.GRUParams(w_x, 0 * w_x, 0 * w_x[0], 0 * w_x[0, :1])
    carry = rnnjax.cells.GRUCarry(jnp.ones((x.size, 1), x.dtype))
    return unroll(cell, params, x[None, :, None], carry=carry, method=native())[1][0, :, 0]


def sigmoid_of_bias(x):
    """The same by N hidden units and their bias, since 0 * Inf in a product would be NaN."""
    cell, zeros = rnnjax.gru(x.size, dtype=x.dtype), jnp.zeros_like(x)
    weights = jnp.zeros((x.size, 3 * x.size), x.dtype)
    bias = jnp.concatenate([zeros, x, zeros])
    params = rnnjax.cells.GRUParams(weights[:1], weights, bias, zeros)
    carry = rnnjax.cells.GRUCarry(jnp.ones_like(x))
    return unroll(cell, params, zeros[None, :1], carry=carry, method=native())[1][0]


@needs_kernels
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_activations_over_the_whole_range(dtype):
    x = everywhere(dtype)
    wide = x.astype(np.longdouble)
    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(-wide))
    tolerance = 4 * np.finfo(dtype).eps
    got = np.asarray(through_tanh(jnp.asarray(x)))
    np.testing.assert_allclose(got, np.tanh(wide), rtol=float(tolerance))
    got = np.asarray(through_sigmoid(jnp.asarray(x)))
    np.testing.assert_allclose(got, sigmoid, rtol=float(tolerance), atol=np.finfo(dtype).tiny * 4)
    special = jnp.asarray([np.inf, -np.inf, np.nan], dtype)
    np.testing.assert_array_equal(through_tanh(special[:2]), [1, -1])
    np.testing.assert_array_equal(sigmoid_of_bias(special[:2]), [1, 0])
    assert np.isnan(through_tanh(special)[2])
    assert np.isnan(sigmoid_of_bias(special)[2])


@needs_kernels
@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=["NaN", "Inf"])
@pytest.mark.parametrize("name", CELLS)
def test_nan_and_inf_spread_as_in_the_portable_loop(name, bad):
    cell, params, xs, carry, _ = problem(name, (4, 3, 2, 5))
    xs = xs.at[1, 1, 0].set(bad)
    got, want = (
        unroll(cell, params, xs, carry=carry, method=m)[1] for m in (native(), sequential())
    )
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_allclose(got, want, rtol=1e-11)


@needs_kernels
def test_peepholes_of_zero_are_the_lstm():
    _, params, xs, carry, flags = problem("lstm", (7, 3, 5, 6))
    no_peepholes = rnnjax.PeepholeLSTMParams(*params, jnp.zeros(18))
    got = unroll(rnnjax.peephole_lstm(6), no_peepholes, xs, carry=carry, method=native(), **flags)
    want = unroll(rnnjax.lstm(6), params, xs, carry=carry, method=native(), **flags)
    assert worst(got, want) < 1e-14


EVERY_CELL = """
import pickle, sys
import small_programs
small_programs.set_up_jax()
import rnnjax, test_native
small_programs.limit = small_programs.SMALL
assert rnnjax.methods.instruction_set() == sys.argv[1]
with open(sys.argv[2], "rb") as file:
    expected = pickle.load(file)
for (name, shape), want in expected.items():
    test_native.check_a_shape(name, shape, want)
for dtype in ("float32", "float64"):
    test_native.test_activations_over_the_whole_range(test_native.np.dtype(dtype).type)
"""


@needs_kernels
@pytest.mark.parametrize("wanted", ["portable", "avx2"])
def test_every_instruction_set(wanted, tmp_path):
    if wanted == "avx2" and instruction_set() == "portable":
        pytest.skip("this machine has no AVX2")
    which = [(name, shape) for name in CELLS for shape in SHAPES[4:8]]
    wants = {each: jax.tree.map(np.asarray, jax.tree.leaves(expected(*each))) for each in which}
    file = tmp_path / "expected.pickle"
    file.write_bytes(pickle.dumps(wants))
    here = Path(__file__).parent
    environment = {**os.environ, "RNNJAX_NATIVE_ISA": wanted, "PYTHONPATH": str(here.parent)}
    command = [sys.executable, "-c", EVERY_CELL, wanted, str(file)]
    subprocess.run(command, env=environment, cwd=here, check=True)
