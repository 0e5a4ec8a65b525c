"""Carries that are not vectors: pictures, matrices and complex numbers, in every measurement."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import Cell, Structure
from rnnjax.flow import gradient_norms, jacobians, lyapunov_spectrum, record, sensitivity

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


# A step takes moves, which are added to the fields of its carry as soon as they are computed.


def picture_step(params, carry, x_t, moves):
    """Each pixel reads itself, its neighbour and its input; channels are mixed."""
    neighbour = jnp.roll(carry.h, 1, axis=-2) @ params["w"]
    h = jnp.tanh(0.8 * carry.h + neighbour + params["u"] * x_t) + moves.h
    return PictureCarry(h), h**2


def memory_step(params, carry, x_t, moves):
    """A vector that reads, in the same step, the matrix memory that has just been written."""
    key = jnp.tanh(x_t @ params["key"])
    memory = 0.9 * carry.memory + key[..., :, None] * carry.h[..., None, :] + moves.memory
    read = jnp.einsum("...k,...kv->...v", key, memory)
    h = jnp.tanh(read + 0.5 * carry.h + x_t @ params["value"]) + moves.h
    return MemoryCarry(h, memory), h


def complex_step(params, carry, x_t, moves):
    """A turning state that depends on the one before and on its conjugate, beside a real one."""
    gain = jnp.tanh(carry.gain + jnp.sum(x_t, axis=-1, keepdims=True)) + moves.gain
    turned = carry.h @ params["turn"] + gain * jnp.conj(carry.h)
    h = turned / (1 + jnp.abs(carry.h)) + x_t @ params["w"] + moves.h
    return ComplexCarry(h, gain), h.real * gain + h.imag


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


class Problem(NamedTuple):
    step: object
    begin: object  # the carry of one example before the first step
    params: dict
    inputs: tuple  # the features of one x_t


PROBLEMS = {
    "picture": Problem(
        picture_step,
        PictureCarry(np.full(SHAPE, 0.1)),
        {"w": 0.5 * normal(0, 2, 2), "u": jnp.asarray(0.7)},
        SHAPE,
    ),
    "matrix": Problem(
        memory_step,
        MemoryCarry(np.full(3, 0.3), np.full((2, 3), -0.2)),
        {"key": normal(0, 2, 2), "value": normal(1, 2, 3)},
        (2,),
    ),
    "complex": Problem(
        complex_step,
        ComplexCarry(np.full(2, 0.4 - 0.3j), np.full(1, 0.2)),
        {"turn": jnp.diag(jnp.exp(1j * np.arange(1.0, 3))), "w": normal(0, 2, 2) * (0.6 + 0.8j)},
        (2,),
    ),
}


def still(problem):
    """Moves that move nothing."""
    return jax.tree.map(np.zeros_like, problem.begin)


def cell_of(problem):
    def initial_carry(params, batch_shape):
        return jax.tree.map(lambda x: jnp.broadcast_to(x, batch_shape + x.shape), problem.begin)

    def step(params, carry, x_t):
        nothing = jax.tree.map(jnp.zeros_like, carry)
        return problem.step(params, carry, x_t, nothing)

    structure = Structure(feature_axes=len(problem.inputs))
    return Cell(lambda key, inputs: problem.params, initial_carry, step, structure=structure)


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


def real_size(problem):
    return sum(x.size * (2 if np.iscomplexobj(x) else 1) for x in problem.begin)


def cost_of_one(carry, ys):
    """Curved, with other weights everywhere."""
    values = jnp.concatenate([to_real(carry), to_real(ys)])
    return jnp.sum(np.sin(np.arange(values.size)) * (values + values**2))


def cost(carry, ys):
    """The sum of that of each example."""
    return jnp.sum(jax.vmap(cost_of_one, (0, 1))(carry, ys))


class Measured(NamedTuple):
    cell: Cell
    xs: jax.Array  # [T, B, *features]
    jacobians: jax.Array
    recording: object
    sensitivity: jax.Array


@functools.cache
def measured(name):
    problem = PROBLEMS[name]
    cell, xs = cell_of(problem), normal(5, T, B, *problem.inputs)

    @jax.jit
    def measure(params, xs):
        return (
            jacobians(cell, params, xs),
            record(cell, params, xs, cost),
            sensitivity(cell, params, xs),
        )

    return Measured(cell, xs, *measure(problem.params, xs))


def run(problem, params, xs, moves):
    """Carries before each step, the last carry and the outputs of one example, in a loop."""
    carry, before, ys = problem.begin, [], []
    for t in range(T):
        before.append(carry)
        carry, y_t = problem.step(params, carry, xs[t], jax.tree.map(lambda m, t=t: m[t], moves))
        ys.append(y_t)
    return before, carry, jnp.stack(ys)


@functools.cache
def expected(name):
    """Jacobians, gradients and sensitivities of each example, from loops without batches."""
    problem = PROBLEMS[name]
    nothing = jax.tree.map(lambda x: np.zeros((T, *x.shape), x.dtype), problem.begin)

    def one(params, xs):
        before, _, _ = run(problem, params, xs, nothing)
        each = []
        for carry, x_t in zip(before, xs, strict=True):

            def step(vector, carry=carry, x_t=x_t):
                carry = from_real(vector, carry)
                return to_real(problem.step(params, carry, x_t, still(problem))[0])

            each.append(jax.jacfwd(step)(to_real(carry)))

        def cost_by_moves(moves):
            return cost_of_one(*run(problem, params, xs, moves)[1:])

        def outputs(xs):
            return run(problem, params, xs, nothing)[2].reshape(T, -1)

        J = jax.jacfwd(outputs)(xs).reshape(T, -1, T, xs[0].size)
        value, gradient = jax.value_and_grad(cost_by_moves)(nothing)
        return jnp.stack(each), value, gradient, jnp.sqrt(jnp.sum(J**2, axis=(1, 3)))

    found = jax.jit(one)
    return [found(problem.params, measured(name).xs[:, b]) for b in range(B)]


every_problem = pytest.mark.parametrize("name", PROBLEMS)


@every_problem
def test_jacobians_are_those_of_the_step_on_real_numbers(name):
    found, size = measured(name).jacobians, real_size(PROBLEMS[name])
    assert found.shape == (T, B, size, size)
    assert found.dtype == jnp.float64
    for b in range(B):
        np.testing.assert_allclose(found[:, b], expected(name)[b][0], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "leaf", "rows"),
    [("matrix", "memory", slice(3, 9)), ("complex", "h", slice(0, 4)), ("complex", "gain", [4])],
)
def test_the_block_of_one_field(name, leaf, rows):
    cell, xs, every = measured(name)[:3]
    found = jacobians(cell, PROBLEMS[name].params, xs, leaf=leaf)
    want = np.asarray(every)[..., rows, :][..., rows]
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-14)


@every_problem
def test_recorded_gradients_are_those_of_a_loop_with_moves(name):
    """∂C/∂s_t counts every path, inside the step too; of complex s_t, as `jax.grad` has it."""
    found = measured(name).recording
    assert found.batch_ndim == 1
    np.testing.assert_allclose(
        found.cost, sum(value for _, value, *_ in expected(name)), rtol=1e-13
    )
    for b in range(B):
        for got, want in zip(found.carry_ct, expected(name)[b][2], strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got[:, b], want, rtol=0, atol=1e-12)


def test_a_recorded_complex_gradient_is_a_central_difference():
    """dC = Re(∂C/∂h_t dh), with ∂C/∂h_t = ∂C/∂Re h_t - i ∂C/∂Im h_t."""
    problem, (_, xs, _, recording, _) = PROBLEMS["complex"], measured("complex")
    run_moved = jax.jit(
        lambda moves: cost_of_one(*run(problem, problem.params, xs[:, 0], moves)[1:])
    )
    for t in range(T):
        moves = jax.tree.map(lambda x: np.zeros((T, *x.shape), x.dtype), problem.begin)
        moves.h[t] = [0.3 + 0.9j, -0.8 + 0.1j]
        up, down = (
            run_moved(jax.tree.map(lambda m, s=size: s * m, moves)) for size in (1e-6, -1e-6)
        )
        slope = np.sum(np.asarray(recording.carry_ct.h)[t, 0] * moves.h[t]).real
        np.testing.assert_allclose(slope, (up - down) / 2e-6, rtol=1e-7)


@every_problem
def test_norms_are_over_all_axes_of_an_example(name):
    found = measured(name).recording
    leaves = [np.abs(x).reshape(T, B, -1) for x in found.carry_ct]
    want = np.linalg.norm(np.concatenate(leaves, axis=-1), axis=-1)
    np.testing.assert_allclose(gradient_norms(found), want, rtol=1e-14)
    for field, leaf in zip(found.carry_ct._fields, leaves, strict=True):
        want = np.linalg.norm(leaf, axis=-1)
        np.testing.assert_allclose(gradient_norms(found, field), want, rtol=1e-14)


def test_a_bare_carry_of_vectors_and_matrices_is_refused():
    carry_ct = measured("matrix").recording.carry_ct
    for leaf in (None, "h", "memory"):
        with pytest.raises(ValueError, match=r"\(3, 2, 3\), \(3, 2, 2, 3\): .* pass the Recording"):
            gradient_norms(carry_ct, leaf)


@every_problem
def test_lyapunov_exponents_count_real_numbers(name):
    cell, xs, found_jacobians = measured(name)[:3]
    size = real_size(PROBLEMS[name])
    found = lyapunov_spectrum(cell, PROBLEMS[name].params, xs)
    assert found.shape == (B, size)
    volumes = np.linalg.slogdet(found_jacobians)[1].mean(axis=0)
    np.testing.assert_allclose(found.sum(axis=-1), volumes, rtol=1e-9)
    with pytest.raises(ValueError, match=f"k = {size + 1} exponents of a carry of size S = {size}"):
        lyapunov_spectrum(cell, PROBLEMS[name].params, xs, size + 1)


@every_problem
def test_sensitivity_of_outputs_to_inputs_of_any_shape(name):
    found = measured(name).sensitivity
    assert found.shape == (T, T, B)
    for b in range(B):
        np.testing.assert_allclose(found[..., b], expected(name)[b][3], rtol=0, atol=1e-13)


def test_sensitivity_to_complex_inputs_counts_real_and_imaginary_parts():
    problem = PROBLEMS["complex"]

    def step(params, carry, x_t):  # |x| enters, so that no single complex derivative says it all
        nothing = jax.tree.map(jnp.zeros_like, carry)
        carry, y_t = problem.step(params, carry, jnp.abs(x_t), nothing)
        return carry, y_t + x_t * carry.h

    def outputs(re, im):
        carry, ys = problem.begin, []
        for x_t in re + 1j * im:
            carry, y_t = step(problem.params, carry, x_t)
            ys.append(to_real(y_t))
        return jnp.stack(ys)

    re, im = normal(6, T, 2), normal(7, T, 2)
    J = np.concatenate(jax.jit(jax.jacfwd(outputs, (0, 1)))(re, im), axis=-1)
    cell = cell_of(problem)
    found = sensitivity(Cell(cell.init, cell.initial_carry, step), problem.params, re + 1j * im)
    np.testing.assert_allclose(found, np.sqrt((J**2).sum((1, 3))), rtol=0, atol=1e-13)


def test_a_linear_recurrent_unit_turns_and_shrinks():
    cell = rnnjax.lru(2)
    nu, theta = np.array([-1.0, 0.3]), np.array([-0.2, 0.6])
    weights = [normal(seed, 2, 2) for seed in range(4)]
    params = rnnjax.cells.LRUParams(nu, theta, np.zeros(2), *weights, np.ones(2))
    xs = normal(5, 300, B, 2)
    lam = np.exp(-np.exp(nu) + 1j * np.exp(theta))
    turn = [[np.diag(lam.real), -np.diag(lam.imag)], [np.diag(lam.imag), np.diag(lam.real)]]
    found = jacobians(cell, params, xs)
    np.testing.assert_allclose(found, np.tile(np.block(turn), (300, B, 1, 1)), atol=1e-15)
    found = lyapunov_spectrum(cell, params, xs, burn_in=100)
    rates = np.sort(np.repeat(np.log(np.abs(lam)), 2))[::-1]
    np.testing.assert_allclose(found, np.tile(rates, (B, 1)), rtol=0, atol=1e-12)
