"""Which products of Jacobians have a block structure that rounding errors would destroy."""

import jax
import jax.numpy as jnp

from rnnjax._types import Array

_WINDOW = 4  # steps


def mixes_one_way(jacobians: Array) -> Array:
    """Whether some states depend on others, but not they on them, or only weakly: `[...]` bool.

    True of a stack of layers, False where all states are coupled, and where the blocks of states
    that are do not depend on one another at all. J_ij couples i to j if it is more than ε^(1/3) of
    its row. That is judged in every window of four steps, without the states that are dead in it
    (a row or a column of zeros); the blocks must be the same in all windows.

    Args:
      jacobians: `[T, ..., S, S]`.
    """
    sizes = jnp.where(jnp.isfinite(jacobians), jnp.abs(jacobians), 0.0)
    short = -len(sizes) % _WINDOW
    sizes = jnp.pad(sizes, [(0, short), *[(0, 0)] * (sizes.ndim - 1)], mode="edge")
    sizes = jnp.max(sizes.reshape(-1, _WINDOW, *sizes.shape[1:]), axis=1)
    some = sizes > 0
    alive = jnp.any(some, axis=-1) & jnp.any(some, axis=-2)
    both = alive[..., :, None] & alive[..., None, :]
    enough = float(jnp.finfo(sizes.dtype).eps) ** (1 / 3)
    paths = _closure(both & (sizes > enough * jnp.max(sizes, axis=-1, keepdims=True)))
    coupled = paths & jnp.swapaxes(paths, -1, -2)
    joined = jnp.any(some & both, axis=0)
    return jnp.any(joined & ~jnp.all(coupled | ~both, axis=0), axis=(-2, -1))


def _closure(edges: Array) -> Array:
    """The pairs of states with a path from one to the other: [..., S, S] bool."""

    def longer(state: tuple[Array, Array]) -> tuple[Array, Array]:
        paths, _ = state
        numbers = paths.astype(jnp.float32)
        new = numbers @ numbers > 0
        return new, jnp.any(new != paths)

    start = edges | jnp.broadcast_to(jnp.eye(edges.shape[-1], dtype=bool), edges.shape)
    return jax.lax.while_loop(lambda state: state[1], longer, (start, jnp.asarray(True)))[0]
