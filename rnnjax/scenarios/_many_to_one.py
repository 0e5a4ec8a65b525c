"""One output: of a sequence (many to one, such as sentiment) or of one input (one to one)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax._checks import check_array
from rnnjax._random import check_key
from rnnjax._types import Array, Cell, Params
from rnnjax.scenarios._ending import ending
from rnnjax.scenarios._modules import Module, apply_module, check_fields, check_module, split_key
from rnnjax.scenarios._pooling import pooled
from rnnjax.scenarios._reading import as_reader, init_reading, read
from rnnjax.unrolling import Layer


class OneToOne(NamedTuple):
    init: Callable[[Array, Array], Params]  # (key, x) -> params
    apply: Callable[..., Array]  # (params, x, *, key=None) -> output


class ManyToOneParams(NamedTuple):
    embed: Params  # None without an embedding
    layer: Params
    pooling: Params  # None unless it is attention
    head: Params


class ManyToOne(NamedTuple):
    init: Callable[[Array, Array], ManyToOneParams]  # (key, xs) -> params
    apply: Callable[..., Array]  # (params, xs, *, lengths, key, **options) -> outputs [B, K]
    weights: Callable[..., Array] | None  # the same -> attention [T, B]


def many_to_one(
    layer: Layer | Cell, head: Module, *, embed: Module | None = None, pooling: str = "last"
) -> ManyToOne:
    """A model with one output for a whole sequence, such as a classifier.

        y_1 … y_T = layer(embed(x_1) … embed(x_T));   output = head(pool(y_1 … y_T))

        last:       y_n, the last valid output; n is the length of the sequence
        mean, sum:  Σ_t y_t / n, Σ_t y_t              over valid t
        max:        max_t y_t                         feature by feature, over valid t
        attention:  Σ_t a_t y_t,   a = softmax_t(vᵀ tanh(W y_t + b))

    `last` is the output of a layer that has read everything: y_1 of one that runs backwards, and
    [y_n forward, y_1 backward] of a bidirectional one. The steps that a `mask` skips are not valid.
    A sequence without valid steps pools to zeros.

    Args:
      layer: a cell, or a layer made by `recurrent`, `bidirectional` or `serial`. One of your own is
        taken to read forwards.
      head: a module from the pooled `[B, H]` to the output, such as `flax.linen.Dense(10)`. After
        a cell with several feature axes it reads all of them, as `[B, height, width, C]`.
      embed: a module from inputs to features, such as `flax.linen.Embed` for token ids.
      pooling: last, mean, sum, max or attention.

    Returns:
      A `ManyToOne` of
      `init(key, xs) -> params`, with xs `[T, B, D]`, or `[T, B]` ids;
      `apply(params, xs, *, lengths=None, key=None, **options) -> outputs [B, K]`, where a key
      turns on all dropout, and the options are `gradient`, `method`, `resets`, `mask` and, without
      a key, `carry` of `unroll`, but neither `reverse` nor `return_carries`;
      `weights`, of the same arguments, `-> a [T, B]`, for attention, else None.

    Raises:
      TypeError: integer xs without an embedding; a head without init and apply.
      ValueError: an unknown pooling, `reverse` or `return_carries` given, and as `unroll`.

    Example:
      >>> import flax.linen as nn, jax, rnnjax
      >>> from rnnjax import scenarios
      >>> embed = nn.Embed(100, 8)                         # 100 words
      >>> model = scenarios.many_to_one(rnnjax.lstm(8), nn.Dense(2), embed=embed, pooling="mean")
      >>> words = jax.numpy.ones((10, 4), int)             # T = 10, B = 4
      >>> params = model.init(jax.random.key(0), words)
      >>> model.apply(params, words, lengths=jax.numpy.array([10, 7, 3, 1])).shape
      (4, 2)

    References:
      Yang et al. (2016), Hierarchical attention networks for document classification, NAACL
      (attention over the outputs).
    """
    reader = as_reader("layer", layer)
    check_module("head", head)
    if embed is not None:
        check_module("embed", embed)
    pool = pooled(pooling)
    attention = pooling if pooling == "attention" else None
    if attention and reader.axes != 1:
        raise ValueError(
            f"attention pooling scores vectors, and {layer} has {reader.axes} feature axes: use "
            "last, mean, sum or max"
        )

    def init(key: Array, xs: Array) -> ManyToOneParams:
        key_read, key_pool, key_head = jax.random.split(check_key(key), 3)
        embed_params, params, y = init_reading(embed, reader, key_read, xs)
        return ManyToOneParams(embed_params, params, pool.init(key_pool, y), head.init(key_head, y))

    def read_by_layer(params: ManyToOneParams, xs: Array, lengths, keys, options):
        check_fields(params, ManyToOneParams, embed=embed, pooling=attention)
        _check_options(options)
        mask = options.get("mask")
        features = read(embed, params.embed, xs, lengths, keys[0], mask=mask)
        _, ys = reader.layer.apply(
            params.layer, features.xs, lengths=features.lengths, key=keys[1], **options
        )
        return features.xs, ys, features.lengths, mask

    def apply(
        params: ManyToOneParams,
        xs: Array,
        *,
        lengths: Array | None = None,
        key: Array | None = None,
        **options: Any,
    ) -> Array:
        keys = split_key(key, 3)
        xs, ys, lengths, mask = read_by_layer(params, xs, lengths, keys, options)
        if pooling == "last":
            summary = ending(layer, params.layer, xs, ys, lengths, mask)
        else:
            summary = pool.apply(params.pooling, ys, lengths, mask=mask)
        return apply_module(head, params.head, summary, keys[2])

    def weights(
        params: ManyToOneParams,
        xs: Array,
        *,
        lengths: Array | None = None,
        key: Array | None = None,
        **options: Any,
    ) -> Array:
        _, ys, lengths, mask = read_by_layer(params, xs, lengths, split_key(key, 3), options)
        return pool.weights(params.pooling, ys, lengths, mask=mask)

    return ManyToOne(init, apply, weights if attention else None)


def _check_options(options: dict[str, Any]) -> None:
    if "reverse" in options:
        raise ValueError(
            "reverse= belongs to the layer: pass rnnjax.recurrent(cell, reverse=True) to "
            "many_to_one to read from the end"
        )
    if "return_carries" in options:
        raise ValueError(
            "return_carries= has no place in many_to_one, which returns one output for a sequence: "
            "rnnjax.unroll(cell, params.layer, xs, return_carries=True) returns the carries"
        )


def one_to_one(head: Module) -> OneToOne:
    """A feedforward model without recurrence, with the interface of the other scenarios.

        output = head(x)

    Args:
      head: any module, such as `flax.linen.Dense(10)` or a CNN.

    Returns:
      A `OneToOne` of `init(key, x) -> params` and `apply(params, x, *, key=None) -> output`.

    Raises:
      TypeError: a head without init and apply.

    Example:
      >>> import flax.linen as nn, jax
      >>> from rnnjax import scenarios
      >>> model = scenarios.one_to_one(nn.Dense(3))
      >>> params = model.init(jax.random.key(0), jax.numpy.ones((2, 5)))
      >>> model.apply(params, jax.numpy.ones((2, 5))).shape
      (2, 3)
    """
    check_module("head", head)

    def init(key: Array, x: Array) -> Params:
        return head.init(check_key(key), _given(x))

    def apply(params: Params, x: Array, *, key: Array | None = None) -> Array:
        key = None if key is None else check_key(key)
        return apply_module(head, params, _given(x), key)

    return OneToOne(init, apply)


def _given(x: Any) -> Any:
    """`x`, a list as an array, a pytree as it is."""
    single = x is None or isinstance(x, str | list | np.ndarray)
    return check_array("x", x, "for the head") if single else x
