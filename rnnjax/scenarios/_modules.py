"""The interface of heads, embeddings and CNNs: `init` and `apply`, as of any Flax module."""

import sys
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._checks import (
    check_array,
    check_rate,
    check_real,
    described,
    in_brackets,
    is_inexact,
)
from rnnjax._dtypes import promoted
from rnnjax._random import check_key
from rnnjax._types import Array, Params
from rnnjax.running import in_float32


class Module(Protocol):
    """The interface of a module: `init(key, x) -> params`, `apply(params, x, rngs=...) -> y`.

    Every `flax.linen.Module` whose only variables are params has it. `rngs` is
    `{"dropout": key}` in training with a key, and absent otherwise; a module finds out with
    `self.has_rng("dropout")` whether dropout is on.
    """

    def init(self, key: Any, x: Any, /) -> Any: ...

    def apply(self, params: Any, x: Any, /, *, rngs: Any = None) -> Any: ...


class Dropped(NamedTuple):
    """A module with dropout on its inputs, made by `dropout`."""

    init: Any  # (key, x) -> params
    apply: Any  # (params, x, rngs=None) -> y


def dropout(module: Module, rate: float) -> Module:
    """A module with inverted dropout on its inputs, active only in training with a key.

        y = module(m ⊙ x),   m ~ Bernoulli(1 - rate) / (1 - rate)

    For heads; the inputs of a cell are dropped by `rnnjax.input_dropout`.

    Args:
      module: a head such as `flax.linen.Dense(10)`.
      rate: the probability of dropping a feature, in [0, 1).

    Returns:
      A module with the same params.

    Raises:
      ValueError: rate outside [0, 1).

    Example:
      >>> import flax.linen as nn, jax, rnnjax
      >>> from rnnjax import scenarios
      >>> head = scenarios.dropout(nn.Dense(2), 0.5)
      >>> model = scenarios.many_to_one(rnnjax.lstm(8), head)
      >>> xs = jax.numpy.ones((5, 3, 4))
      >>> params = model.init(jax.random.key(0), xs)
      >>> training = model.apply(params, xs, key=jax.random.key(1))
      >>> evaluation = model.apply(params, xs)

    References:
      Zaremba, Sutskever & Vinyals (2014), Recurrent neural network regularization,
      arXiv 1409.2329.
    """
    check_module("module", module)
    check_rate("rate", rate)

    def apply(params: Params, x: Array, *, rngs: Any = None) -> Array:
        if rngs is None or "dropout" not in rngs or rate == 0.0:
            return module.apply(params, x, rngs=rngs)
        own, inner = jax.random.split(rngs["dropout"])
        return module.apply(params, drop(x, rate, own), rngs={**rngs, "dropout": inner})

    return Dropped(module.init, apply)


def drop(x: Array, rate: float, key: Array | None) -> Array:
    """`x` with features dropped at `rate`; unchanged without a key."""
    if key is None or rate == 0.0:
        return x
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0.0).astype(x.dtype)


def check_module(name: str, module: Any) -> None:
    """Raise TypeError unless `module` has `init` and `apply`."""
    if not (callable(getattr(module, "init", None)) and callable(getattr(module, "apply", None))):
        raise TypeError(
            f"{name} must be a module with init and apply, such as flax.linen.Dense(10), got "
            f"{described(module)}"
        )
    if isinstance(module, type):
        raise TypeError(
            f"{name} is the class {module.__name__}: pass a module made from it, such as "
            f"{module.__name__}(10)"
        )


def apply_module(module: Module, params: Params, x: Array, key: Array | None = None) -> Array:
    """`module` applied to `x`, with its dropout on if there is a key."""
    if key is None:
        return module.apply(params, x)
    return module.apply(params, x, rngs={"dropout": key})


def apply_at_each(module: Module, params: Params, xs: Array, key: Array | None = None) -> Array:
    """`module` applied to each entry of the first axis of `xs`, all at once.

    In bfloat16, biases and scales get a gradient for each entry, and these are summed in float32.
    """
    wide, narrow = in_float32(params)
    if wide is params or xs.ndim < 3:
        return apply_module(module, params, xs, key)
    spread = jax.tree.map(lambda p: p.ndim < 2, wide)
    axes = jax.tree.map(lambda each: 0 if each else None, spread)
    wide = jax.tree.map(
        lambda p, each: jnp.broadcast_to(p, (len(xs), *p.shape)) if each else p, wide, spread
    )
    keys = None if key is None else jax.random.split(key, len(xs))

    def apply(params: Params, x: Array, key: Array | None) -> Array:
        return apply_module(module, params, x, key)

    return jax.vmap(apply, in_axes=(axes, 0, None if key is None else 0))(narrow(wide), xs, keys)


