"""A sequence in, an output at every step: tagging, language models, time series."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from rnnjax._types import Array, Carry, Cell, Params, initial_carry as start
from rnnjax.scenarios._modules import (
    Module,
    apply_module,
    check_module,
    check_readable,
    split_key,
)
from rnnjax.scenarios._reading import as_layer, blank, in_dtype_of, init_reading, read, run_cell
from rnnjax.unrolling import Layer


class ManyToManyParams(NamedTuple):
    embed: Params  # None without an embedding
    layer: Params
    head: Params


class ManyToMany(NamedTuple):
    init: Callable[[Array, Array], ManyToManyParams]  # (key, xs) -> params
    apply: Callable[..., tuple[Carry, Array]]  # (params, xs, *, …) -> (carry, outputs [T, B, K])
    initial_carry: Callable[..., Carry] | None  # (params, batch_shape, key=None) -> carry
    step: Callable[..., tuple[Carry, Array]] | None  # (params, carry, x_t) -> (carry, outputs_t)


def many_to_many(layer: Layer | Cell, head: Module, *, embed: Module | None = None) -> ManyToMany:
    """Say something at every step of a sequence, aligned with its inputs.

        carry_t, y_t = layer(carry_{t-1}, embed(x_t));   output_t = head(y_t)      t = 1 … T

    With a cell it also runs step by step, with the same params and the same results: a stream,
    or its own outputs fed back by `greedy`, `sample` or `closed_loop`.

    Args:
      layer: a cell, or a layer made by `bidirectional` or `serial`.
      head: a module from `[T, B, H]`, or one step of it, to the outputs.
      embed: a module for inputs that are not features yet: `flax.linen.Embed` for token ids.

    Returns:
      A `ManyToMany` of
      `init(key, xs) -> params`, with xs `[T, B, D]`, or `[T, B]` ids;
      `apply(params, xs, *, carry=None, lengths=None, key=None, **options) -> (carry, outputs)`,
      outputs `[T, B, K]`, zero in the padding; the options are those of `unroll`, for a
      layer without `reverse`;
      `initial_carry(params, batch_shape, key=None) -> carry` and
      `step(params, carry, x_t) -> (carry, output_t)` for a cell; None for a layer.

      A key turns on all dropout, drawn anew for this call: the carries that come in and go out
      beside a key hold the state alone, so stateful truncated BPTT passes both.

    Raises:
      TypeError: integer xs without an embedding; a head without init and apply.
      ValueError: as `unroll`.

    Example:
      >>> import flax.linen as nn, jax, rnnjax
      >>> from rnnjax import scenarios
      >>> model = scenarios.many_to_many(rnnjax.gru(8), nn.Dense(50), embed=nn.Embed(50, 8))
      >>> words = jax.numpy.ones((10, 4), int)
      >>> params = model.init(jax.random.key(0), words)
      >>> carry, logits = model.apply(params, words)
      >>> logits.shape
      (10, 4, 50)
      >>> carry, logits_t = model.step(params, carry, words[0])
      >>> logits_t.shape
      (4, 50)
    """
    whole = as_layer("layer", layer)
    check_module("head", head)

    def init(key: Array, xs: Array) -> ManyToManyParams:
        key_read, key_head = jax.random.split(key)
        embed_params, params, y = init_reading(embed, whole, key_read, xs)
        return ManyToManyParams(embed_params, params, head.init(key_head, y))

    def apply(
        params: ManyToManyParams,
        xs: Array,
        *,
        carry: Carry | None = None,
        lengths: Array | None = None,
        key: Array | None = None,
        **options: Any,
    ) -> tuple[Carry, Array]:
        keys = split_key(key, 3)
        features = read(embed, params.embed, xs, lengths, keys[0])
        options["lengths"] = features.lengths
        if isinstance(layer, Cell):
            carry, ys = run_cell(layer, params.layer, features.xs, carry, keys[1], **options)
        else:
            carry, ys = layer.apply(params.layer, features.xs, carry=carry, key=keys[1], **options)
        outputs = apply_module(head, params.head, ys, keys[2])
        return carry, blank(features.valid, outputs)

    if not isinstance(layer, Cell):
        return ManyToMany(init, apply, None, None)
    cell = layer

    def initial_carry(
        params: ManyToManyParams, batch_shape: tuple[int, ...], key: Array | None = None
    ) -> Carry:
        return start(cell, params.layer, batch_shape, key)

    def step(params: ManyToManyParams, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        check_readable(x_t, embed)
        x_t = x_t if embed is None else apply_module(embed, params.embed, x_t)
        carry, y_t = cell.step(params.layer, carry, in_dtype_of(params.layer, x_t))
        return carry, apply_module(head, params.head, y_t)

    return ManyToMany(init, apply, initial_carry, step)
