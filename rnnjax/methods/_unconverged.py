"""What is said of a run that Newton's method did not solve, under every transformation."""

import warnings
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array
from rnnjax.running import vary_along, varying_axes

Otherwise = Literal["raise", "sequential", "best"]
OTHERWISE: tuple[str, ...] = get_args(Otherwise)

_THEN = {
    "raise": (
        "pass otherwise='sequential' to run step by step then, or otherwise='best' for the nearest "
        "iterate"
    ),
    "sequential": "it runs step by step instead",
    "best": "the nearest iterate is taken",
}


def report(otherwise: Otherwise, solved: Array, residual: Array, iterations: Array) -> Array:
    """True; if not solved, only once the host has warned of it or raised."""
    tell = partial(_tell, otherwise)

    def call(*found: Array) -> Array:
        like = jax.ShapeDtypeStruct((), np.dtype(bool))
        told = jax.pure_callback(tell, like, *found, vmap_method="expand_dims")
        return vary_along(varying_axes(found), told)

    def nothing(solved: Array, *_: Array) -> Array:
        return jnp.ones_like(solved)

    found = (solved, residual, iterations)
    return jax.lax.cond(solved, nothing, call, *vary_along(varying_axes(found), found))


def _tell(otherwise: Otherwise, *found: Any) -> Any:
    solved, residual, iterations = np.broadcast_arrays(*map(np.asarray, found))
    if not solved.all():
        which = ~solved
        message = (
            f"method=deer() has not converged in {iterations[which].max()} iterations: the largest "
            f"residual ‖h_t - f(h_t-1, x_t)‖ is {residual[which].max():.1e}. Where nearby states "
            "diverge it cannot (rnnjax.flow.predictability measures that); elsewhere a larger "
            "max_iterations or tolerance, quasi=False or damping=1.0 may help, and "
            f"rnnjax.methods.solve returns the residuals: {_THEN[otherwise]}"
        )
        if otherwise == "raise":
            raise RuntimeError(message)
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return np.ones(solved.shape, bool)
