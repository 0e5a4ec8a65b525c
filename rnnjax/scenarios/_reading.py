"""What scenarios share in reading inputs: zero the padding, embed tokens, run a cell or layer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import described
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.running import fill_padding, fill_with, within
from rnnjax.scenarios._carries import drawn, state_of
from rnnjax.scenarios._modules import Module, check_readable, embedded
from rnnjax.scenarios._steps import lengths_of, steps_read
from rnnjax.unrolling import Layer, bidirectional, recurrent, serial, unroll


class Features(NamedTuple):
    xs: Array  # [T, ..., D], or ids [T, ...] before they are embedded
    lengths: Array | None  # [...]
    valid: Array | None  # [T, ...] False in the padding


class Reader(NamedTuple):
    """A layer, and how many axes at the end of its inputs are features."""

    layer: Layer
    axes: int


def as_reader(name: str, layer: Layer | Cell) -> Reader:
    """A cell or layer as a `Reader`. A layer of the user's own is taken to read vectors."""
    if not isinstance(layer, Layer | Cell):
        raise TypeError(
            f"{name} must be a cell such as rnnjax.lstm(64) or a layer such as "
            f"rnnjax.bidirectional(...), got {described(layer)}{_uncalled(layer)}"
        )
    axes = _feature_axes(layer)
    if not isinstance(axes, int):
        raise ValueError(
            f"{name} is {layer}, which reads {len(jax.tree.leaves(axes))} arrays a step, and a "
            "scenario passes one: run it with rnnjax.unroll, or pass a cell whose step takes them "
            "out of one array"
        )
    return Reader(layer if isinstance(layer, Layer) else recurrent(layer), axes)


def _feature_axes(layer: Layer | Cell) -> Any:
    """How many axes at the end of an input are features: as the cell says that reads it first."""
    if isinstance(layer, Cell):
        return layer.structure.feature_axes
    if layer.call is None or layer.call.factory not in (recurrent, bidirectional, serial):
        return 1
    return _feature_axes(layer.call.positional[0])


def check_reads_vectors(name: str, cell: Any) -> None:
    """Raise unless `cell` is a Cell, to be run step by step on the features of words."""
    if not isinstance(cell, Cell):
        raise TypeError(
            f"{name} must be a cell such as rnnjax.lstm(64), because it runs step by step, got "
            f"{described(cell)}{_uncalled(cell)}"
        )
    if cell.structure.feature_axes != 1:
        raise ValueError(
            f"{name} is {cell}, whose inputs have feature axes {cell.structure.feature_axes}: a "
            "decoder passes it one vector a word, so pass a cell that reads vectors"
        )


def _uncalled(cell: Any) -> str:
    """The end of an error about a factory that was passed in place of what it makes."""
    name = getattr(cell, "__name__", None)
    return f": call it, as in {name}(64)" if callable(cell) and name else ""


def without_padding(xs: Array, lengths: Array | None, what: str = "xs") -> Features:
    """Inputs with a valid one as padding, so that nothing in it reaches a value or a gradient."""
    if lengths is None:
        return Features(xs, None, None)
    lengths = lengths_of(xs, lengths, what)
    valid = within(lengths, xs.shape[0])
    return Features(fill_padding(xs, lengths, valid), lengths, valid)


def _without_skipped(xs: Array, lengths: Array | None, mask: Array) -> Array:
    """Inputs with one that is read in place of all that are not, be it padding or a mask's."""
    is_read = steps_read(xs, lengths, mask)
    if is_read is None or is_read.size == 0:
        return xs
    one = xs.reshape(is_read.size, *xs.shape[is_read.ndim :])[jnp.argmax(is_read.reshape(-1))]
    return fill_with(one, xs, is_read)


def read(
    embed: Module | None,
    params: Params,
    xs: Array,
    lengths: Array | None,
    key: Array | None,
    name: str = "embed",
    what: str = "xs",
    mask: Array | None = None,
) -> Features:
    """The features that the layer reads, embedded by the module `name`; `what` names `xs`."""
    xs = check_readable(what, xs, embed, name)
    inputs = without_padding(xs, lengths, what)
    if embed is None:
        return inputs
    if mask is not None:
        inputs = inputs._replace(xs=_without_skipped(xs, lengths, mask))
    return inputs._replace(xs=embedded(what, embed, params, inputs.xs, key))


def init_reading(
    embed: Module | None,
    reader: Reader,
    key: Array,
    xs: Array,
    name: str = "embed",
    what: str = "xs",
) -> tuple[Params, Params, Array]:
    """Params of the embedding and the layer, and zeros in the form of one of its outputs."""
    xs = check_readable(what, xs, embed, name)
    key_embed, key_layer = jax.random.split(key)
    embed_params = None
    if embed is not None:
        embed_params = embed.init(key_embed, xs)
        xs = jax.eval_shape(embed.apply, embed_params, xs)
    layer, axes = reader
    if xs.ndim <= axes:
        features = "D" if axes == 1 else ", ".join(f"D{k + 1}" for k in range(axes))
        raise ValueError(
            f"{what if embed is None else f'{what}, embedded,'} has shape {xs.shape}: expected "
            f"[T, B, {features}], time first and features last"
        )
    features = xs.shape[-axes:]
    params = layer.init(key_layer, features[0] if axes == 1 else features)
    return embed_params, params, one_step(layer, params, features)


def one_step(layer: Layer, params: Params, features: tuple[int, ...]) -> Array:
    """Zeros in the form of the layer's output for one sequence at one time, `[1, *H]`."""
    one = jax.ShapeDtypeStruct((1, *features), jnp.result_type(float))
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
    batch_shape = xs.shape[1 : xs.ndim - cell.structure.feature_axes]
    if carry is not None:
        carry = drawn(cell, params, carry, batch_shape, key)
    if carry is None or options.get("resets") is not None:
        options["key"] = key
    carry, ys = unroll(cell, params, xs, carry=carry, **options)
    return state_of(cell, params, carry, batch_shape), ys
