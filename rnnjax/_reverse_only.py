"""An identity that permits reverse-mode AD and raises a helpful error under forward mode.

JAX cannot push tangents through a `custom_vjp`, and says so without saying what to do. The
identity below carries a marker on its tangent: transposing the marker (reverse mode) is the
identity again, evaluating it (forward mode, now or when compiled) or differentiating it (reverse
over forward mode) raises our error. A batched
tangent (`jacfwd`) meets JAX's own refusal first, which `named_refusal` renames.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import jax
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from rnnjax._checks import is_inexact
from rnnjax._types import PyTree

_MESSAGE = (
    "gradient=bptt(), like those of rnnjax.online, is a reverse-mode rule: jvp, jacfwd and "
    "linearize cannot pass through it. Use unroll(..., gradient=autodiff()) for forward mode; "
    "grad, jacrev and jvp of a grad work with bptt()"
)

_marker: Any = Primitive("bptt_reverse_mode_only")


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError(_MESSAGE)


_marker.def_impl(_refuse)
_marker.def_abstract_eval(lambda aval: aval)
mlir.register_lowering(_marker, _refuse)
ad.primitive_jvps[_marker] = _refuse  # a derivative of a tangent: grad of a jvp
ad.primitive_transposes[_marker] = lambda ct, _: [ct]
batching.primitive_batchers[_marker] = lambda args, dims: (_marker.bind(*args), dims[0])


@jax.custom_jvp
def _identity(*xs: Any) -> tuple[Any, ...]:
    return xs


def _identity_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    # All leaves at once: the innermost differentiation takes the guard away from every one, so
    # that an outer jvp may go along an argument that the inner grad does not.
    return primals, tuple(t if isinstance(t, SymbolicZero) else _marker.bind(t) for t in tangents)


_identity.defjvp(_identity_jvp, symbolic_zeros=True)


@contextmanager
def named_refusal() -> Iterator[None]:
    """Give JAX's error for a jvp of a `custom_vjp` our message."""
    try:
        yield
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise TypeError(_MESSAGE) from None


def reverse_only(tree: PyTree) -> PyTree:
    """`tree`, unchanged; forward-mode differentiation of it raises TypeError."""
    leaves, structure = jax.tree.flatten(tree)
    places = [i for i, leaf in enumerate(leaves) if is_inexact(leaf)]
    for i, guarded in zip(places, _identity(*(leaves[i] for i in places)), strict=True):
        leaves[i] = guarded
    return jax.tree.unflatten(structure, leaves)
