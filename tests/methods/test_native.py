"""The compiled kernels: equal to the portable loop, whatever the shape, and safe if misused."""

import contextlib
import functools
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from op_by_op import op_by_op

import rnnjax
from rnnjax import autodiff, native, sequential, unroll
from rnnjax.methods import (
    AVAILABILITY,
    _fused,
    _native,
    _native_calls,
    _native_library,
    explain,
    instruction_set,
)

CELLS = {
    "vanilla_tanh": rnnjax.vanilla,
    "vanilla_relu": functools.partial(rnnjax.vanilla, activation="relu"),
    "lstm": rnnjax.lstm,
    "lstm_1997": rnnjax.lstm_1997,
    "gru": rnnjax.gru,
    "peephole_lstm": rnnjax.peephole_lstm,
}
# T, B, D, H: no step, no example, no input; one; odd; several row groups; several panels.
SHAPES = [
    (0, 2, 3, 4),
    (3, 0, 2, 3),
    (4, 2, 0, 3),
    (1, 1, 1, 1),
    (7, 3, 17, 5),
    (5, 1, 3, 255),
    (6, 50, 1, 17),
    (3, 33, 9, 65),
    (2, 255, 3, 2),
    (70, 5, 3, 16),
]
LARGE = {
    "split by rows": (12, 40, 8, 96),
    "split by hidden units": (3, 5, 7, 300),
    "several chunks and blocks": (25, 5, 530, 400),
}

needs_kernels = pytest.mark.skipif(
    AVAILABILITY["native"]() is not None, reason=str(AVAILABILITY["native"]())
)


def problem(name, shape, dtype=np.float64, seed=0):
    """A cell, params and a carry without zeros, and everything that can come with xs."""
    T, B, D, H = shape
    cell, rng = CELLS[name](H, dtype=dtype), np.random.default_rng(seed)

    def drawn(leaf, scale):
        return jnp.asarray(scale * rng.standard_normal(leaf.shape), dtype)

    def weight(leaf):
        return drawn(leaf, 0.4 if leaf.ndim == 1 else 1 / max(leaf.shape[0], 1) ** 0.5)

    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), max(D, 1)))
    w_x = jax.ShapeDtypeStruct((D, params.w_x.shape[1]), dtype)
    params = jax.tree.map(weight, params._replace(w_x=w_x))
    carry = jax.eval_shape(lambda: cell.initial_carry(params, (B,)))
    carry = jax.tree.map(
        lambda leaf: jnp.asarray(0.5 * rng.standard_normal(leaf.shape), dtype), carry
    )
    xs = jnp.asarray(rng.standard_normal((T, B, D)), dtype)
    flags = {
        "lengths": jnp.asarray(rng.integers(0, T + 1, B)),
        "resets": jnp.asarray(rng.random((T, B)) < 0.2),
    }
    return cell, params, xs, carry, flags


@functools.cache
def compiled(cell, method, reverse):
    """The outputs and the gradients of a weighted sum of them, as a function of arrays."""

    @jax.jit
    def run(params, xs, carry, flags, directions):
        def cost(params, xs, carry):
            out = unroll(cell, params, xs, carry=carry, method=method, reverse=reverse, **flags)
            return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, out, directions))), out

        return jax.grad(cost, (0, 1, 2), has_aux=True)(params, xs, carry)

    return run


def value_and_gradients(cell, params, xs, carry, method, reverse=False, **flags):
    rng = np.random.default_rng(9)

    def direction(leaf):
        return jnp.asarray(rng.standard_normal(leaf.shape), leaf.dtype)

    ys = jax.ShapeDtypeStruct((*xs.shape[:2], carry.h.shape[1]), xs.dtype)
    directions = jax.tree.map(direction, (carry, ys))
    few = 1 <= xs.shape[0] <= 7  # steps, which take less time than compiling a loop
    with op_by_op() if few else contextlib.nullcontext():
        return compiled(cell, method, reverse)(params, xs, carry, flags, directions)


def by_the_portable_loop(cell, params, xs, carry, reverse=False, **flags):
    """By one program, whatever the flags: without them all is valid and nothing restarts."""
    T, B, _ = xs.shape
    flags = {"lengths": jnp.full(B, T), "resets": jnp.zeros((T, B), bool), **flags}
    return value_and_gradients(cell, params, xs, carry, sequential(), reverse, **flags)


def worst(got, want):
    """The largest relative difference of any leaf."""
    errors = [0.0]
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.shape == b.shape
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.size:
            assert np.isfinite(a).all()
            errors.append(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))
    return max(errors)


def options_for(name, shape, flags):
    """Either direction, with and without lengths and resets."""
    rng = np.random.default_rng(sum(shape) + len(name))
    chosen = {key: flags[key] for key in flags if rng.random() < 0.7}
    return {"reverse": bool(rng.integers(2)), **chosen}


