"""Weights of any framework as NumPy arrays on the host, in their own dtype."""

from importlib import import_module
from typing import Any

import jax.numpy as jnp
import numpy as np

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


def to_numpy(name: str, weight: Any) -> np.ndarray:
    """A tensor, variable or array, on any device and in any layout, as a NumPy array.

    Raises:
      TypeError: it is none, or no floating-point one.
    """
    if hasattr(weight, "detach"):  # PyTorch
        weight = weight.detach().cpu()
        if str(weight.dtype) == "torch.bfloat16":  # the one that NumPy has not
            torch = peer("torch")
            weight = weight.contiguous().view(torch.int16).numpy().view(jnp.bfloat16)
        else:
            weight = weight.numpy()
    elif hasattr(weight, "get_value"):  # Flax nnx
        weight = weight.get_value()
    elif hasattr(weight, "unbox"):  # Flax linen, with names of axes
        weight = weight.unbox()
    array = np.asarray(weight)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name} must be a floating-point array, got {described(weight)}")
    return array


def to_tensor(array: np.ndarray) -> Any:
    """A copy as a PyTorch tensor."""
    torch = peer("torch")
    if array.dtype == jnp.bfloat16:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.copy())
