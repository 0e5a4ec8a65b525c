"""The compiled kernels under `vmap`, `scan`, `checkpoint` and `shard_map`."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh, PartitionSpec
from native_problems import needs_kernels, problem, worst

from rnnjax import native, sequential, unroll
from rnnjax.methods import _native_library

pytestmark = pytest.mark.usefixtures("by_xla")


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