@functools.cache
def expected(name, shape):
    cell, params, xs, carry, flags = problem(name, shape, seed=sum(shape))
    options = options_for(name, shape, flags)
    return value_and_gradients(cell, params, xs, carry, sequential(), **options)


@needs_kernels
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_equals_the_portable_loop(name, shape):
    check_a_shape(name, shape, expected(name, shape))


def check_a_shape(name, shape, want):
    cell, params, xs, carry, flags = problem(name, shape, seed=sum(shape))
    options = options_for(name, shape, flags)
    by_kernel = value_and_gradients(cell, params, xs, carry, native(), **options)
    assert worst(by_kernel, want) < 1e-12


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


def cost(cell, method, params, xs, carry, lengths, resets):
    carry, ys = unroll(cell, params, xs, carry=carry, lengths=lengths, resets=resets, method=method)
    return jnp.sum(ys**2) + sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(carry))


IN_AXES = {
    "data": (None, 0, 0, 0, 0),
    "xs alone": (None, 0, None, None, None),
    "params": (0, None, None, None, None),
    "both": (0, 1, 0, None, 1),
}


@functools.cache
def mapped_gradients(cell, method, axes):
    grad = jax.value_and_grad(functools.partial(cost, cell, method), (0, 1, 2))
    return jax.jit(jax.vmap(grad, axes))


def stacked(each, axis):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *each)


@needs_kernels
@pytest.mark.parametrize("name", ["lstm", "gru", "peephole_lstm"])
@pytest.mark.parametrize("axes", IN_AXES.values(), ids=IN_AXES.keys())
def test_vmap(name, axes):
    many = [problem(name, (4, 3, 2, 5), seed=seed) for seed in range(3)]
    cell = many[0][0]
    each = [(params, xs, carry, *flags.values()) for _, params, xs, carry, flags in many]
    columns = list(zip(*each, strict=True))
    mapped = [
        column[0] if axis is None else stacked(column, axis)
        for column, axis in zip(columns, axes, strict=True)
    ]
    # One program for all: what is not mapped is repeated.
    repeated = [
        stacked(column[:1] * 3 if axis is None else column, 0)
        for column, axis in zip(columns, axes, strict=True)
    ]
    got = mapped_gradients(cell, native(), axes)(*mapped)
    want = mapped_gradients(cell, sequential(), (0, 0, 0, 0, 0))(*repeated)
    assert worst(got, want) < 1e-12


@needs_kernels
def test_vmap_over_data_is_one_call_of_each_kernel():
    cell, params, xs, carry, flags = problem("lstm", (4, 3, 2, 5))
    grad = jax.grad(functools.partial(cost, cell, native()), (0, 1, 2))
    arguments = (params, stacked([xs, -xs], 0), carry, *flags.values())
    lowered = jax.jit(jax.vmap(grad, (None, 0, None, None, None))).lower(*arguments)
    calls = re.findall(r"custom_call @(rnnjax_\w+)", lowered.as_text())
    # The gradients of the weights are batched products of XLA, those of xs a product.
    assert sorted(calls) == ["rnnjax_backward", "rnnjax_forward"]


@needs_kernels
def test_gradients_that_nobody_asks_for_are_not_computed():
    cell, params, xs, carry, flags = problem("lstm", (4, 3, 2, 5))

    def kernels(argnums):
        grad = jax.jit(jax.grad(functools.partial(cost, cell, native()), argnums))
        text = grad.lower(params, xs, carry, *flags.values()).compile().as_text()
        return {name for name in _native_library._TARGETS if f'"{name}"' in text}

    both = {"rnnjax_forward", "rnnjax_backward"}
    assert kernels(0) == both | {"rnnjax_weight_gradients"}
    assert kernels(1) == both | {"rnnjax_input_gradients"}
    assert kernels(2) == both


@needs_kernels
def test_vmap_over_nothing():
    cell, params, xs, *_ = problem("lstm", (4, 3, 2, 5))
    none = jnp.zeros((0, *xs.shape))
    ys = jax.vmap(lambda xs: unroll(cell, params, xs, method=native())[1])(none)
    assert ys.shape == (0, 4, 3, 5)


@needs_kernels
def test_vmap_of_vmap_over_data_and_params():
    cell, params, xs, carry, flags = problem("lstm", (4, 3, 2, 5))
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    xs = jnp.stack([xs, 3 * xs, -xs])

    def run(method):
        def one(params, xs):
            return cost(cell, method, params, xs, carry, **flags)

        return jax.vmap(jax.vmap(jax.grad(one), (0, None)), (None, 0))(params, xs)

    assert worst(run(native()), run(sequential())) < 1e-12


