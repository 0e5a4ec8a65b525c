"""What readers of modules share: their activations, and one module or several."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import check_positive_int, described
from rnnjax._dtypes import standard_promotion
from rnnjax.cells import ACTIVATIONS
from rnnjax.interop._canonical import Gates, Kind


@contextlib.contextmanager
def foreign_code() -> Iterator[None]:
    """Let code of others promote ranks and dtypes, whatever is set for the user's own."""
    with jax.numpy_rank_promotion("allow"), standard_promotion():
        yield


_POINTS = np.array([-80, -3, -0.6, -0.1, 0, 0.2, 0.7, 4, 80], np.float32)


def activation_of(name: str, function: Callable[[Any], Any] | None) -> str:
    """The name of an activation function, by its values; None is the identity.

    Raises:
      ValueError: none of rnnjax's.
    """
    with foreign_code():
        values = _POINTS if function is None else np.asarray(function(_POINTS))
    for known, phi in ACTIVATIONS.items():
        if values.shape == _POINTS.shape and np.allclose(
            values, phi.apply(jnp.asarray(_POINTS)), 1e-5, 1e-5
        ):
            return known
    raise ValueError(
        f"{name} is {described(function)}, and cells here have one of {', '.join(ACTIVATIONS)}: "
        "it would be lost"
    )


def check_activations(where: str, module: Any, **expected: str) -> None:
    """Raise ValueError unless the activations of a module, by attribute, are these."""
    for name, want in expected.items():
        got = activation_of(f"{where}.{name}", getattr(module, name))
        if got != want:
            raise ValueError(
                f"{where}.{name} is {got}, and {want} in the cell here: it would be lost"
            )


def check_defined_by(packages: tuple[str, ...], module: Any, method: str, instead: str) -> None:
    """Raise TypeError for an object whose class has a `method` from outside of the packages."""
    for kind in type(module).__mro__:
        if method in vars(kind):
            if kind.__module__.split(".")[0] not in packages:
                raise TypeError(
                    f"{kind.__name__} has a {method} of its own, and what that computes is not "
                    f"known: {instead}, if it computes what the class that it derives from does"
                )
            return


def is_plain(module: Any, *bases: type) -> bool:
    """Whether a module is of one of these classes of Flax.

    Raises:
      TypeError: it is of a class derived from one, with a `__call__` of its own.
    """
    for base in bases:
        if isinstance(module, base):
            if type(module).__call__ is not base.__call__:
                raise TypeError(
                    f"{type(module).__name__} is an {base.__name__} with a __call__ of its own, "
                    f"and what that computes is not known: convert a {base.__name__} with its "
                    "weights, if it computes the same"
                )
            return True
    return False


def check_zero_carry(where: str, module: Any) -> None:
    """Raise ValueError where a cell of Flax begins from anything but zeros."""
    with foreign_code():
        zeros = jax.nn.initializers.zeros
        carry = (module.carry_init or zeros)(jax.random.key(0), (16,), jnp.float32)
    if np.any(np.asarray(carry)):
        raise ValueError(
            f"{where} has a carry_init other than zeros, where cells here begin: it would be lost. "
            "Convert it without, and pass unroll(..., carry=...) or use rnnjax.learned_carry"
        )


def listed(modules: Any) -> list[Any]:
    """One module, or several layers of them, the first nearest to the input."""
    modules = list(modules) if isinstance(modules, Sequence) else [modules]
    if not modules:
        raise ValueError("expected at least one module, got none")
    return modules


def one_or_list(modules: list[Any]) -> Any:
    return modules[0] if len(modules) == 1 else modules


def check_size(kind: Kind, size: Any) -> tuple[int, int] | None:
    """The size of images, which the weights of a convolution do not say."""
    if kind != "conv_lstm":
        if size is not None:
            raise ValueError(f"size is that of the images of a ConvLSTM, got size={size!r}")
        return None
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise ValueError(
            "the weights of a ConvLSTM do not say how large its images are: pass "
            f"size=(height, width), got size={size!r}"
        )
    height, width = size
    return check_positive_int("size[0]", height), check_positive_int("size[1]", width)


def add_to_gate(gates: Gates, gate: str, number: float) -> Gates:
    """The same weights for a framework that adds `number` to the gate in its forward pass."""
    b = gates.b[gate]
    return gates._replace(b=gates.b | {gate: b + b.dtype.type(number)})
