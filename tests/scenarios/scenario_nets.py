"""Small nets for the tests of scenarios, and their parts written out in numpy."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax import Cell

T, B, D, H, V, E, K = 5, 3, 3, 4, 6, 3, 2
LENGTHS = np.array([T, 2, 0])
RAGGED = np.array([T, 2, 3])


def own(hidden: int) -> Cell:
    """A user's minimal cell: params in a dict, a bare array for a carry, no key, no rule."""

    def init(key, input_size):
        draw = jax.random.normal(key, (input_size + hidden, hidden))
        return {"w": draw}

    def initial_carry(params, batch_shape=()):
        return jnp.zeros((*batch_shape, hidden), params["w"].dtype)

    def step(params, h, x_t):
        h = jnp.sin(jnp.concatenate([x_t, h], axis=-1) @ params["w"])
        return h, h

    return Cell(init, initial_carry, step)


CELLS = {
    "lstm": rnnjax.lstm(H),
    "deep": rnnjax.stack(rnnjax.gru(3), rnnjax.vanilla(H), rnnjax.residual(rnnjax.lstm(H))),
    "own": own(H),
    "random": rnnjax.stack(
        rnnjax.input_dropout(rnnjax.recurrent_dropout(rnnjax.lstm(H), 0.3), 0.4),
        rnnjax.residual(rnnjax.zoneout(rnnjax.gru(H), h=0.2)),
    ),
}


def head(features: int = K) -> nn.Dense:
    return nn.Dense(features, param_dtype=float)


def embedding() -> nn.Embed:
    return nn.Embed(V, E, param_dtype=float)


def noisy(seed: int, shape, scale: float = 1.0):
    return jnp.asarray(scale * np.random.default_rng(seed).standard_normal(shape))


def words(seed: int, shape, size: int = V):
    return jnp.asarray(np.random.default_rng(seed).integers(0, size, shape))


def params_of(init, *example, seed: int = 0, scale: float = 0.6):
    """Gaussian params in the form of `init(key, *example)`, without the time it takes."""
    rng = np.random.default_rng(seed)
    form = jax.eval_shape(init, jax.random.key(0), *example)
    return jax.tree.map(
        lambda leaf: jnp.asarray(scale * rng.standard_normal(leaf.shape), leaf.dtype), form
    )


def dense(params, x):
    """A dense map in numpy."""
    kernel = np.asarray(params["params"]["kernel"])
    return np.asarray(x) @ kernel + np.asarray(params["params"].get("bias", np.zeros(1)))


def table(params):
    """The rows of an embedding."""
    return np.asarray(params["params"]["embedding"])


@functools.cache
def stepper(name: str):
    return jax.jit(CELLS[name].step)


def outputs_by_loop(name: str, params, xs, carry=None):
    """`(carry, ys)` of one sequence `[n, D]`, one step after the other."""
    carry = CELLS[name].initial_carry(params, ()) if carry is None else carry
    ys = []
    for x_t in xs:
        carry, y_t = stepper(name)(params, carry, jnp.asarray(x_t))
        ys.append(np.asarray(y_t))
    return carry, np.array(ys).reshape(len(ys), H)


def log_softmax(logits):
    logits = np.asarray(logits)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits):
    return np.exp(log_softmax(logits))


def example(tree, b: int):
    """One sequence's part of a batch-first pytree."""
    return jax.tree.map(lambda leaf: leaf[b], tree)


def assert_close(got, want, rtol=1e-11, atol=1e-12):
    got_leaves, got_tree = jax.tree.flatten(got)
    want_leaves, want_tree = jax.tree.flatten(want)
    assert got_tree == want_tree
    for a, b in zip(got_leaves, want_leaves, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=atol)
