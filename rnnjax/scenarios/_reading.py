"""What scenarios share in reading inputs: zero the padding, embed tokens, run a cell or layer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_lengths
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.running import fill_padding, input_dtypes
from rnnjax.scenarios._carries import drawn, state_of
from rnnjax.scenarios._losses import valid_steps
from rnnjax.scenarios._modules import Module, apply_module, check_readable
from rnnjax.unrolling import Layer, recurrent, unroll


class Features(NamedTuple):
    xs: Array  # [T, ..., D], or ids [T, ...] before they are embedded
    lengths: Array | None  # [...]
    valid: Array | None  # [T, ...] False in the padding


def as_layer(name: str, layer: Layer | Cell) -> Layer:
    """`layer`, with a cell turned into a layer by `recurrent`."""
    if isinstance(layer, Layer):
        return layer
    if not isinstance(layer, Cell):
        raise TypeError(
            f"{name} must be a cell such as rnnjax.lstm(64) or a layer such as "
            f"rnnjax.bidirectional(...), got {layer!r}"
        )
    return recurrent(layer)


def check_cell(name: str, cell: Any) -> None:
    """Raise TypeError unless `cell` is a Cell, which can be run step by step."""
    if not isinstance(cell, Cell):
        raise TypeError(
            f"{name} must be a cell such as rnnjax.lstm(64), because it runs step by step, got "
            f"{cell!r}"
        )


def without_padding(xs: Array, lengths: Array | None) -> Features:
    """Inputs with a valid one as padding, so that nothing in it reaches a value or a gradient."""
    xs = jnp.asarray(xs)
    if lengths is None:
        return Features(xs, None, None)
    lengths = check_lengths(lengths, xs.shape[0], xs.shape[1 : 1 + jnp.ndim(lengths)])
    valid = valid_steps(lengths, xs.shape[0])
    return Features(fill_padding(xs, lengths, valid), lengths, valid)


def read(
    embed: Module | None,
    params: Params,
    xs: Array,
    lengths: Array | None,
    key: Array | None,
    name: str = "embed",
) -> Features:
    """The features that the layer reads, embedded by the module `name`."""
    check_readable(xs, embed, name)
    inputs = without_padding(xs, lengths)
    if embed is None:
        return inputs
    return inputs._replace(xs=apply_module(embed, params, inputs.xs, key))


def init_reading(
    embed: Module | None, layer: Layer, key: Array, xs: Array, name: str = "embed"
) -> tuple[Params, Params, Array]:
    """Params of the embedding and the layer, and zeros in the form of one of its outputs."""
    check_readable(xs, embed, name)
    key_embed, key_layer = jax.random.split(key)
    embed_params = None
    if embed is not None:
        embed_params = embed.init(key_embed, xs)
        xs = jax.eval_shape(embed.apply, embed_params, xs)
    params = layer.init(key_layer, xs.shape[-1])
    return embed_params, params, one_step(layer, params, xs)


def one_step(layer: Layer, params: Params, xs: Any) -> Array:
    """Zeros in the form of the layer's output for one sequence at one time, `[1, H]`."""
    one = jax.ShapeDtypeStruct((1, xs.shape[-1]), jnp.result_type(float))
    ys = jax.eval_shape(layer.apply, params, one)[1]
    return jnp.zeros(ys.shape, ys.dtype)


def run_cell(
    cell: Cell,
    params: Params,
    xs: Array,
    carry: Carry | None,
    key: Array | None,
    **options: Any,
) -> tuple[Carry, PyTree]:
    """`unroll`, with a key that draws the randomness of this run only.

    With a key, the carries in and out hold the state alone, so that each batch can pass its carry
    on to the next and draw masks of its own.
    """
    if key is None:
        return unroll(cell, params, xs, carry=carry, **options)
    batch_shape = xs.shape[1:-1]
    if carry is None:
        carry, ys = unroll(cell, params, xs, key=key, **options)
    else:
        carry = drawn(cell, params, carry, batch_shape, key)
        carry, ys = unroll(cell, params, xs, carry=carry, **options)
    return state_of(cell, params, carry, batch_shape), ys


def in_dtype_of(params: Params, x: Array) -> Array:
    """`x` in the precision of the params; unchanged where there are none."""
    return jnp.asarray(x, input_dtypes(params, x))
