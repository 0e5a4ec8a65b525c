"""The interface of heads, embeddings and CNNs: `init` and `apply`, as of any Flax module."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rnnjax._checks import check_rate, is_inexact
from rnnjax._types import Array, Params


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
        if rngs is None or rate == 0.0:
            return module.apply(params, x, rngs=rngs)
        own, inner = jax.random.split(rngs["dropout"])
        return module.apply(params, drop(x, rate, own), rngs={"dropout": inner})

    return Dropped(module.init, apply)


def drop(x: Array, rate: float, key: Array | None) -> Array:
    """`x` with features dropped at `rate`; unchanged without a key."""
    if key is None or rate == 0.0:
        return x
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0).astype(x.dtype)


def check_module(name: str, module: Any) -> None:
    """Raise TypeError unless `module` has `init` and `apply`."""
    if not (callable(getattr(module, "init", None)) and callable(getattr(module, "apply", None))):
        raise TypeError(
            f"{name} must be a module with init and apply, such as flax.linen.Dense(10), got "
            f"{module!r}"
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


def split_key(key: Array | None, count: int) -> list[Array | None]:
    """`count` keys split from `key`, or `count` times None without one."""
    return [None] * count if key is None else list(jax.random.split(key, count))


def dense(features: int, *, bias: bool = True) -> Module:
    """A `flax.linen.Dense` with weights in JAX's default float dtype."""
    import flax.linen as nn

    return nn.Dense(features, use_bias=bias, param_dtype=jnp.result_type(float))


def check_tokens(name: str, tokens: Array, ndim: int) -> Array:
    """`tokens` as an array, if they are integers with `ndim` axes."""
    shape = {1: "[B]", 2: "[T, B]"}[ndim]
    if not jnp.issubdtype(jnp.result_type(tokens), jnp.integer):
        raise TypeError(
            f"{name} has dtype {jnp.result_type(tokens)}: expected the integer ids of words, "
            f"{shape}"
        )
    if jnp.ndim(tokens) != ndim:
        raise ValueError(f"{name} has shape {jnp.shape(tokens)}: expected {shape}, time first")
    return jnp.asarray(tokens)


def check_readable(xs: Array, embed: Module | None, name: str = "embed") -> None:
    """Raise TypeError if `xs` are not inexact and there is no module `name` to embed them."""
    if embed is None and not is_inexact(xs):
        raise TypeError(
            f"the inputs have dtype {jnp.result_type(xs)} and there is no {name}: pass "
            f"{name}=flax.linen.Embed(vocabulary, features) for token ids, or cast to floats"
        )
