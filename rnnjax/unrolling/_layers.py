"""Whole-sequence layers: one direction, both, and one after the other."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._calls import Call, cached
from rnnjax._checks import check_cell, check_flag, described
from rnnjax._params import check_params, features_after
from rnnjax._random import check_key
from rnnjax._types import Array, Carry, Cell, Init, Inputs, Params, PyTree
from rnnjax.unrolling._unroll import unroll


class Layer(NamedTuple):
    """A map from sequences to sequences, made by `recurrent`, `bidirectional` or `serial`."""

    init: Init  # (key, input_size) -> params
    apply: Callable[..., tuple[Carry, Array]]  # (params, xs, **options of unroll) -> (carry, ys)
    call: Call | None = None  # the call that made it

    def __repr__(self) -> str:
        return f"<Layer: apply {self.apply.__qualname__}>" if self.call is None else str(self.call)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the call that made it, or its functions if they are others by now."""
        if self.call is not None:
            repeat, call = self.call.reduced()
            if repeat(*call)[:2] == self[:2]:  # equal calls return the same layer
                return repeat, call
        return Layer, tuple(self)

    def __copy__(self) -> "Layer":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Layer":
        return self  # as a cell, it cannot change


def _stamped(layer: Layer, call: Call) -> Layer:
    return layer._replace(call=call)


_factory = cached(_stamped)


@_factory
def recurrent(cell: Cell, *, reverse: bool = False) -> Layer:
    """A cell as a layer: `layer.apply(params, xs, **options)` is `unroll(cell, params, xs, …)`.

    The options are those of `rnnjax.unroll` but `reverse`.

    Args:
      cell: any `Cell`.
      reverse: run backwards in time.
    """

    check_cell(cell)
    check_flag("reverse", reverse)

    def apply(params: Params, xs: Array, **options: Any) -> tuple[Carry, Array]:
        if "reverse" in options:
            raise TypeError(
                "reverse is part of a layer, as in rnnjax.recurrent(cell, reverse=True), not of a "
                "call of it"
            )
        return unroll(cell, params, xs, reverse=reverse, **options)

    return Layer(cell.init, apply)


@_factory
def bidirectional(forward: Cell, backward: Cell) -> Layer:
    """Two cells over the same sequence in opposite directions.

        y_t = [y_t forward, y_t backward]

    With `lengths`, the backward cell starts at each sequence's own last step.

    Args:
      forward: the cell that reads t = 1 … T.
      backward: the cell that reads t = T … 1.

    Returns:
      A `Layer` whose params and carry are pairs (forward, backward) and whose outputs are
      `[T, ..., H_forward + H_backward]`, leaf by leaf of outputs that are pytrees.

    Example:
      >>> import jax, rnnjax
      >>> layer = rnnjax.bidirectional(rnnjax.lstm(4), rnnjax.lstm(4))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> carry, ys = layer.apply(params, jax.numpy.ones((10, 2, 3)))
      >>> ys.shape
      (10, 2, 8)

    References:
      Schuster & Paliwal (1997), Bidirectional recurrent neural networks, IEEE TSP 45.
    """
    directions = (recurrent(forward), recurrent(backward, reverse=True))

    def init(key: Array, inputs: Inputs) -> Params:
        keys = jax.random.split(key)
        return tuple(d.init(k, inputs) for d, k in zip(directions, keys, strict=True))

    def apply(
        params: Params,
        xs: Array,
        *,
        carry: Carry | None = None,
        key: Array | None = None,
        **options: Any,
    ) -> tuple[Carry, Array]:
        carries, outputs = _apply_each(directions, params, lambda _: xs, carry, key, options)
        return carries, _joined(*outputs)

    return Layer(init, apply)


def _joined(forward: PyTree, backward: PyTree) -> PyTree:
    if jax.tree.structure(forward) != jax.tree.structure(backward):
        raise ValueError(
            "bidirectional() joins the outputs of both cells leaf by leaf, expected of one "
            f"structure, got {described(forward)} and {described(backward)}"
        )
    return jax.tree.map(lambda *ys: jnp.concatenate(ys, axis=-1), forward, backward)