def head_at_each(head: Module, params: Params, ys: Array, key: Array | None) -> Array:
    """The outputs of a head at each step of ys [T, ...]."""
    outputs = apply_at_each(head, params, ys, key)
    if jnp.shape(outputs)[:1] != ys.shape[:1]:
        raise ValueError(
            f"head returns {in_brackets(jnp.shape(outputs))} for {in_brackets(ys.shape)}: expected "
            f"[{len(ys)}, ...], an output for each step, from a module that keeps leading axes"
        )
    return outputs


def split_key(key: Array | None, count: int) -> list[Array | None]:
    """`count` keys split from `key`, or `count` times None without one."""
    return [None] * count if key is None else list(jax.random.split(check_key(key), count))


def check_fields(params: Any, kind: Any, name: str = "params", **parts: Any) -> None:
    """Raise unless `params` is what `init` returns: a NamedTuple of this kind, with what is in it.

    `parts` are, by the field with their params, the parts that a model may lack; None if it does.
    """
    if not all(hasattr(params, field) for field in kind._fields):
        raise TypeError(
            f"{name} must be the {kind.__name__} that this model's init returns, got "
            f"{described(params)}"
        )
    for field, part in parts.items():
        check_part(f"{name}.{field}", getattr(params, field), part)


def check_part(name: str, params: Any, part: Any) -> None:
    """Raise ValueError for params of a part that a model lacks, and for None of one that it has."""
    if part is None and params is not None:
        raise ValueError(
            f"{name} must be None for this model, got {described(params)}: these are params of a "
            "model with other parts"
        )
    if params is None and (isinstance(part, str) or _is_linen(part)):
        raise ValueError(
            f"{name} is None, but this model has {described(part)} there: these are params of a "
            "model without it"
        )


def _is_linen(module: Any) -> bool:
    """Whether it is of Flax, which reads its params from a dict."""
    linen = sys.modules.get("flax.linen")
    return linen is not None and isinstance(module, linen.Module)


def dense(features: int, like: Array, *, bias: bool = True) -> Module:
    """A `flax.linen.Dense` with weights in the precision of what it reads."""
    import flax.linen as nn

    return nn.Dense(features, use_bias=bias, param_dtype=jnp.finfo(like.dtype).dtype)


def check_tokens(name: str, tokens: Array, ndim: int) -> Array:
    """`tokens` as an array, if they are integers with `ndim` axes."""
    shape = {1: "[B]", 2: "[T, B]"}[ndim]
    tokens = check_array(name, tokens, f"{shape} of the integer ids of words")
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise TypeError(
            f"{name} has dtype {tokens.dtype}: expected the integer ids of words, {shape}"
        )
    if tokens.ndim != ndim:
        raise ValueError(f"{name} has shape {tokens.shape}: expected {shape}, time first")
    return tokens


def embedded(
    name: str, embed: Module, params: Params, ids: Array, key: Array | None = None
) -> Array:
    """`embed` applied to ids, which no table of rows reads from its end.

    An id that is not a row of a `flax.linen.Embed` is an error where it is known; where it is
    traced its features are NaN. A module that says nothing of rows reads ids as it likes. The
    features are in at least float32, whatever the params are in: a cell reads them in its own.
    """
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        return apply_module(embed, params, ids, key)
    rows = getattr(embed, "num_embeddings", None)
    if isinstance(rows, int):
        if not isinstance(ids, Tracer):
            _check_ids(name, np.asarray(ids), rows)
        ids = ids.astype(promoted(ids, jnp.int32))  # wide enough for the number of rows
        ids = jnp.where(ids < 0, rows, ids)
    wide, _ = in_float32(params)  # in which the gradients of one row are summed
    return apply_module(embed, wide, ids, key)


def _check_ids(name: str, ids: np.ndarray, rows: int) -> None:
    if ids.size and not 0 <= ids.min() <= ids.max() < rows:
        raise ValueError(
            f"{name} must be ids in 0..{rows - 1}, the rows of the embedding, got ids from "
            f"{ids.min()} to {ids.max()}"
        )


def check_features(name: str, x: Any, form: str) -> Array:
    """`x` as an array of real floating-point features."""
    x = check_real(name, check_array(name, x, form))
    if not is_inexact(x):
        raise TypeError(
            f"{name} has dtype {x.dtype}: expected floating-point features {form}; cast it with "
            "astype(float), or pass a module that reads it"
        )
    return x


def check_readable(what: str, xs: Array, embed: Module | None, name: str = "embed") -> Array:
    """`xs` as an array, if it is inexact or there is a module `name` to embed it."""
    xs = check_array(what, xs, "of features [T, B, D] or token ids [T, B], time first")
    if embed is None and not is_inexact(xs):
        raise TypeError(
            f"{what} has dtype {xs.dtype} and there is no {name}: pass "
            f"{name}=flax.linen.Embed(vocabulary, features) for token ids, or cast to floats"
        )
    return xs
