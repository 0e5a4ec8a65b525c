"""A cell's carry in its two forms: its state alone, and with the randomness of training."""

import jax

from rnnjax._checks import is_inexact
from rnnjax._types import Array, Carry, Cell, Params, PyTree, initial_carry as start


def leaves_by_path(tree: PyTree) -> dict[str, Array]:
    """The leaves of a pytree by their path, such as `.h` or `[0].c`."""
    return {jax.tree_util.keystr(p): v for p, v in jax.tree_util.tree_flatten_with_path(tree)[0]}


def plain_form(cell: Cell, params: Params, batch_shape: tuple[int, ...]) -> PyTree:
    """Shapes and dtypes of the evaluation form: the state alone."""
    return jax.eval_shape(lambda params: start(cell, params, batch_shape, None), params)


def state_of(cell: Cell, params: Params, carry: Carry, batch_shape: tuple[int, ...]) -> Carry:
    """The evaluation form of a carry: its state, without masks and keys."""
    plain = plain_form(cell, params, batch_shape)
    if jax.tree.structure(plain) == jax.tree.structure(carry):
        return carry
    return filled(plain, leaves_by_path(carry))


def drawn(
    cell: Cell, params: Params, state: Carry, batch_shape: tuple[int, ...], key: Array | None
) -> Carry:
    """The carry with this state, and with randomness drawn from the key (none without one)."""
    if key is None:
        return state_of(cell, params, state, batch_shape)
    plain = leaves_by_path(plain_form(cell, params, batch_shape))
    given = {path: leaf for path, leaf in leaves_by_path(state).items() if path in plain}
    missing = plain.keys() - given.keys()
    if missing:
        raise ValueError(
            f"carry does not have {', '.join(sorted(missing))}: expected the structure of "
            f"initial_carry(params, {batch_shape})"
        )
    fresh = start(cell, params, batch_shape, key)
    return filled(fresh, {**leaves_by_path(fresh), **given})


def filled(like: PyTree, leaves: dict[str, Array]) -> PyTree:
    """A pytree of the structure of `like` with these leaves, by path."""
    paths = leaves_by_path(like)
    missing = paths.keys() - leaves.keys()
    if missing:
        raise ValueError(f"carry does not have {', '.join(sorted(missing))}, which the cell reads")
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[path] for path in paths])


def float_leaves(tree: PyTree) -> dict[str, Array]:
    """The floating-point leaves of a pytree by their path."""
    return {path: leaf for path, leaf in leaves_by_path(tree).items() if is_inexact(leaf)}
