"""The output of a layer that has read a whole sequence, whichever way it reads."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Cell, Params, PyTree
from rnnjax.scenarios._pooling import at_the_first, at_the_last
from rnnjax.unrolling import Layer, bidirectional, recurrent, serial


def ending(
    layer: Layer | Cell,
    params: Params,
    xs: Array,
    ys: Array,
    lengths: Array | None,
    mask: Array | None,
) -> Array:
    """The output `[..., H]` after the last step that is read, of ys `[T, ..., H]`.

    Forwards that is the last valid step, backwards the first one. A bidirectional layer ends at
    both, half by half. A layer of the user's own is taken to read forwards.
    """
    x = jax.ShapeDtypeStruct((1, *xs.shape[1:]), xs.dtype)
    size = ys.shape[-1]
    forwards = _forward_features(layer, params, lambda: x, size)
    halves = []
    if forwards > 0:
        halves.append(at_the_last(None, ys[..., :forwards], lengths, mask=mask))
    if forwards < size:
        halves.append(at_the_first(None, ys[..., forwards:], lengths, mask=mask))
    return jnp.concatenate(halves, axis=-1)


def _forward_features(
    layer: Layer | Cell, params: Params, xs: Callable[[], PyTree], size: int
) -> int:
    """How many of the features of an output, from the first, are of a reading forwards.

    `xs()` are the inputs of the layer, or their shapes; `size` is that of an output.
    """
    call = None if isinstance(layer, Cell) else layer.call
    if call is None:
        return size
    if call.factory is recurrent:
        return 0 if dict(call.keywords).get("reverse", False) else size
    if call.factory is bidirectional:
        half = recurrent(call.positional[0])
        return jax.eval_shape(half.apply, params[0], xs())[1].shape[-1]
    if call.factory is not serial:
        return size
    *below, top = call.positional

    def between() -> PyTree:
        return jax.eval_shape(serial(*below).apply, params[:-1], xs())[1] if below else xs()

    return _forward_features(top, params[-1], between, size)
