"""How one rule runs inside another, where its input is only known step by step."""

from inspect import signature

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, InitialCarry, Params, PyTree, Rule, Tape


def inner_forward(rule: Rule, params: Params, carry: Carry, x_t: Array):
    """The whole forward half of one step, projection included."""
    return rule.forward(params, carry, rule.project(params, x_t))


def inner_input_ct(rule: Rule, params: Params, x_t: Array, tape_t: Tape, delta_t: PyTree) -> Array:
    """∂C/∂x_t of one step, by `Rule.gradients` on a sequence of length one.

    The weights' gradients that come with it are unused, and the compiler drops them.
    """
    one = jax.tree.map(lambda leaf: leaf[None], (x_t, tape_t, delta_t))
    return rule.gradients(params, *one)[1][0]


def start(cell: Cell, params: Params, batch_shape: tuple[int, ...], key: Array | None) -> Carry:
    """The inner cell's initial carry, with a key only if there is one and the cell takes it."""
    if key is None or not _takes_key(cell.initial_carry):
        return cell.initial_carry(params, batch_shape)
    return cell.initial_carry(params, batch_shape, key)


def _takes_key(initial_carry: InitialCarry) -> bool:
    """Whether it has a third argument: a user's cell without randomness may leave it out."""
    try:
        signature(initial_carry).bind(None, (), None)
    except TypeError:
        return False
    return True


def output_size(cell: Cell, params: Params, input_size: int) -> int:
    """The number of features of y_t for inputs with `input_size` features."""

    def outputs(params: Params) -> Array:
        dtype = jnp.result_type(*jax.tree.leaves(params))
        carry = cell.initial_carry(params, ())
        return cell.step(params, carry, jnp.zeros(input_size, dtype))[1]

    return jax.eval_shape(outputs, params).shape[-1]


def start_random(
    cell: Cell, params: Params, batch_shape: tuple[int, ...], key: Array | None
) -> tuple[Carry, Array | None]:
    """The inner cell's initial carry, and the outer cell's own PRNG keys [...]; None without a key.

    One typed key for each example, so that carries freeze and restart one by one. The inner cell
    gets another key than the outer one, so that nested cells draw independently.
    """
    if key is None:
        return start(cell, params, batch_shape, None), None
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    own, inner = jax.random.split(key if typed else jax.random.wrap_key_data(key))
    return start(cell, params, batch_shape, inner), jax.random.split(own, batch_shape)


def keep_mask(keys: Array, rate: float, size: int) -> Array:
    """[..., size] booleans, true with probability 1 - rate, from keys [...]."""

    def draw(key: Array) -> Array:
        return jax.random.bernoulli(key, 1 - rate, (size,))

    for _ in range(keys.ndim):
        draw = jax.vmap(draw)
    return draw(keys)


def next_keys(keys: Array) -> tuple[Array, Array]:
    """Split every key [...] in two: the keys to carry on, and those to use now."""
    halves = jax.random.split
    for _ in range(keys.ndim):
        halves = jax.vmap(halves)
    both = halves(keys)
    return both[..., 0], both[..., 1]
