"""Weights of any framework as NumPy arrays on the host, in their own dtype."""

from importlib import import_module
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax._checks import described


def peer(module: str, instead: str = "") -> Any:
    """Import another framework; without it, raise ImportError that says how to get it."""
    package = module.split(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        pip = {"haiku": "dm-haiku"}.get(package, package)
        raise ImportError(
            f"{package} is not installed: pip install {pip}{instead}", name=package
        ) from None


def check_untraced(name: str, weight: Any) -> None:
    """Raise TypeError for a weight whose numbers are not known."""
    if isinstance(weight, Tracer):
        raise TypeError(f"{name} is traced: convert weights outside of jit, grad and vmap")


def to_numpy(name: str, weight: Any) -> np.ndarray:
    """A tensor, variable or array, on any device and in any layout, as a NumPy array.

    Raises:
      TypeError: it is none, or no floating-point one.
    """
    check_untraced(name, weight)
    if hasattr(weight, "detach"):
        weight = from_tensor(weight)
    elif hasattr(weight, "get_value"):  # Flax nnx
        weight = weight.get_value()
    elif hasattr(weight, "unbox"):  # Flax linen, with names of axes
        weight = weight.unbox()
    array = np.asarray(weight)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must be a floating-point array, got {described(weight)}")
    return array


def from_tensor(tensor: Any) -> np.ndarray:
    """A PyTorch tensor as a NumPy array."""
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) != "torch.bfloat16":  # the one that NumPy has not
        return tensor.numpy()
    return tensor.contiguous().view(peer("torch").int16).numpy().view(jnp.bfloat16)


def to_tensor(array: np.ndarray) -> Any:
    """A copy as a PyTorch tensor."""
    torch = peer("torch")
    if array.dtype == jnp.bfloat16:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())
