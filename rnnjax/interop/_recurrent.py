"""What the modules of Flax and Equinox share: a cell over sequences, batch first or not."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from rnnjax._checks import arrays_of, check_cell, check_flag, described
from rnnjax._execution import Gradient, Method, check_gradient, check_method
from rnnjax._random import carry_with_keys, is_key
from rnnjax._types import Array, Carry, Cell, Params, PyTree, initial_carry
from rnnjax.methods import Auto
from rnnjax.running import flip_steps
from rnnjax.unrolling import Layer, unroll

Sharding = Mapping[str, Any]


class Options(NamedTuple):
    """How a module runs; a call may say otherwise where it is not None there."""

    return_carry: bool
    time_major: bool
    reverse: bool
    keep_order: bool

    def but(self, **given: bool | None) -> "Options":
        return self._replace(**{name: value for name, value in given.items() if value is not None})


def check_module(
    cell: Any, options: Options, method: Method | Auto | None, gradient: Gradient | None
) -> None:
    """Raise TypeError or ValueError for what a module cannot be made of."""
    if not isinstance(cell, Layer):
        check_cell(cell)
    for name, value in options._asdict().items():
        check_flag(name, value)
    if method is not None:
        check_method("method", method)
    if gradient is not None:
        check_gradient("gradient", gradient)


def held_gradient(gradient: Gradient | None) -> Gradient | None:
    """A gradient as a module holds it, without arrays: limits of clips are numbers.

    Raises:
      ValueError: one that draws, which a module would draw alike at every call.
    """
    leaves = jax.tree.leaves(gradient)
    if any(isinstance(leaf, jax.Array) and is_key(leaf) for leaf in leaves):
        raise ValueError(
            f"the gradient {getattr(gradient, 'name', described(gradient))} draws by a key, and a "
            "module would use the same one at every call: pass it where the module is called, with "
            "a new key, as in module(xs, gradient=rnnjax.online.uoro(key))"
        )

    def number(leaf: Any) -> Any:
        known = isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer)
        return float(leaf) if known and leaf.shape == () else leaf

    return jax.tree.map(number, gradient)


def _holds_keys(carry: Carry) -> bool:
    leaves = [leaf for leaf in jax.tree.leaves(carry) if hasattr(leaf, "dtype")]
    return any(map(is_key, leaves))


def run(
    cell: Cell | Layer,
    params: Params,
    inputs: PyTree,
    options: Options,
    *,
    initial_carry: Carry | None,
    seq_lengths: Array | None,
    resets: Array | None,
    mask: Array | None,
    key: Array | None,
    method: Method | Auto | None,
    gradient: Gradient | None,
) -> Any:
    """Outputs, or `(carry, outputs)`, as `flax.nnx.RNN` returns them."""
    check_module(cell, options, method, gradient)
    xs, batch_ndim = inputs, None
    if not options.time_major:
        xs, batch_ndim = _time_first(cell, inputs)
        shape = jnp.shape(jax.tree.leaves(xs)[0])[: batch_ndim + 1]
        resets = _flags_time_first("resets", resets, shape)
        mask = _flags_time_first("mask", mask, shape)
    given: dict[str, Any] = {"method": method, "gradient": gradient, "lengths": seq_lengths}
    given |= {"carry": initial_carry, "resets": resets, "mask": mask}
    if initial_carry is None:
        given["key"] = key
    elif resets is not None and _holds_keys(initial_carry):
        if key is None:
            raise ValueError(
                "initial_carry holds the randomness of training, the episodes that begin at resets "
                "need their own, and this module draws none, as in evaluation: pass a carry that "
                "was made without a key, cell.initial_carry(params, batch_shape), or call the "
                "module in training, with a key or rngs"
            )
        given["key"] = key  # of the episodes that begin there
    if isinstance(cell, Layer):
        if options.reverse:
            raise ValueError(
                f"reverse=True is for a cell, and {cell} is a layer: make it of cells that run "
                "backwards, rnnjax.recurrent(cell, reverse=True)"
            )
        carry, ys = cell.apply(params, xs, **given)
    else:
        carry, ys = unroll(cell, params, xs, reverse=options.reverse, **given)
        if options.reverse and not options.keep_order:
            ys = flip_steps(ys, seq_lengths)
    if batch_ndim is not None:
        ys = jax.tree.map(lambda y: jnp.moveaxis(y, 0, batch_ndim), ys)
    return (carry, ys) if options.return_carry else ys


def feature_axes(cell: Cell | Layer) -> Any:
    return 1 if isinstance(cell, Layer) else cell.structure.feature_axes


def features(cell: Cell | Layer, inputs: PyTree) -> Any:
    """The features of one step of inputs, as `Cell.init` takes them."""

    def of(x: Any, axes: int) -> Any:
        shape = jnp.shape(x)[jnp.ndim(x) - axes :]
        return shape[0] if axes == 1 else tuple(shape)

    inputs = arrays_of(inputs)
    axes = jax.tree.broadcast(feature_axes(cell), inputs)
    return jax.tree.map(of, inputs, axes)


def is_random(cell: Cell | Layer, params: Params) -> bool:
    """Whether it has training-time randomness, such as dropout."""
    if isinstance(cell, Layer):
        if cell.call is None:
            return True
        parts, own = cell.call.positional, params
        if cell.call.name == "recurrent":
            own = (params,)
        return any(is_random(part, p) for part, p in zip(parts, own, strict=True))
    plain = jax.eval_shape(lambda p: initial_carry(cell, p, ()), params)
    with_key = carry_with_keys(cell, params, (), plain)
    return jax.tree.structure(plain) != jax.tree.structure(with_key)


def _time_first(cell: Cell | Layer, inputs: PyTree) -> tuple[PyTree, int]:
    """Inputs `[..., T, *features]` as `[T, ..., *features]`, and how many axes T was behind."""
    inputs = arrays_of(inputs)
    leaves, tree = jax.tree.flatten(inputs)
    axes = jax.tree.leaves(jax.tree.broadcast(feature_axes(cell), inputs))
    before = {jnp.ndim(x) - n - 1 for x, n in zip(leaves, axes, strict=True)}
    if len(before) != 1 or min(before) < 0:
        shapes = ", ".join(str(jnp.shape(x)) for x in leaves)
        raise ValueError(
            f"inputs have the shapes {shapes}: expected [..., T, *features], with the time axis "
            "after the batch axes; for [T, ..., *features] pass time_major=True"
        )
    axis = before.pop()
    moved = [jnp.moveaxis(jnp.asarray(x), axis, 0) for x in leaves]
    return jax.tree.unflatten(tree, moved), axis


def _flags_time_first(name: str, flags: Any, shape: tuple[int, ...]) -> Array | None:
    """resets or mask `[..., T]` as `[T, ...]`, whose shape is given."""
    expected = (*shape[1:], *shape[:1])
    if flags is not None and jnp.shape(flags) != expected:
        raise ValueError(
            f"{name} has shape {jnp.shape(flags)}: expected {expected}, which is [..., T] of the "
            "inputs; for [T, ...] pass time_major=True"
        )
    return None if flags is None else jnp.moveaxis(jnp.asarray(flags), -1, 0)


def sharding_of(sharding: Sharding | None, path: tuple[Any, ...]) -> Any:
    """The axis names of the array at `path` of the params: by `0.w_x`, or by `w_x` alone."""
    names = path_names(path)
    given = sharding or {}
    return given.get(".".join(names), given.get(names[-1] if names else ""))


def check_sharding(sharding: Sharding | None, params: Params) -> None:
    """Raise ValueError for names that no array of params has."""
    paths = [path_names(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    known = {".".join(names) for names in paths} | {names[-1] for names in paths if names}
    unknown = [name for name in sharding or {} if name not in known]
    if unknown:
        raise ValueError(
            f"sharding names {', '.join(unknown)}, and the arrays of params are "
            f"{', '.join('.'.join(names) for names in paths)}"
        )


def path_names(path: tuple[Any, ...]) -> list[str]:
    """A path in a tree as words: fields, keys and positions."""
    return [str(getattr(p, "name", getattr(p, "key", getattr(p, "idx", p)))) for p in path]
