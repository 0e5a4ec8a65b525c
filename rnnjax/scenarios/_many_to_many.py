"""Many to many, aligned: an output at every step (tagging, language models, time series)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._checks import check_array, check_callable, check_positive_int, check_real
from rnnjax._params import in_dtype_of
from rnnjax._random import check_key
from rnnjax._types import Array, Carry, Cell, Params, PyTree, initial_carry
from rnnjax.running import blank, fill_padding, in_float32
from rnnjax.scenarios._compiling import check_step, compiled_over_steps
from rnnjax.scenarios._modules import (
    Module,
    apply_module,
    check_fields,
    check_module,
    check_readable,
    embedded,
    head_at_each,
    split_key,
)
from rnnjax.scenarios._reading import as_reader, init_reading, read, run_cell
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
    """A model with one output for each step of a sequence, aligned with its inputs.

        carry_t, y_t = layer(carry_{t-1}, embed(x_t));   output_t = head(y_t)      t = 1 … T

    With a cell it also runs step by step, with the same params and the same results: on a stream,
    or on its own outputs, fed back by `greedy`, `sample` or `closed_loop`.

    Args:
      layer: a cell, or a layer made by `bidirectional` or `serial`.
      head: a module from `[T, B, H]`, or one step of it, to the outputs.
      embed: a module from inputs to features, such as `flax.linen.Embed` for token ids.

    Returns:
      A `ManyToMany` of
      `init(key, xs) -> params`, with xs `[T, B, D]`, or `[T, B]` ids;
      `apply(params, xs, *, carry=None, lengths=None, key=None, **options) -> (carry, outputs)`,
      outputs `[T, B, K]`, zero in the padding; the options are those of `unroll`, for a
      layer without `reverse`;
      `initial_carry(params, batch_shape, key=None) -> carry` and
      `step(params, carry, x_t) -> (carry, output_t)` for a cell; None for a layer.

      A key turns on all dropout, drawn anew for this call; episodes that begin at `resets` share
      it. With a key, the carries of a cell passed in and returned hold the state alone, so that
      stateful truncated BPTT can pass both; a layer takes one or the other, a `stack` both.

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
    reader = as_reader("layer", layer)
    check_module("head", head)
    if embed is not None:
        check_module("embed", embed)

    def init(key: Array, xs: Array) -> ManyToManyParams:
        key_read, key_head = jax.random.split(check_key(key))
        embed_params, params, y = init_reading(embed, reader, key_read, xs)
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
        check_fields(params, ManyToManyParams, embed=embed)
        keys = split_key(key, 3)
        features = read(embed, params.embed, xs, lengths, keys[0], mask=options.get("mask"))
        options["lengths"] = features.lengths
        if isinstance(layer, Cell):
            carry, ys = run_cell(layer, params.layer, features.xs, carry, keys[1], **options)
        else:
            carry, ys = layer.apply(params.layer, features.xs, carry=carry, key=keys[1], **options)
        ys = fill_padding(ys, features.lengths, features.valid)
        outputs = head_at_each(head, params.head, ys, keys[2])
        return carry, blank(features.valid, outputs)

    if not isinstance(layer, Cell):
        return ManyToMany(init, apply, None, None)
    cell = layer

    def model_carry(
        params: ManyToManyParams, batch_shape: tuple[int, ...], key: Array | None = None
    ) -> Carry:
        check_fields(params, ManyToManyParams, embed=embed)
        return initial_carry(cell, params.layer, batch_shape, key)

    def step(params: ManyToManyParams, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        check_fields(params, ManyToManyParams, embed=embed)
        if carry is None:
            raise TypeError("carry is None: begin with model.initial_carry(params, batch_shape)")
        x_t = check_readable("x_t", x_t, embed)
        x_t = x_t if embed is None else embedded("x_t", embed, params.embed, x_t)
        carry, y_t = cell.step(params.layer, carry, in_dtype_of(params.layer, x_t))
        return carry, apply_module(head, params.head, y_t)

    return ManyToMany(init, apply, model_carry, step)


def closed_loop(
    step: Callable[[PyTree, Array], tuple[PyTree, Array]], state: PyTree, first: Array, steps: int
) -> tuple[PyTree, Array]:
    """Run a net on its own outputs: each is fed back as the next input (free running).

        state_t, x_t = step(state_{t-1}, x_{t-1})        t = 1 … steps

    Differentiable, so that a net can be trained on its free-running outputs.

    Args:
      step: `(state, x [B, D]) -> (state, output [B, D])`, such as
        `functools.partial(model.step, params)` of a `many_to_many`. It is compiled as that of
        `greedy` is.
      state: the carry after everything before `first` has been read.
      first: `[B, D]` the first input, x_0; it is not among the returned outputs.
      steps: how many outputs.

    Returns:
      `(state, outputs [steps, B, D])`.

    Raises:
      TypeError: steps is not an integer, or a step that does not return a state and an output.
      ValueError: steps < 1, or outputs that do not have the shape of the inputs.

    Example:
      >>> import jax.numpy as jnp
      >>> from rnnjax import scenarios
      >>> def step(state, x):
      ...     return state, 2 * x
      >>> state, xs = scenarios.closed_loop(step, None, jnp.ones((1, 1)), 3)
      >>> xs[:, 0, 0].tolist()
      [2.0, 4.0, 8.0]
    """
    steps = check_positive_int("steps", steps)
    first = check_array("first", first, "[B, D]")
    check_callable("step", step, "(state, x) -> (state, output)")
    return _looped(step, state, first, steps=steps)


@compiled_over_steps("steps")
def _looped(
    step: Callable[[PyTree, Array], tuple[PyTree, Array]],
    state: PyTree,
    first: Array,
    *,
    steps: int,
) -> tuple[PyTree, Array]:
    output = check_step(jax.eval_shape(step, state, first), "(state, output [B, D])")
    if not jnp.iscomplexobj(output):
        check_real("first", first)
    if output.shape != first.shape:
        raise ValueError(
            f"first has shape {first.shape} and the outputs {output.shape}: a closed loop feeds "
            "outputs back as inputs, so the head must have as many features as the input"
        )

    begin = (state, first.astype(output.dtype))
    pure, weights = jax.closure_convert(step, *begin)
    wide, narrow = in_float32(weights)

    def body(now: tuple[PyTree, Array], _: None) -> tuple[tuple[PyTree, Array], Array]:
        state, x = pure(*now, *narrow(wide))
        return (state, x), x

    (state, _), outputs = jax.lax.scan(body, begin, None, length=steps)
    return state, outputs
