"""Carries that are not vectors: pictures, matrices and complex numbers, in every measurement."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import Cell, Structure
from rnnjax.flow import (
    gradient_norms,
    jacobians,
    lyapunov_spectrum,
    record,
    sensitivity,
)

T, B = 3, 2
SHAPE = (2, 3, 2)  # height, width, channels of a picture


class PictureCarry(NamedTuple):
    h: jax.Array  # [..., height, width, channels]


class MemoryCarry(NamedTuple):
    h: jax.Array  # [..., V]
    memory: jax.Array  # [..., K, V]


class ComplexCarry(NamedTuple):
    h: jax.Array  # [..., N] complex
    gain: jax.Array  # [..., 1] real


def picture_cell():
    """Each pixel reads itself, its neighbour and its input; channels are mixed."""

    def step(params, carry, x_t):
        moved = jnp.roll(carry.h, 1, axis=-2) @ params["w"]
        h = jnp.tanh(0.8 * carry.h + moved + params["u"] * x_t)
        return PictureCarry(h), h**2

    def initial_carry(params, batch_shape):
        return PictureCarry(jnp.full((*batch_shape, *SHAPE), 0.1))

    def init(key, inputs):
        assert inputs == SHAPE
        return {"w": 0.5 * jax.random.normal(key, (SHAPE[-1],) * 2), "u": jnp.asarray(0.7)}

    return Cell(init, initial_carry, step, structure=Structure(feature_axes=3))


def memory_cell(keys=2, values=3):
    """A vector beside a matrix memory that it writes to and reads from."""

    def step(params, carry, x_t):
        key = jnp.tanh(x_t @ params["key"])
        memory = 0.9 * carry.memory + key[..., :, None] * carry.h[..., None, :]
        read = jnp.einsum("...k,...kv->...v", key, memory)
        h = jnp.tanh(read + x_t @ params["value"])
        return MemoryCarry(h, memory), h

    def initial_carry(params, batch_shape):
        h = jnp.full((*batch_shape, values), 0.3)
        return MemoryCarry(h, jnp.full((*batch_shape, keys, values), -0.2))

    def init(key, size):
        a, b = jax.random.split(key)
        return {
            "key": jax.random.normal(a, (size, keys)),
            "value": jax.random.normal(b, (size, values)),
        }

    return Cell(init, initial_carry, step)


def complex_cell(size=2):
    """A rotating state that is not holomorphic in the state before, beside a real one."""

    def step(params, carry, x_t):
        gain = jnp.tanh(carry.gain + jnp.sum(x_t, axis=-1, keepdims=True))
        turned = carry.h @ params["turn"] + gain * jnp.conj(carry.h)
        h = turned / (1 + jnp.abs(carry.h)) + x_t @ params["w"]
        return ComplexCarry(h, gain), h.real * gain + h.imag

    def initial_carry(params, batch_shape):
        h = jnp.full((*batch_shape, size), 0.4 - 0.3j)
        return ComplexCarry(h, jnp.full((*batch_shape, 1), 0.2))

    def init(key, inputs):
        w = jax.random.normal(key, (inputs, size)) * (0.6 + 0.8j)
        return {"turn": jnp.diag(jnp.exp(1j * jnp.arange(1.0, size + 1))), "w": w}

    return Cell(init, initial_carry, step)


CELLS = {
    "picture": (picture_cell(), SHAPE),
    "matrix": (memory_cell(), 2),
    "complex": (complex_cell(), 2),
}


def problem(name):
    cell, inputs = CELLS[name]
    params = cell.init(jax.random.key(0), inputs)
    features = inputs if isinstance(inputs, tuple) else (inputs,)
    return cell, params, jax.random.normal(jax.random.key(1), (T, B, *features))


def to_real(tree):
    """Real numbers alone: of a complex leaf the real parts, then the imaginary parts."""
    parts = []
    for leaf in jax.tree.leaves(tree):
        flat = jnp.ravel(leaf)
        parts += [flat.real, flat.imag] if jnp.iscomplexobj(leaf) else [flat]
    return jnp.concatenate(parts)


def from_real(vector, like):
    leaves, begin = [], 0
    for leaf in jax.tree.leaves(like):
        part = vector[begin : begin + leaf.size]
        begin += leaf.size
        if jnp.iscomplexobj(leaf):
            part = part + 1j * vector[begin : begin + leaf.size]
            begin += leaf.size
        leaves.append(part.reshape(leaf.shape))
    assert begin == vector.size
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def example(tree, b):
    return jax.tree.map(lambda leaf: leaf[b], tree)


def steps_of(cell, params, xs, b):
    """The carry of one example before each step, with its input."""
    carry = example(cell.initial_carry(params, (B,)), b)
    for x_t in xs[:, b]:
        yield carry, x_t
        carry, _ = cell.step(params, carry, x_t)


@pytest.mark.parametrize("name", CELLS)
def test_jacobians_are_those_of_the_step_on_real_numbers(name):
    cell, params, xs = problem(name)
    found = jacobians(cell, params, xs)
    size = to_real(example(cell.initial_carry(params, (B,)), 0)).size
    assert found.shape == (T, B, size, size)
    assert found.dtype == jnp.float64
    for b in range(B):
        for t, (carry, x_t) in enumerate(steps_of(cell, params, xs, b)):

            def step(vector, carry=carry, x_t=x_t):
                return to_real(cell.step(params, from_real(vector, carry), x_t)[0])

            with jax.disable_jit():
                want = jax.jacfwd(step)(to_real(carry))
            np.testing.assert_allclose(found[t, b], want, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "leaf", "rows"),
    [("matrix", "memory", slice(3, 9)), ("complex", "h", slice(0, 4)), ("complex", "gain", [4])],
)
def test_the_block_of_one_field(name, leaf, rows):
    cell, params, xs = problem(name)
    every, block = jacobians(cell, params, xs), jacobians(cell, params, xs, leaf=leaf)
    np.testing.assert_allclose(block, every[..., rows, :][..., rows], rtol=0, atol=1e-14)


def cost(carry, ys):
    """Curved, with other weights everywhere."""
    values = jnp.concatenate([to_real(carry), to_real(ys)])
    return jnp.sum(jnp.sin(jnp.arange(values.size)) * (values + values**2))


def moved(cell, params, xs, moves):
    """The cost of a loop in which moves[t] is added to the carry that step t returns."""
    carry, ys = cell.initial_carry(params, (B,)), []
    for x_t, move in zip(xs, moves, strict=True):
        carry, y_t = cell.step(params, carry, x_t)
        carry = jax.tree.map(jnp.add, carry, move)
        ys.append(y_t)
    return cost(carry, jnp.stack(ys))


@pytest.mark.parametrize("name", CELLS)
def test_recorded_gradients_are_central_differences(name):
    """Before the last step: what y_t and other fields read of a carry within its own step is not
    in this loop, which moves a carry after its step."""
    cell, params, xs = problem(name)
    # With outputs that depend on inputs alone no path is left that begins inside a step.
    blind = Cell(
        cell.init,
        cell.initial_carry,
        lambda params, carry, x_t: (cell.step(params, carry, x_t)[0], jnp.sum(x_t)),
        structure=cell.structure,
    )
    ahead = {"picture": None, "matrix": ("h",), "complex": None}[name]  # memory_t is read by h_t
    recording = record(blind, params, xs, cost)
    zeros = [jax.tree.map(jnp.zeros_like, cell.initial_carry(params, (B,)))] * T
    assert recording.batch_ndim == 1
    rng = np.random.default_rng(0)
    for field in ahead or cell.initial_carry(params, (B,))._fields:
        got = getattr(recording.carry_ct, field)
        like = getattr(zeros[0], field)
        assert got.shape == (T, *like.shape)
        assert got.dtype == like.dtype
        for t in range(T):
            direction = rng.standard_normal(like.shape)
            if jnp.iscomplexobj(like):
                direction = direction + 1j * rng.standard_normal(like.shape)
            values = []
            for size in (1e-6, -1e-6):
                moves = list(zeros)
                moves[t] = zeros[t]._replace(**{field: size * direction})
                values.append(moved(blind, params, xs, moves))
            # ∂C/∂Re - i ∂C/∂Im, as jax.grad has it: dC = Re(Σ gradient · direction).
            slope = np.sum(np.asarray(got[t]) * direction).real
            np.testing.assert_allclose(slope, (values[0] - values[1]) / 2e-6, rtol=1e-7, atol=1e-8)


def test_a_memory_that_is_read_in_the_step_that_writes_it():
    """∂C/∂memory_t counts its way into h_t: by a loop that moves it there."""
    cell, params, xs = problem("matrix")

    def loop(moves):
        carry, ys = cell.initial_carry(params, (B,)), []
        for x_t, move in zip(xs, moves, strict=True):
            key = jnp.tanh(x_t @ params["key"])
            written = key[:, :, None] * carry.h[:, None, :]
            memory = 0.9 * carry.memory + written + move
            h = jnp.tanh(jnp.einsum("bk,bkv->bv", key, memory) + x_t @ params["value"])
            carry = MemoryCarry(h, memory)
            ys.append(h)
        return cost(carry, jnp.stack(ys))

    with jax.disable_jit():
        want = jax.grad(loop)(jnp.zeros((T, B, 2, 3)))
    found = record(cell, params, xs, cost)
    np.testing.assert_allclose(found.carry_ct.memory, want, rtol=0, atol=1e-12)
    # The norms are of each example's numbers, all axes after the batch together.
    ct = found.carry_ct
    memory = np.sqrt((np.asarray(ct.memory) ** 2).sum((2, 3)))
    both = np.sqrt(memory**2 + (np.asarray(ct.h) ** 2).sum(2))
    np.testing.assert_allclose(gradient_norms(found), both, rtol=1e-14)
    np.testing.assert_allclose(gradient_norms(found, "memory"), memory, rtol=1e-14)
    with pytest.raises(ValueError, match=r"\(3, 2, 3\), \(3, 2, 2, 3\).* pass the Recording"):
        gradient_norms(ct)
    with pytest.raises(ValueError, match="pass the Recording"):
        gradient_norms(ct, "memory")


@pytest.mark.parametrize("name", ["picture", "complex"])
def test_norms_of_pictures_and_of_complex_numbers(name):
    cell, params, xs = problem(name)
    found = record(cell, params, xs, cost)
    want = [
        [np.linalg.norm(to_real(example(found.carry_ct, (t, b)))) for b in range(B)]
        for t in range(T)
    ]
    np.testing.assert_allclose(gradient_norms(found), want, rtol=1e-14)


@pytest.mark.parametrize("name", CELLS)
def test_lyapunov_exponents_count_real_numbers(name):
    cell, params, xs = problem(name)
    size = to_real(example(cell.initial_carry(params, (B,)), 0)).size
    found = lyapunov_spectrum(cell, params, xs)
    assert found.shape == (B, size)
    volumes = np.linalg.slogdet(jacobians(cell, params, xs))[1].mean(axis=0)
    np.testing.assert_allclose(found.sum(axis=-1), volumes, rtol=1e-9)
    with pytest.raises(ValueError, match=f"k = {size + 1} exponents of a carry of size S = {size}"):
        lyapunov_spectrum(cell, params, xs, size + 1)


@pytest.mark.parametrize("name", CELLS)
def test_sensitivity_of_outputs_of_any_shape(name):
    cell, params, xs = problem(name)
    found = sensitivity(cell, params, xs)
    assert found.shape == (T, T, B)
    for b in range(B):

        def outputs(sequence, b=b):
            carry, ys = example(cell.initial_carry(params, (B,)), b), []
            for x_t in sequence:
                carry, y_t = cell.step(params, carry, x_t)
                ys.append(jnp.ravel(y_t))
            return jnp.stack(ys)

        with jax.disable_jit():
            J = np.asarray(jax.jacfwd(outputs)(xs[:, b])).reshape(T, -1, T, xs[0, b].size)
        np.testing.assert_allclose(found[..., b], np.sqrt((J**2).sum((1, 3))), rtol=0, atol=1e-13)


def test_sensitivity_to_complex_inputs_counts_real_and_imaginary_parts():
    inner, params, _ = problem("complex")

    def step(params, carry, x_t):  # |x| enters, so that no single complex derivative says it all
        carry, y_t = inner.step(params, carry, jnp.abs(x_t))
        return carry, y_t + x_t * carry.h

    cell = Cell(inner.init, inner.initial_carry, step)
    keys = jax.random.split(jax.random.key(2))
    parts = jax.random.normal(keys[0], (T, 2)), jax.random.normal(keys[1], (T, 2))

    def outputs(parts):
        carry, ys = cell.initial_carry(params, ()), []
        for re, im in zip(*parts, strict=True):
            carry, y_t = cell.step(params, carry, re + 1j * im)
            ys.append(to_real(y_t))
        return jnp.stack(ys)

    with jax.disable_jit():
        J = np.concatenate([np.asarray(j) for j in jax.jacfwd(outputs)(parts)], axis=-1)
    found = sensitivity(cell, params, parts[0] + 1j * parts[1])
    np.testing.assert_allclose(found, np.sqrt((J**2).sum((1, 3))), rtol=0, atol=1e-13)


def test_measurements_of_a_library_cell_with_a_complex_carry():
    cell = rnnjax.lru(2)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (T, B, 3))
    lam = np.exp(-np.exp(params.nu_log) + 1j * np.exp(params.theta_log))
    want = np.block(
        [[np.diag(lam.real), -np.diag(lam.imag)], [np.diag(lam.imag), np.diag(lam.real)]]
    )
    np.testing.assert_allclose(jacobians(cell, params, xs), np.tile(want, (T, B, 1, 1)), atol=1e-15)
    rates = np.sort(np.repeat(np.log(np.abs(lam)), 2))[::-1]
    found = lyapunov_spectrum(cell, params, jnp.tile(xs, (100, 1, 1)), burn_in=100)
    np.testing.assert_allclose(found, np.tile(rates, (B, 1)), rtol=0, atol=1e-12)
    found = record(cell, params, xs, lambda carry, ys: jnp.sum(jnp.abs(carry.h) ** 2))
    norms = np.asarray(gradient_norms(found))
    assert norms.shape == (T, B)
    assert np.all(norms[:-1] <= np.abs(lam).max() * norms[1:] * (1 + 1e-12))