@_factory
def serial(*layers: Layer | Cell) -> Layer:
    """Layers one after the other, each over the whole sequence before the next begins.

    For cells the params and carry are those of `stack(*cells)`, which computes the same step by
    step: train with `serial`, decode with `stack`.

    Args:
      layers: layers or cells, the first nearest to the input. A cell means `recurrent(cell)`.

    Returns:
      A `Layer` whose params and carry are tuples with one entry a layer.

    Raises:
      ValueError: no layers, or a `carry` with the wrong number of entries.

    Example:
      >>> import jax, rnnjax
      >>> both = rnnjax.bidirectional(rnnjax.gru(4), rnnjax.gru(4))
      >>> layer = rnnjax.serial(both, rnnjax.gru(5))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> layer.apply(params, jax.numpy.ones((10, 2, 3)))[1].shape
      (10, 2, 5)
    """
    if not layers:
        raise ValueError("serial() needs at least one layer or cell")
    parts = tuple(part if isinstance(part, Layer) else recurrent(part) for part in layers)

    def init(key: Array, inputs: Inputs) -> Params:
        params: list[Params] = []
        for part, part_key in zip(parts, jax.random.split(key, len(parts)), strict=True):
            params.append(part.init(part_key, inputs))
            inputs = features_after(partial(one_step, part), params[-1], inputs)
        return tuple(params)

    def one_step(part: Layer, params: Params, x_t: PyTree) -> PyTree:
        ys = part.apply(params, jax.tree.map(lambda x: x[None], x_t))[1]
        return jax.tree.map(lambda y: y[0], ys)

    def apply(
        params: Params,
        xs: Array,
        *,
        carry: Carry | None = None,
        key: Array | None = None,
        **options: Any,
    ) -> tuple[Carry, Array]:
        def source(outputs: list[Array]) -> Array:
            return outputs[-1] if outputs else xs

        carries, outputs = _apply_each(parts, params, source, carry, key, options)
        return carries, outputs[-1]

    return Layer(init, apply)


def check_model_params(model: Cell | Layer, params: Params) -> Params:
    """`check_params` for a cell or a layer, part by part of one that says of what it is made."""
    if not isinstance(model, Layer):
        return check_params(model, params)
    if model.call is None:
        return params
    parts = model.call.positional
    if model.call.name == "recurrent":
        return check_params(parts[0], params)
    _check_entries("params", params, len(parts))
    return tuple(check_model_params(*pair) for pair in zip(parts, params, strict=True))


def _check_entries(name: str, given: Any, count: int) -> None:
    if not isinstance(given, tuple | list) or hasattr(given, "_fields"):
        raise TypeError(
            f"{name} must be a tuple with one entry a layer, {count} in all, got {described(given)}"
        )
    if len(given) != count:
        raise ValueError(f"{name} has {len(given)} entries, expected {count}: one a layer")


def _entries(name: str, given: Any, count: int) -> Any:
    if given is None:
        return (None,) * count
    _check_entries(name, given, count)
    return given


def _apply_each(
    parts: tuple[Layer, ...],
    params: Params,
    source: Callable[[list[Array]], Array],
    carry: Carry | None,
    key: Array | None,
    options: dict[str, Any],
) -> tuple[Carry, list[Array]]:
    """Apply every part to `source(outputs so far)`, with its own params, carry and key."""
    _check_entries("params", params, len(parts))
    options = dict(options)
    carries, restarts = (
        _entries(name, given, len(parts))
        for name, given in (("carry", carry), ("initial_carry", options.pop("initial_carry", None)))
    )
    keys = [None] * len(parts) if key is None else jax.random.split(check_key(key), len(parts))
    out_carries: list[Carry] = []
    outputs: list[Array] = []
    for part, part_params, part_carry, part_key, restart in zip(
        parts, params, carries, keys, restarts, strict=True
    ):
        own = options if restart is None else {**options, "initial_carry": restart}
        new, ys = part.apply(part_params, source(outputs), carry=part_carry, key=part_key, **own)
        out_carries.append(new)
        outputs.append(ys)
    return tuple(out_carries), outputs
