"""Weight initialisers: `(key, shape, dtype) -> array`, as in `jax.nn.initializers`.

`glorot`, `orthogonal`, `normal` and `uniform` are JAX's own. The others set what decides whether a
recurrent net's error vanishes or explodes: the scale, the spectral radius or the largest
singular value of the recurrent matrix. Gated cells call an initialiser once for each gate's
[H, H] or [D, H] block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol

import jax
import jax.numpy as jnp

from rnnjax._calls import Call, cached
from rnnjax._checks import checked_arguments
from rnnjax._dtypes import at_least_float32
from rnnjax._types import Array

P = ParamSpec("P")

__all__ = [
    "Initializer",
    "glorot",
    "identity",
    "normal",
    "orthogonal",
    "singular_value",
    "spectral_radius",
    "uniform",
]

_initial = jax.nn.initializers


class Initializer(Protocol):
    """`(key, shape, dtype) -> array`."""

    def __call__(self, key: Array, shape: tuple[int, ...], dtype: jnp.dtype, /) -> Array:
        """Draw an array."""
        ...


@dataclass(frozen=True)
class Named:
    """An initializer that prints as the call that made it."""

    draw: Initializer
    call: Call

    def __call__(self, key: Array, shape: tuple[int, ...], dtype: jnp.dtype, /) -> Array:
        return self.draw(key, shape, dtype)

    def __repr__(self) -> str:
        return str(self.call)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call.reduced()


def _name(draw: Initializer, call: Call) -> Initializer:
    return Named(draw, call)


_cached = cached(_name)  # equal calls give the same initializer, and so the same cell


def _named(make: Callable[P, Initializer]) -> Callable[P, Initializer]:
    return _cached(checked_arguments(make))


def _at_least_zero(name: str, size: float) -> float:
    if size < 0:
        raise ValueError(f"{name} must be at least 0, got {size}")
    return size


@_named
def glorot() -> Initializer:
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010, AISTATS)."""
    return _initial.glorot_uniform()


@_named
def orthogonal(scale: float = 1.0) -> Initializer:
    """`scale` times a random orthogonal matrix: all singular values equal (Saxe 2014, ICLR)."""
    draw = _initial.orthogonal(scale)

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        return draw(key, shape, at_least_float32(dtype)).astype(dtype)

    return init


@_named
def normal(stddev: float = 0.01) -> Initializer:
    """Gaussian with mean zero and standard deviation `stddev`."""
    return _initial.normal(_at_least_zero("stddev", stddev))


@_named
def uniform() -> Initializer:
    """Uniform on ±1/√fan_in, PyTorch's default for the recurrent weights of its cells.

    A square matrix of this kind has a spectral radius near 1/√3 = 0.58, so a tanh cell's error
    starts out vanishing.
    """
    return _initial.variance_scaling(1 / 3, "fan_in", "uniform")


@_named
def identity(scale: float = 1.0) -> Initializer:
    """`scale` times the identity matrix (Le, Jaitly & Hinton 2015, arXiv 1504.00941)."""

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        del key
        return scale * jnp.eye(_square(shape, "identity"), dtype=dtype)

    return init


@_named
def spectral_radius(rho: float) -> Initializer:
    """A Gaussian matrix rescaled so that its largest |eigenvalue| is `rho`.

    This is how echo-state networks are set up (Jaeger 2001). JAX computes the eigenvalues of
    a general matrix on the CPU only.
    """
    _at_least_zero("rho", rho)

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        _square(shape, "spectral_radius")
        w = jax.random.normal(key, shape, at_least_float32(dtype))
        return (w * (rho / jnp.max(jnp.abs(jnp.linalg.eigvals(w))))).astype(dtype)

    return init


@_named
def singular_value(sigma: float) -> Initializer:
    """A Gaussian matrix rescaled so that its largest singular value is `sigma`.

    With sigma·γ < 1, where γ bounds |φ'|, a vanilla net's error must vanish
    (Pascanu, Mikolov & Bengio 2013, ICML).
    """
    _at_least_zero("sigma", sigma)

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        w = jax.random.normal(key, shape, at_least_float32(dtype))
        return (w * (sigma / jnp.linalg.norm(w, 2))).astype(dtype)

    return init


def _square(shape: tuple[int, ...], name: str) -> int:
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(
            f"initializers.{name} makes square matrices but the weights have shape {shape}: "
            "use it for recurrent weights (w_h_init), and glorot() or normal() for w_x_init"
        )
    return shape[0]