@needs_kernels
def test_inside_scan_and_checkpoint_and_with_donated_buffers():
    cell, params, xs, carry, _ = problem("gru", (6, 3, 5, 5))

    def twice(method, params, carry, xs):
        def body(carry, xs):
            return unroll(cell, params, xs, carry=carry, method=method)

        carry, ys = jax.lax.scan(jax.checkpoint(body), carry, xs.reshape(2, 3, 3, 5))
        return jnp.sum(ys**2) + carry.h.sum()

    wants, gots = (
        jax.jit(jax.grad(functools.partial(twice, method), (0, 1, 2)))(params, carry, xs)
        for method in (sequential(), native())
    )
    assert worst(gots, wants) < 1e-12
    run = jax.jit(
        lambda params, carry, xs: unroll(cell, params, xs, carry=carry, method=native()),
        donate_argnums=(1, 2),
    )
    want = unroll(cell, params, xs, carry=carry, method=sequential())
    assert worst(run(params, jax.tree.map(jnp.copy, carry), jnp.copy(xs)), want) < 1e-12


@needs_kernels
def test_shard_map():
    cell, params, xs, carry, _ = problem("lstm", (4, 6, 2, 5))
    mesh, split = Mesh(jax.devices()[:1], ("data",)), PartitionSpec(None, "data")
    by_example = PartitionSpec("data")

    def mean_gradient(params, xs, carry):
        def cost(params):
            return jnp.sum(unroll(cell, params, xs, carry=carry, method=native())[1] ** 2)

        return jax.lax.psum(jax.grad(cost)(params), "data")

    sharded = jax.shard_map(
        mean_gradient,
        mesh=mesh,
        in_specs=(PartitionSpec(), split, by_example),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    want = jax.grad(lambda p: jnp.sum(unroll(cell, p, xs, carry=carry)[1] ** 2))(params)
    assert worst(jax.jit(sharded)(params, xs, carry), want) < 1e-12


@needs_kernels
def test_what_it_refuses():
    cell, params, xs, *_ = problem("lstm", (3, 2, 2, 3))
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    with pytest.raises(ValueError, match="float32 or float64 weights, and these are bfloat16"):
        unroll(cell, half, xs, method=native())
    for other in (
        rnnjax.gru(3, reset="before"),
        rnnjax.identity_rnn(3),
        rnnjax.vanilla(3, "sigmoid"),
        rnnjax.lstm_1997(3, truncate=True),
        rnnjax.residual(rnnjax.lstm(2)),
    ):
        with pytest.raises(ValueError, match="no kernel for this cell"):
            unroll(other, other.init(jax.random.key(0), 2), xs, method=native())
        assert explain(other, other.init(jax.random.key(0), 2), xs).method == sequential()
    mixed = rnnjax.stack(rnnjax.lstm(3), rnnjax.identity_rnn(3))
    with pytest.raises(ValueError, match="no kernel for this cell"):
        unroll(mixed, mixed.init(jax.random.key(0), 2), xs, method=native())
    plan = explain(mixed, mixed.init(jax.random.key(0), 2), xs).plan
    assert plan == (native(), sequential())


def test_without_the_extension(monkeypatch):
    cell, params, xs, *_ = problem("lstm", (3, 2, 2, 3))
    monkeypatch.delenv("RNNJAX_NATIVE", raising=False)
    monkeypatch.setattr(_native_library, "_MODULE", "rnnjax.methods._not_compiled")
    _native_library._load.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"not installed: they need a C\+\+17 compiler"):
            unroll(cell, params, xs, method=native())
        assert "C++17 compiler" in str(explain(cell, params, xs))
        want = unroll(cell, params, xs, method=sequential())[1]
        np.testing.assert_array_equal(unroll(cell, params, xs)[1], want)
    finally:
        _native_library._load.cache_clear()


def test_switched_off(monkeypatch):
    monkeypatch.setenv("RNNJAX_NATIVE", "0")
    _native_library._load.cache_clear()
    try:
        assert "RNNJAX_NATIVE=0" in (AVAILABILITY["native"]() or "")
        assert instruction_set() is None
    finally:
        monkeypatch.undo()
        _native_library._load.cache_clear()


EVERY_CELL = """
import pickle, sys
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)
import rnnjax, test_native
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


# name, gates, tape, recurrent_offset, extra, has_c
COMPILED = [
    ("vanilla_tanh", 1, 1, 0, 0, False),
    ("vanilla_relu", 1, 1, 0, 0, False),
    ("lstm", 4, 4, 0, 0, True),
    ("lstm_1997", 3, 3, 0, 0, True),
    ("gru", 3, 4, 1, 1, False),
    ("peephole_lstm", 4, 4, 0, 3, True),
]


@needs_kernels
def test_the_table_of_cells_is_that_of_the_library():
    cells = _native_library.compiled_cells()
    rows = [(cell.name, *cell[2:]) for cell in cells.values()]
    assert rows == COMPILED
    assert [cell.position for cell in cells.values()] == list(range(len(COMPILED)))
    assert list(cells) == [cell.name for cell in cells.values()]
    # The library is that of these sources, and has as many lines as different names.
    source = Path(_native_library.__file__).parent / "kernels" / "cells.def"
    listed = re.findall(r"^RNNJAX_CELL\((\w+), \w+\)$", source.read_text(), re.MULTILINE)
    assert listed == list(cells)
    assert not _native_library._open().rnnjax_cell(len(cells))
    assert set(CELLS) == set(cells), "a compiled cell that no test of this file covers"


@needs_kernels
@pytest.mark.parametrize("name", CELLS)
def test_the_params_of_every_cell_have_the_sizes_that_its_kernel_expects(name):
    cell, compiled = CELLS[name](5), _native_library.compiled_cells()[name]
    params = cell.init(jax.random.key(0), 3)
    weights = _native_calls.Weights(*params)
    assert _native._kernel(cell) == name
    assert weights.w_h.shape == (5, 5 * compiled.gates)
    assert (0 if weights.extra is None else weights.extra.size) == 5 * compiled.extra
    assert hasattr(cell.initial_carry(params, ()), "c") == compiled.has_c


@needs_kernels
def test_peepholes_of_zero_are_the_lstm():
    _, params, xs, carry, flags = problem("lstm", (7, 3, 5, 6))
    no_peepholes = rnnjax.PeepholeLSTMParams(*params, jnp.zeros(18))
    got = unroll(rnnjax.peephole_lstm(6), no_peepholes, xs, carry=carry, method=native(), **flags)
    want = unroll(rnnjax.lstm(6), params, xs, carry=carry, method=native(), **flags)
    assert worst(got, want) < 1e-14


@needs_kernels
def test_the_boundary_checks_every_shape_and_dtype():
    cell, params, xs, carry, _ = problem("lstm", (3, 2, 2, 3))
    assert cell.rule is not None
    compiled = _native_library.compiled_cells()
    spec = _native_calls.Spec(compiled["lstm"], False)
    weights = _native_calls.Weights(*params)
    inputs = _fused.Inputs(xs, carry, None, None, None)

    def refused(message, weights=weights, spec=spec, **changes):
        with pytest.raises(jax.errors.JaxRuntimeError, match=message):
            jax.block_until_ready(
                _native_calls.forward(spec, True, weights, inputs._replace(**changes))
            )

    refused(r"w_x has shape \[1, 12\], expected \[2, 12\]", weights._replace(w_x=params.w_x[:1]))
    refused(r"w_h has shape", weights._replace(w_h=params.w_h[:, :9]))
    refused(r"b has shape \[11\], expected \[12\]", weights._replace(b=params.b[:-1]))
    refused(r"extra has shape \[3\], expected \[0\]", weights._replace(extra=jnp.zeros(3)))
    peephole = _native_calls.Spec(compiled["peephole_lstm"], False)
    refused(r"extra has shape \[0\], expected \[9\]", spec=peephole)
    refused(r"no such cell", spec=spec._replace(cell=spec.cell._replace(position=len(compiled))))
    refused(r"w_h has the wrong dtype", weights._replace(w_h=params.w_h.astype(jnp.float32)))
    refused(r"c has shape", carry=carry._replace(c=carry.c[:1]))
    refused(r"lengths has the wrong dtype", lengths=jnp.zeros(2))
    refused(r"lengths has shape", lengths=jnp.zeros(3, jnp.int32))
    refused(r"no carry to restart from", begins=jnp.zeros((3, 2), bool))
    refused(r"expected float32 or float64", xs=xs.astype(jnp.float16))


@needs_kernels
def test_auto_takes_it_by_default():
    cell, params, xs, *_ = problem("lstm", (3, 2, 2, 3))
    explanation = explain(cell, params, xs)
    assert explanation.method == native()
    assert [each.method.name for each in explanation.considered] == ["cudnn", "native"]
    assert explain(cell, params, xs, gradient=autodiff()).method == sequential()
    deep = rnnjax.stack(rnnjax.lstm(3), rnnjax.stack(rnnjax.gru(2), rnnjax.vanilla(4)))
    assert explain(deep, deep.init(jax.random.key(0), 2), xs).method == native()
    np.testing.assert_array_equal(
        unroll(cell, params, xs)[1], unroll(cell, params, xs, method=native())[1]
    )
